"""What loading a model raises."""


class LoadError(ValueError):
    """A name that means nothing, or a checkpoint that cannot be used."""
