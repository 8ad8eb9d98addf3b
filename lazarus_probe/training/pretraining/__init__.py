"""Training the bundled models from scratch."""
