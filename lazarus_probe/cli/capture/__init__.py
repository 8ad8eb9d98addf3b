"""Commands that show what hooks capture."""
