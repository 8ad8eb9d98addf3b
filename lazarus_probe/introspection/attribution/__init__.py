"""What components add to logits, and what heads attend to."""
