"""The forward pass as training runs it: the model's own code, without what only generation needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.anatomy.forward_pass import new_cache
from lazarus_probe.hooks.replay import replay, require_free_tail
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import hooked
from lazarus_probe.taps import Around, Tap, argument, tapped
from lazarus_probe.training import fast_exp

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Asked = Sequence[tuple[int, mx.array]]
LogitsAt = Callable[[mx.array, Asked], list[mx.array]]


def logits_at(subject: Subject) -> LogitsAt:
    """A function that runs tokens (B, L) and reads logits out where they are asked for, to be differentiated.

    It is given pairs of a layer and positions (B, K), and returns for each the logits (B, K, V) of the exact lens after
    that layer; after the last layer they are the model's. The head is run at those positions only: on a small model it
    is most of the work. Gradients reach every layer below that is trained.
    """
    read_out, mlps = _read_out(subject), swiglu_mlps(subject) if on_cpu() else []

    def run(tokens: mx.array, asked: Asked) -> list[mx.array]:
        sites = {layer: Site("resid_post", layer) for layer, _ in asked}
        with (
            tapped([Tap(mlp, around=_swiglu(mlp)) for mlp in mlps]),
            hooked(subject, sites.values()) as captures,
        ):
            subject.model(tokens, cache=_brief_cache(subject.model))
        return read_out(tokens, [(captures[sites[layer]], places) for layer, places in asked])

    return run


def on_cpu() -> bool:
    """Whether what is computed now is computed where `mx.exp` may be scalar, as `fast_exp` is for."""
    return bool(mx.default_device().type == mx.DeviceType.cpu)


def _brief_cache(model: nn.Module) -> list[Any]:
    """The model's own cache, whose entries for keys and values hold no room for tokens to come."""
    from mlx_lm.models.cache import ConcatenateKVCache, KVCache

    return [ConcatenateKVCache() if type(entry) is KVCache else entry for entry in new_cache(model)]


def _read_out(subject: Subject) -> Callable[[mx.array, Sequence[tuple[mx.array, mx.array]]], list[mx.array]]:
    """From residuals (B, L, D) and positions in them (B, K) to the logits there, by the model's own tail."""

    def at_places(_: mx.array, asked: Sequence[tuple[mx.array, mx.array]]) -> list[mx.array]:
        picked = [_picked(resid, places) for resid, places in asked]
        ends = [sum(value.shape[1] for value in picked[: i + 1]) for i in range(len(picked) - 1)]
        logits = replay(subject, mx.concatenate(picked, axis=1))
        return list(mx.split(logits, ends, axis=1)) if ends else [logits]

    def everywhere(tokens: mx.array, asked: Sequence[tuple[mx.array, mx.array]]) -> list[mx.array]:
        return [_picked(replay(subject, resid, tokens=tokens), places) for resid, places in asked]

    try:
        require_free_tail(subject)
    except UnsupportedArchitecture:
        return everywhere
    return at_places


def _picked(values: mx.array, places: mx.array) -> mx.array:
    """(B, K, ...) of (B, L, ...) at places (B, K)."""
    return values[mx.arange(len(values))[:, None], places]


def swiglu_mlps(subject: Subject) -> list[nn.Module]:
    """The MLPs of a subject that compute `down(silu(gate(x)) * up(x))`: each is run once to see that it does."""
    x = 3 * mx.random.normal((1, 2, subject.anatomy.hidden_size), key=mx.random.key(0))
    with in_mode(subject.model, training=False):
        return [
            module
            for block in subject.anatomy.blocks
            for module in block.modules()
            if set(module.children()) == {"gate_proj", "up_proj", "down_proj"} and _is_swiglu(module, x)
        ]


def _is_swiglu(mlp: nn.Module, x: mx.array) -> bool:
    try:
        own = mlp(x)
        fast = _swiglu(mlp)(mlp, (x,), {})
    except (TypeError, ValueError):
        return False
    if own.dtype != mx.float32 or own.shape != fast.shape:
        return False
    return bool((mx.abs(own - fast).max() <= 1e-5 * mx.abs(own).max()).item())


def _swiglu(mlp: Any) -> Around:
    """The MLP with `fast_exp`; the same function to the accuracy of float32."""

    def around(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x = argument(args, kwargs)
        if x.dtype != mx.float32:
            return call(*args, **kwargs)
        return mlp.down_proj(fast_exp.swiglu(mlp.gate_proj(x), mlp.up_proj(x)))

    return around


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """A model in training mode or out of it, and each of its modules as it was afterwards."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode in before:
            module._training = mode
