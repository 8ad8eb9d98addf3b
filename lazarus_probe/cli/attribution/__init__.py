"""Commands that split logits and score heads."""
