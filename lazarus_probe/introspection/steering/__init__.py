"""What directions added to the residual stream do."""
