"""Directions of the residual stream: made, kept in files, compared."""
