"""Running functions around a module's own call, by changing its class for the time of a context.

The class is replaced by a subclass of itself whose call runs the taps: Python looks `__call__` up on the
class, models read their layers' attributes and test their types, and parameters must stay where they are, so
nothing else will do. Not thread-safe: a module is tapped for every thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import mlx.nn as nn

from lazarus_probe.hooks.attention import Change, attention_open

Around = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


@dataclass(frozen=True, eq=False)
class Tap:
    """Functions to run around the calls of a module; any may be None.

    Attributes:
        module: the module.
        watch: sees the arguments, before anything else.
        instead: runs in place of the module, on its first argument; no other tap of the module runs then.
        around: runs in place of the module, given the function that calls it (with what other taps of the module do),
            its arguments and its keyword arguments.
        before: changes the first argument.
        pattern: changes the attention weights (B, H, L, S) computed inside.
        head_out: changes the heads' outputs (B, L, H, Dh) computed inside.
        after: changes the output, or the first element of an output that is a tuple.
    """

    module: nn.Module
    watch: Callable[[tuple[Any, ...], dict[str, Any]], None] | None = None
    instead: Change | None = None
    around: Around | None = None
    before: Change | None = None
    pattern: Change | None = None
    head_out: Change | None = None
    after: Change | None = None


_taps: dict[int, list[Tap]] = {}


@contextmanager
def tapped(taps: Sequence[Tap], first: bool = False) -> Iterator[None]:
    """Put taps on their modules, and take them off however the context is left.

    Contexts nest: the taps of the outer one run first and those of the inner one see what they changed, on
    the way in and on the way out. With `first`, the taps run before those that are already there.
    """
    placed: list[Tap] = []
    try:
        for tap in taps:
            _place(tap, first)
            placed.append(tap)
        yield
    finally:
        for tap in reversed(placed):
            _remove(tap)


def _place(tap: Tap, first: bool) -> None:
    stack = _taps.setdefault(id(tap.module), [])
    if not stack:
        tap.module.__class__ = _tapped_class(type(tap.module))  # type: ignore[arg-type]
    stack.insert(0 if first else len(stack), tap)


def _remove(tap: Tap) -> None:
    stack = _taps[id(tap.module)]
    stack.remove(tap)
    if not stack:
        del _taps[id(tap.module)]
        tap.module.__class__ = type(tap.module).__base__


@cache
def _tapped_class(cls: Any) -> type:
    """The subclass of a module's class whose call runs its taps, under the same name."""

    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        # A deep copy made within the context has the class but no taps, and behaves like the original.
        return _run(_taps.get(id(self), []), cls, self, args, kwargs)

    names = {"__call__": call, "__module__": cls.__module__, "__qualname__": cls.__qualname__}
    return type(cls.__name__, (cls,), names)


def _run(taps: list[Tap], cls: type, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    for tap in taps:
        if tap.watch:
            tap.watch(args, kwargs)
    for tap in taps:
        if tap.instead:
            return tap.instead(args[0])
    return _inside(taps, cls, module, *args, **kwargs)


def _inside(taps: list[Tap], cls: type, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    for tap in taps:
        if tap.around:
            others = [other for other in taps if other is not tap]
            return tap.around(partial(_inside, others, cls, module), args, kwargs)
    for tap in taps:
        if tap.before:
            args = (tap.before(args[0]), *args[1:])
    with attention_open([tap.pattern for tap in taps], [tap.head_out for tap in taps]):
        output = cls.__call__(module, *args, **kwargs)
    for tap in taps:
        if tap.after:
            output = _changed(output, tap.after)
    return output


def _changed(output: Any, change: Change) -> Any:
    if isinstance(output, tuple):
        return (change(output[0]), *output[1:])
    return change(output)
