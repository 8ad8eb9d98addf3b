"""Versions side by side: the outcome of each claim in each, and which differences are more than chance."""
