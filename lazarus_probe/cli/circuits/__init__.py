"""Commands on circuits of edges."""
