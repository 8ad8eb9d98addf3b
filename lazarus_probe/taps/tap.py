"""Taps: functions that run around a module's own call, put there for a while.

For that while the module's class is a subclass with another `__call__`. Python looks `__call__` up on the class, so
nothing on the instance will do; parameters, gradients, copies and attributes that a model reads from its layers stay
as they are. Not thread-safe: a module is tapped for every thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from lazarus_probe.taps.kernel import Change, Inside, kernel_open

Around = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


def held(value: mx.array) -> mx.array:
    """A value as it is now: a model may go on to change the array in place, as gemma3 scales its embeddings.

    Assignment to an mlx array gives that one Python object another content; a second object keeps the first content.
    Both share their memory, so that writing to a NumPy view of one changes both: `mx.array(value)` copies that too.
    """
    return value[...]


@dataclass(eq=False, slots=True)
class Tap:
    """Functions to run around the calls of a module; any may be None.

    Attributes:
        module: the module.
        watch: sees the arguments, before anything else.
        instead: runs in place of the module, on one argument, which None leaves; no other tap of the module runs then.
        around: runs in place of the module, given the function that calls it (with what other taps of the module do),
            its arguments and its keyword arguments.
        before: returns what takes the place of one argument, or None where it only looked.
        inside: a change of one step of the attention computed inside.
        after: returns what takes the place of the output, or of the first element of one that is a tuple, or None.
        argument: which argument `instead` and `before` are about, by position or name.
    """

    module: nn.Module
    watch: Callable[[tuple[Any, ...], dict[str, Any]], None] | None = None
    instead: Change | None = None
    around: Around | None = None
    before: Change | None = None
    inside: Inside | None = None
    after: Change | None = None
    argument: int | str = 0


_taps: dict[int, list[Tap]] = {}
# Of modules whose only tap does nothing but look at the output, as most do: what it does.
_looks: dict[int, Change] = {}


@contextmanager
def tapped(taps: Sequence[Tap], first: bool = False) -> Iterator[None]:
    """Put taps on their modules, and take them off however the context is left.

    Contexts nest: the taps of the outer one run first and those of the inner one see what they changed, on
    the way in and on the way out. With `first`, the taps run before those that are already there.
    """
    placed: list[Tap] = []
    try:
        for tap in taps:
            _put(tap, first)
            placed.append(tap)
        yield
    finally:
        for tap in reversed(placed):
            _remove(tap)


def original(module: nn.Module) -> Callable[..., Any]:
    """The call of a module as it is without its taps."""
    cls: Any = type(module).__base__ if id(module) in _taps else type(module)
    return partial(cls.__call__, module)


@contextmanager
def untapped() -> Iterator[None]:
    """Within it no taps act but those put on within: for a trial run while a model is being watched."""
    taps, looks = dict(_taps), dict(_looks)
    modules = [stack[0].module for stack in taps.values()]
    _taps.clear()
    _looks.clear()
    for module in modules:
        _put_back(module)
    try:
        yield
    finally:
        for module in modules:
            _swap(module)
        _taps.update(taps)
        _looks.update(looks)


def taps_on(module: nn.Module) -> tuple[Tap, ...]:
    """The taps of a module, from the outermost."""
    return tuple(_taps.get(id(module), ()))


def is_tapped(model: nn.Module) -> bool:
    """Whether there are taps on a model or on any module of it."""
    return bool(_taps) and any(id(module) in _taps for module in model.modules())


def _put(tap: Tap, first: bool) -> None:
    stack = _taps.setdefault(id(tap.module), [])
    if not stack:
        _swap(tap.module)
    stack.insert(0 if first else len(stack), tap)
    _note_look(stack)


def _remove(tap: Tap) -> None:
    stack = _taps[id(tap.module)]
    stack.remove(tap)
    if stack:
        _note_look(stack)
        return
    del _taps[id(tap.module)]
    _looks.pop(id(tap.module), None)
    _put_back(tap.module)


def _swap(module: nn.Module) -> None:
    # Past the module's own __setattr__, which looks at every attribute for parameters.
    object.__setattr__(module, "__class__", _tapped_class(type(module)))  # type: ignore[arg-type]


def _put_back(module: nn.Module) -> None:
    object.__setattr__(module, "__class__", type(module).__base__)


def _note_look(stack: list[Tap]) -> None:
    tap = stack[0]
    other = tap.watch or tap.instead or tap.around or tap.before or tap.inside
    if len(stack) == 1 and tap.after and not other:
        _looks[id(tap.module)] = tap.after
    else:
        _looks.pop(id(tap.module), None)


@cache
def _tapped_class(cls: Any) -> type:
    """The subclass of a module's class whose call runs its taps, under the same name."""

    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        look = _looks.get(id(self))
        if look is not None:
            return _changed(cls.__call__(self, *args, **kwargs), look)
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
            value = argument(args, kwargs, tap.argument)
            new = tap.instead(value)
            return value if new is None else new
    return _inside(taps, cls, module, *args, **kwargs)


def _inside(taps: list[Tap], cls: type, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    for tap in taps:
        if tap.around:
            others = [remaining for remaining in taps if remaining is not tap]
            return tap.around(partial(_inside, others, cls, module), args, kwargs)
    for tap in taps:
        if tap.before:
            value = tap.before(argument(args, kwargs, tap.argument))
            if value is not None:
                args, kwargs = with_argument(args, kwargs, tap.argument, value)
    inside = [tap.inside for tap in taps if tap.inside]
    if inside:
        with kernel_open(inside):
            output = cls.__call__(module, *args, **kwargs)
    else:
        output = cls.__call__(module, *args, **kwargs)
    for tap in taps:
        if tap.after:
            output = _changed(output, tap.after)
    return output


def argument(args: tuple[Any, ...], kwargs: dict[str, Any], which: int | str = 0) -> Any:
    """An argument of a call, by its position or its name; position 0 may also be given by a name."""
    return args[which] if isinstance(which, int) and args else kwargs[_name(kwargs, which)]


def with_argument(
    args: tuple[Any, ...], kwargs: dict[str, Any], which: int | str, value: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call with one of them replaced; see `argument`."""
    if isinstance(which, int) and args:
        return (*args[:which], value, *args[which + 1 :]), kwargs
    return args, {**kwargs, _name(kwargs, which): value}


def _name(kwargs: dict[str, Any], which: int | str) -> str:
    return next(iter(kwargs)) if isinstance(which, int) else which


def _changed(output: Any, change: Change) -> Any:
    several = isinstance(output, tuple)
    new = change(output[0] if several else output)
    if new is None:
        return output
    return (new, *output[1:]) if several else new
