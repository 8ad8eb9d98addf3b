"""Versions side by side: what each claim came to in each, and which differences are more than chance."""
