"""Published studies as one analysis each."""
