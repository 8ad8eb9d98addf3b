"""Adapters as mlx-lm, peft and the published study save them."""
