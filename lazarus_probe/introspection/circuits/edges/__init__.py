"""Edges of a circuit: their names, the graph of all of them, and lists of them from elsewhere."""
