"""What is inside: one module an analysis, each with the controls that its result needs."""
