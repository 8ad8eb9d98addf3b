"""Commands that patch states from one prompt into another."""
