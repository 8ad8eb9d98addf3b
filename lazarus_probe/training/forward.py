"""The forward pass for training: the model's own code, without the parts that only generation needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
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

LayerPositions = Sequence[tuple[int, mx.array]]
LogitsAt = Callable[[mx.array, LayerPositions], list[mx.array]]


def logits_at(subject: Subject) -> LogitsAt:
    """A differentiable function that runs tokens (B, L) and returns logits at the requested layers and positions.

    It takes pairs of a layer and positions (B, K), and returns for each the logits (B, K, V) of the exact lens after
    that layer; after the last layer they are the model's. The head is run at those positions only, since it is most of
    the work on a small model. Gradients reach every trainable layer below.
    """
    read_out, mlps = _read_out(subject), swiglu_mlps(subject) if on_cpu() else []

    def run(tokens: mx.array, layer_positions: LayerPositions) -> list[mx.array]:
        sites = {layer: Site("resid_post", layer) for layer, _ in layer_positions}
        with fast_mlps(mlps), hooked(subject, sites.values()) as captures:
            subject.model(tokens, cache=_brief_cache(subject.model))
        return read_out(tokens, [(captures[sites[layer]], positions) for layer, positions in layer_positions])

    return run


def on_cpu() -> bool:
    """Whether the default device is a CPU, where `mx.exp` may be scalar and `fast_exp` is faster."""
    return bool(mx.default_device().type == mx.DeviceType.cpu)


def _brief_cache(model: nn.Module) -> list[Any]:
    """The model's own cache, without preallocated space for further tokens in its keys and values."""
    from mlx_lm.models.cache import ConcatenateKVCache, KVCache

    return [ConcatenateKVCache() if type(entry) is KVCache else entry for entry in new_cache(model)]


def _read_out(subject: Subject) -> Callable[[mx.array, Sequence[tuple[mx.array, mx.array]]], list[mx.array]]:
    """A function from residuals (B, L, D) and positions (B, K) to the logits there, by the model's own tail."""

    def at_positions(_: mx.array, readouts: Sequence[tuple[mx.array, mx.array]]) -> list[mx.array]:
        picked = [_picked(resid, positions) for resid, positions in readouts]
        ends = [sum(value.shape[1] for value in picked[: i + 1]) for i in range(len(picked) - 1)]
        logits = replay(subject, mx.concatenate(picked, axis=1))
        return list(mx.split(logits, ends, axis=1)) if ends else [logits]

    def everywhere(tokens: mx.array, readouts: Sequence[tuple[mx.array, mx.array]]) -> list[mx.array]:
        return [_picked(replay(subject, resid, tokens=tokens), positions) for resid, positions in readouts]

    try:
        require_free_tail(subject)
    except UnsupportedArchitecture:
        return everywhere
    return at_positions


def _picked(values: mx.array, positions: mx.array) -> mx.array:
    """(B, K, ...) of (B, L, ...) at positions (B, K)."""
    return values[mx.arange(len(values))[:, None], positions]


def swiglu_mlps(subject: Subject) -> list[nn.Module]:
    """The MLPs of a subject that compute `down(silu(gate(x)) * up(x))`, which is checked by running each once."""
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


def fast_mlps(mlps: Sequence[nn.Module]) -> AbstractContextManager[None]:
    """Within it MLPs that compute `down(silu(gate(x)) * up(x))` do so with `fast_exp`, within float32 accuracy.

    The whole MLP is replaced: `fast_gates` replaces mlx-lm's `swiglu` where nothing is learned, by NumPy's, which has
    no gradient.
    """
    return tapped([Tap(mlp, around=_swiglu(mlp)) for mlp in mlps])


def _swiglu(mlp: Any) -> Around:
    """The MLP with `fast_exp`; the same function within float32 accuracy."""

    def around(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x = argument(args, kwargs)
        if x.dtype != mx.float32:
            return call(*args, **kwargs)
        return mlp.down_proj(fast_exp.swiglu(mlp.gate_proj(x), mlp.up_proj(x)))

    return around


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Set a model's training mode; the mode of each of its modules is restored on exit."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode in before:
            module._training = mode
