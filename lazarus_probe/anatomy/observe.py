"""What a model calls while it runs: seen once, on a few tokens, without computing anything.

mlx is lazy, so a forward pass whose output nobody reads only builds a graph, and shapes are known from that. Where the
parts of a model are is read off such a run instead of being guessed from names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from lazarus_probe.anatomy.forward_pass import new_cache
from lazarus_probe.taps import Inside, Tap, tapped
from lazarus_probe.taps.kernel import kernel_open

BATCH, LENGTH = 2, 5  # unlike each other, so that the axes of a value can be told apart


@dataclass(eq=False)
class Call:
    """One call of a module.

    Attributes:
        path: the module's name in the model, such as `model.layers.0.self_attn`.
        module: the module.
        args: positional and keyword arguments together.
        names: the position or name of each of them.
        parent: the call within which it was made.
        output: what it returned.
        kernels: shapes of queries, keys and values (B, L, H, D) of the attention kernels it called itself.
        softmaxes: shapes of the scores (B, H, L, S) that it passed to `mx.softmax` itself.
    """

    path: str
    module: nn.Module
    args: tuple[Any, ...]
    names: tuple[int | str, ...]
    parent: Call | None
    output: Any = None
    kernels: list[tuple[tuple[int, ...], ...]] = field(default_factory=list)
    softmaxes: list[tuple[int, ...]] = field(default_factory=list)

    @property
    def first(self) -> Any:
        """The output, or its first element where it is a tuple."""
        return self.output[0] if isinstance(self.output, tuple) and self.output else self.output

    def within(self, outer: Call) -> bool:
        """Whether it was made, directly or not, by `outer`."""
        call: Call | None = self.parent
        while call is not None and call is not outer:
            call = call.parent
        return call is outer


@dataclass(frozen=True, eq=False)
class Observation:
    """The calls of one forward pass in the order they began, with the tokens (B, L) and the cache it was given."""

    calls: list[Call]
    tokens: mx.array
    cache: list[Any]

    def inside(self, call: Call) -> list[Call]:
        """The calls made within another, in order."""
        return [inner for inner in self.calls if inner.within(call)]


def observe(model: nn.Module) -> Observation:
    """Run a model on a few tokens with every module watched; nothing is evaluated."""
    tokens = mx.arange(BATCH * LENGTH, dtype=mx.int32).reshape(BATCH, LENGTH) % 8
    observation = Observation([], tokens, new_cache(model))
    stack: list[Call] = []
    taps = [
        Tap(module, around=_watched(observation, stack, path, module)) for path, module in _modules(model)
    ]
    with tapped(taps), _kernels(stack):
        model(tokens, cache=observation.cache)
    return observation


def _modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    module_ids: set[int] = set()
    for path, module in model.named_modules():
        if id(module) not in module_ids:
            module_ids.add(id(module))
            yield path, module


def _watched(observation: Observation, stack: list[Call], path: str, module: nn.Module) -> Callable[..., Any]:
    def around(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        made = Call(
            path,
            module,
            (*args, *kwargs.values()),
            (*range(len(args)), *kwargs),
            stack[-1] if stack else None,
        )
        observation.calls.append(made)
        stack.append(made)
        try:
            made.output = call(*args, **kwargs)
        finally:
            stack.pop()
        return made.output

    return around


@contextmanager
def _kernels(stack: list[Call]) -> Iterator[None]:
    operands: list[tuple[int, ...]] = []

    def operand(value: mx.array) -> None:
        operands.append(tuple(value.shape))
        if len(operands) == 3:
            stack[-1].kernels.append(tuple(operands))
            operands.clear()

    def scores(value: mx.array) -> None:
        stack[-1].softmaxes.append(tuple(value.shape))

    steps = [Inside("queries", operand), Inside("keys", operand), Inside("values", operand)]
    with kernel_open([*steps, Inside("scores", scores, fused=False)]):
        yield
