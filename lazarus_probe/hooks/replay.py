"""Running part of a model: its tail from a residual stream that is given.

The blocks below are passed through and the model's own code runs the rest, so that final norm, soft caps,
logit scales and tied heads are the model's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import mlx.core as mx
import mlx.nn as nn

from lazarus_probe.anatomy.anatomy import Anatomy, UnsupportedArchitecture
from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.hooks.places import resid_layout
from lazarus_probe.hooks.trace import trace
from lazarus_probe.subject.relative_depth import layer_number
from lazarus_probe.subject.subject import Subject
from lazarus_probe.taps import Around, Tap, argument, held, original, tapped


def replay(
    subject: Subject, resid: mx.array, layer: int | None = None, tokens: mx.array | None = None
) -> mx.array:
    """Logits (B, L, V) of a residual stream (B, L, D) given to the model after its first `layer` blocks.

    With the default, all of them, this is the logit lens (nostalgebraist, 2020): final norm and unembedding.
    Can be differentiated with respect to `resid` and to the parameters. Hooks of an enclosing `hooked` act on
    what is run, and do not see the blocks passed through.

    Args:
        subject: the model.
        resid: (B, L, D), or (B, L, N, D) for a model with N residual streams.
        layer: blocks that are passed through.
        tokens: (B, L) the run that `resid` comes from. Needed where a later block reads more than the residual,
            such as embeddings of its own; `self_check` says whether that is so.

    Raises:
        IndexError: `layer` is not within 0 and the number of layers.
        ValueError: `resid` has another shape.

    Example:
        >>> from lazarus_probe import trace
        >>> from lazarus_probe.hooks import replay
        >>> run = trace(subject, "7*8=", capture="resid_post.7")
        >>> np.allclose(replay(subject, run["resid_post.7"]), run.logits, atol=1e-3)
        True
    """
    anatomy = subject.anatomy
    layer = anatomy.num_layers if layer is None else layer
    if not 0 <= layer <= anatomy.num_layers:
        raise IndexError(f"layer {layer} is out of range: a replay starts at 0 to {anatomy.num_layers}")
    streams = "" if anatomy.stream_axis is None else "N, "
    if resid.ndim != 3 + len(streams[:1]) or resid.shape[-1] != anatomy.hidden_size:
        raise ValueError(f"resid is {tuple(resid.shape)}; (B, L, {streams}{anatomy.hidden_size}) is needed")
    if tokens is None:
        tokens = mx.zeros(resid.shape[:2], dtype=mx.int32)
    with tapped(list(_injection(anatomy, resid_layout(anatomy, resid), layer)), first=True):
        return forward(anatomy.model, tokens)


def resume(subject: Subject, resid: mx.array, layer: int, tokens: mx.array | None = None) -> mx.array:
    """Logits (B, L, V) from running block `layer` and those above it on their input `resid` (B, L, D).

    See `replay`, which this is for a block that exists.

    Raises:
        IndexError: the model has no such block; negative layers count from the last.
        ValueError: `resid` is not (B, L, D).

    Example:
        >>> from lazarus_probe import trace
        >>> from lazarus_probe.hooks import resume
        >>> run = trace(subject, "7*8=", capture="resid_pre.3")
        >>> np.allclose(resume(subject, run["resid_pre.3"], layer=3), run.logits, atol=1e-3)
        True
    """
    return replay(subject, resid, layer_number(layer, subject.anatomy.num_layers), tokens)


def require_free_tail(subject: Subject) -> None:
    """Refuse a model whose logits depend on more of a position than the residual that leaves the last block.

    Its residuals cannot be read out one by one; `replay` with their tokens reads those of a whole run.

    Raises:
        UnsupportedArchitecture: the model is such a one.
    """
    if subject not in _free:
        _free[subject] = _has_free_tail(subject)
    if not _free[subject]:
        raise UnsupportedArchitecture(
            f"what follows the blocks of {subject.name} reads more than the residual, so that a residual alone "
            "has no logits; use `replay` with the tokens it comes from"
        )


_free: WeakKeyDictionary[Subject, bool] = WeakKeyDictionary()


def _has_free_tail(subject: Subject) -> bool:
    tokens = mx.arange(1, 5)[None] % subject.anatomy.vocab_size
    site = f"resid_post.{subject.num_layers - 1}"
    run = trace(subject, tokens, site)
    # Another order of positions: nothing but a position's residual may matter to its logits.
    alone, logits = (
        value.astype(mx.float32) for value in (replay(subject, run[site][:, ::-1])[:, ::-1], run.logits)
    )
    return bool((mx.abs(alone - logits).max() <= 0.01 * mx.abs(logits).max()).item())


def _injection(anatomy: Anatomy, resid: mx.array, layer: int) -> Iterator[Tap]:
    def give(_: mx.array) -> mx.array:
        return held(resid)  # models may write into what they are given

    # Hooks on the embedding and on the blocks passed through must not take this for a value of theirs.
    yield Tap(anatomy.embedding, instead=original(anatomy.embedding))
    if layer == 0:
        # The embedding is not enough: some models scale what it returns.
        yield Tap(anatomy.blocks[0], before=give, argument=anatomy.resid_argument)
        return
    for block in anatomy.blocks[: layer - 1]:
        yield Tap(block, around=_passed(anatomy, block, None))
    last = anatomy.blocks[layer - 1]
    yield Tap(last, around=_passed(anatomy, last, resid))


def _passed(anatomy: Anatomy, block: nn.Module, resid: mx.array | None) -> Around:
    """A block that hands on `resid`, or what it is given, and is only run where blocks above need more than that."""
    run = original(block)

    def around(_: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if anatomy.skippable:
            return argument(args, kwargs, anatomy.resid_argument) if resid is None else held(resid)
        output = run(*args, **kwargs)
        if resid is None or not isinstance(output, tuple):
            return output if resid is None else held(resid)
        return (held(resid), *output[1:])

    return around
