"""Commands that repeat a published study."""
