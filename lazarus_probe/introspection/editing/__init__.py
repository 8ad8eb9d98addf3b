"""Writing into a model's weights, for as long as it is measured."""
