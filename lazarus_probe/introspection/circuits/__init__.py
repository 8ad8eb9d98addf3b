"""Circuits of edges: found by attribution, patched exactly, and measured."""
