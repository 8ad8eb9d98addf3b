"""The error for models that cannot be loaded."""


class LoadError(ValueError):
    """A model name is unknown, or a checkpoint cannot be used.

    Example:
        >>> from lazarus_probe import Subject
        >>> from lazarus_probe.subject import LoadError
        >>> try:
        ...     Subject.load("organsim")
        ... except LoadError as error:
        ...     print(str(error).partition(" bundled")[0])
        no model named 'organsim': did you mean organism?
    """
