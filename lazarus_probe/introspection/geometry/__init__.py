"""How alike states and weights are."""
