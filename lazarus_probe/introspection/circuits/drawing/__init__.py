"""A circuit as a drawing: nodes by block, edges by score and sign, without a script."""
