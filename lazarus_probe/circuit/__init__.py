"""Circuits from sets of labelled prompts: the sets, and the activations collected on them."""
