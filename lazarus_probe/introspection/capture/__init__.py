"""What passes through a model's layers, kept and measured."""
