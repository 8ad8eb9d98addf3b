"""What breaks when components are taken away."""
