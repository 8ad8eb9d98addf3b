"""Linear probes of activations, with their controls."""
