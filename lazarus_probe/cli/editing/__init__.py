"""Commands that write into a model."""
