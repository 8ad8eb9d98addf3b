"""Runs with blocks deleted, swapped or pushed, from the states before the edit where those are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.hooks.captures import Captures
from lazarus_probe.hooks.interventions import Intervention
from lazarus_probe.hooks.replay import replay
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import hooked
from lazarus_probe.introspection.ablation.edited_blocks import LayerEdit, blocks_edited
from lazarus_probe.subject.batches import by_length
from lazarus_probe.subject.dealt import dealt
from lazarus_probe.subject.finite import require_finite
from lazarus_probe.subject.last_position import last_logits

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

At = Literal["all", "last"]


@dataclass(frozen=True, eq=False)
class UneditedRun:
    """What edits of blocks are compared with, and resume from.

    Attributes:
        tokens: (B, L).
        logits: (B, L, V), or of the last position (B, 1, V).
        seen: the residuals that enter and leave the blocks to edit.
        resumed: whether edited runs begin at the edited blocks.
    """

    tokens: mx.array
    logits: mx.array
    seen: Captures
    resumed: bool


def unedited_runs(
    subject: Subject,
    batches: Sequence[tuple[Sequence[int], mx.array]],
    blocks: Sequence[Sequence[int]],
    at: At,
) -> Iterator[tuple[Sequence[int], UneditedRun]]:
    """The run of every batch of rows and tokens (B, L), with what enters and leaves K edited groups of blocks."""
    resumed = None
    sites = [*map(_start, blocks), *map(block_end, blocks)]
    for rows, tokens in batches:
        logits, seen = _run(subject, tokens, at, sites)
        if resumed is None:
            resumed = at == "all" and _goes_on_as_it_did(subject, tokens, logits, seen, blocks)
        yield rows, UneditedRun(tokens, logits, seen, resumed)


def edited_logits(
    subject: Subject, edit: LayerEdit, blocks: Sequence[int], clean: UneditedRun, at: At
) -> tuple[mx.array, mx.array]:
    """Logits with some blocks deleted or swapped, and the residual (B, L, D) that then leaves the last of them."""
    with blocks_edited(subject, edit, blocks) as left:
        if clean.resumed:
            logits = _rest(subject, clean.tokens, clean.seen[_start(blocks)], blocks[0])
        else:
            logits, _ = _run(subject, clean.tokens, at)
    return logits, left[0]


def pushed_logits(
    subject: Subject,
    push: Callable[[mx.array], mx.array],
    blocks: Sequence[int],
    clean: UneditedRun,
    at: At,
) -> mx.array:
    """Logits after an edit of the residual that leaves the last of some blocks."""
    end = block_end(blocks)
    if clean.resumed:
        return _rest(subject, clean.tokens, push(clean.seen[end]), blocks[-1] + 1)
    with hooked(subject, (), Intervention(end, push, label="push")):
        return _run(subject, clean.tokens, at)[0]


def kept_after_edits(
    subject: Subject,
    encoded: Sequence[Sequence[int]],
    edit: LayerEdit,
    blocks: Sequence[Sequence[int]],
) -> NDArray[np.float64]:
    """(K, P) the share of positions of each prompt whose most probable token stays, by edit, and nothing else."""
    kept = np.empty((len(blocks), len(encoded)))
    for rows, clean in unedited_runs(subject, list(by_length(encoded)), blocks, "all"):
        run = partial(_kept_after, subject, edit, clean)
        for number, of_edit in enumerate(dealt(subject, blocks, run)):
            kept[number, rows] = of_edit
    return kept


def _kept_after(
    subject: Subject, edit: LayerEdit, clean: UneditedRun, blocks: Sequence[int]
) -> NDArray[np.float64]:
    """(B,) the share kept after one edit."""
    return share_kept(clean.logits, edited_logits(subject, edit, blocks, clean, "all")[0])


def share_kept(before: mx.array, after: mx.array) -> NDArray[np.float64]:
    """(B,) the share of positions with the same most probable token, from logits (B, L, V) or their logarithms."""
    same = (before.argmax(axis=-1) == after.argmax(axis=-1)).astype(mx.float32).mean(axis=1)
    return np.array(same, dtype=np.float64)


def block_end(blocks: Sequence[int]) -> Site:
    """Where the residual leaves the last of some blocks."""
    return Site("resid_post", blocks[-1])


def _start(blocks: Sequence[int]) -> Site:
    return Site("resid_pre", blocks[0])


def _goes_on_as_it_did(
    subject: Subject,
    tokens: mx.array,
    logits: mx.array,
    seen: Captures,
    blocks: Sequence[Sequence[int]],
) -> bool:
    """Whether blocks run from states that are given compute what they do in a whole run, to the last bit.

    Then the blocks below an edit are not run again: of edits in the middle that is half of the work.
    """
    ends = (
        _rest(subject, tokens, seen[_start(blocks[0])], blocks[0][0]),
        _rest(subject, tokens, seen[block_end(blocks[-1])], blocks[-1][-1] + 1),
    )
    return all(mx.array_equal(logits, again).item() for again in ends)


def _rest(subject: Subject, tokens: mx.array, resid: mx.array, layer: int) -> mx.array:
    """Logits (B, L, V), from the states (B, L, D) that enter a block."""
    return require_finite(subject, tokens, replay(subject, resid, layer, tokens))


def _run(subject: Subject, tokens: mx.array, at: At, sites: Sequence[Site] = ()) -> tuple[mx.array, Captures]:
    """Logits (B, L, V), or of the last position (B, 1, V), and what was captured."""
    with hooked(subject, sites) as captured:
        logits = last_logits(subject, tokens)[:, None] if at == "last" else forward(subject.model, tokens)
        require_finite(subject, tokens, logits)
    mx.eval(logits, *(captured[site] for site in captured))
    return logits, captured
