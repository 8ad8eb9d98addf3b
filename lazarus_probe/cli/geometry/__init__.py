"""Commands that compare states and weights."""
