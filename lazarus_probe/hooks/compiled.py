"""A watched forward that is compiled, for small models that are run very often on prompts of the same length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.hooks.captures import Captures, HookError
from lazarus_probe.hooks.model_sites import resolve
from lazarus_probe.hooks.positions import Positions, check_positions, check_range
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import Part, Trace, hooked
from lazarus_probe.subject.batches import as_tokens
from lazarus_probe.subject.finite import is_finite, peak, refuse
from lazarus_probe.subject.subject import Subject
from lazarus_probe.taps import is_tapped


def compiled(
    subject: Subject, capture: Site | str | Iterable[Site | str], positions: Positions = "all"
) -> Callable[[Any], Trace]:
    """A function from prompts to what `trace(subject, prompts, capture, positions=positions)` returns.

    The model's Python runs once for every shape of the prompts, which costs about two forwards more, and the first time
    on a machine also some seconds of a C++ compiler. After that a call on a narrow model costs about three quarters of
    a plain forward, so that it pays from some ten calls of a shape on; wide models gain nothing.

    Weights are inputs of what is compiled, so that changed ones are seen. All else is as it was at first: a function
    that meets other modules, hooks around it or another mode of training refuses to run.

    Raises:
        ValueError: an unknown site; from the function, what `trace` raises.
        IndexError: a layer, head or position that does not exist.
        HookError: there are hooks on the model; from the function, the model is not built as it was, or keeps arrays
            that are not in its modules.

    Example:
        >>> from lazarus_probe.hooks import compiled
        >>> read = compiled(subject, capture="resid_post.5", positions="last")
        >>> [read(prompt)["resid_post.5"].shape for prompt in ("7*8=", "6*9=")]
        [(1, 1, 128), (1, 1, 128)]
    """
    model, anatomy = subject.model, subject.anatomy
    if is_tapped(model):
        raise HookError(
            f"{subject.name} has hooks on it, which would be frozen in; call `compiled` outside of `hooked`"
        )
    capture_sites = [capture] if isinstance(capture, Site | str) else capture
    wanted = list(dict.fromkeys(resolve(site, anatomy) for site in capture_sites))
    checked_positions, built = check_positions(positions), _parts(model).modules

    def run(tokens: mx.array, arrays: list[mx.array]) -> list[mx.array]:
        with _parameters(subject, arrays), hooked(anatomy, wanted, positions=checked_positions) as captures:
            logits = forward(model, tokens)
            return [logits, peak(logits), *(captures[site] for site in wanted)]

    fast = mx.compile(run)

    def traced(prompts: Any) -> Trace:
        tokens = as_tokens(subject, prompts)
        check_range(checked_positions, tokens.shape[1])
        parts = _parts(model)
        if parts.modules != built:
            raise HookError(
                f"the modules, hooks or mode of {subject.name} are not those it was compiled with; "
                "call `compiled` again, outside of `hooked`"
            )
        logits, largest, *values = fast(tokens, parts.arrays)
        mx.eval(logits, largest, *values)
        if not is_finite(largest):
            refuse(subject, tokens)
        captured = {site: [value] for site, value in zip(wanted, values, strict=True)}
        return Trace((Part(tuple(range(len(tokens))), tokens, logits, Captures(anatomy, captured)),))

    return traced


@dataclass
class _Parts:
    """What a model is built of: its arrays, and the class and mode of each module, in the order they are found."""

    arrays: list[mx.array] = field(default_factory=list)
    modules: list[tuple[int, type, bool]] = field(default_factory=list)


def _parts(node: Any, parts: _Parts | None = None) -> _Parts:
    # `Module.modules` takes as long as a tenth of a small forward.
    parts = parts or _Parts()
    if isinstance(node, mx.array):
        parts.arrays.append(node)
    elif isinstance(node, dict | list | tuple):
        if isinstance(node, nn.Module):
            # The class of a hooked module is another one, and so is that of an adapter.
            parts.modules.append((id(node), type(node), node.training))
        for part in node.values() if isinstance(node, dict) else node:
            _parts(part, parts)
    return parts


@contextmanager
def _parameters(subject: Subject, arrays: list[mx.array]) -> Iterator[None]:
    """The model with other arrays in place of its own, and as it was after that, however the context is left."""
    # An error while `mx.compile(inputs=...)` traces would leave the model without its weights.
    model = subject.model
    before = [(module, dict(module)) for module in model.modules()]
    own = {id(array): array_in_use for array, array_in_use in zip(_parts(model).arrays, arrays, strict=True)}
    for module, items in before:
        dict.update(module, {name: own.get(id(value), value) for name, value in items.items()})
    try:
        yield
        if {*map(id, _parts(model).arrays)} != {*map(id, own.values())}:
            raise HookError(f"{subject.name} keeps arrays of its own and cannot be compiled; use `trace`")
    finally:
        for module, items in before:
            dict.clear(module)
            dict.update(module, items)
