"""Commands that probe layers and look at neurons."""
