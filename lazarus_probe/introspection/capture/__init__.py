"""What passes through a model's layers, kept and put in numbers."""
