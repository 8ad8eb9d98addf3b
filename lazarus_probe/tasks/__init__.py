"""Prompt sets with groups: what a model is asked, and how its answer is scored."""
