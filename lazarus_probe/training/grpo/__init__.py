"""Training on verifiable rewards."""
