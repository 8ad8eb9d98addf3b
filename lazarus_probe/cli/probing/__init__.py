"""Commands that probe layers and read neurons."""
