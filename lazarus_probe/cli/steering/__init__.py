"""Commands that take, compare and add directions."""
