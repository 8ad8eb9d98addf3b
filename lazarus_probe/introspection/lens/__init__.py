"""The logit lens, the tuned lens, and analyses of a prompt by them."""
