"""Training the bundled models from nothing."""
