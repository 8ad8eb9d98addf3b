"""Commands that read a prompt through a lens."""
