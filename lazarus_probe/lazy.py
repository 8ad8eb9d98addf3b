"""Names of a package that are imported when they are first used: it loads in every session of pytest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package (PEP 562).

    Type checkers read the imports that stand beside them under `TYPE_CHECKING`; a test holds both lists together.

    Args:
        package: its name; its `__all__` is what `dir()` shows.
        homes: the module within `lazarus_probe` that each public name comes from.
    """

    def getattr_(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"lazarus_probe.{homes[name]}"), name)

    def dir_() -> list[str]:
        names = vars(import_module(package))
        return sorted({*names, *names["__all__"]})

    return getattr_, dir_
