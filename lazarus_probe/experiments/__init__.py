"""Whole studies of a model: what is trained, what is measured before and after, and what is written down."""
