"""Commands that generate from prompts."""
