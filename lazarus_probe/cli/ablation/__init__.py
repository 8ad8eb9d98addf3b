"""Commands that take components away."""
