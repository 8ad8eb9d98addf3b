"""Self-repair: how much less the answer loses when a head is ablated than the head contributes by itself.

McGrath et al. 2023 (arXiv:2307.15771); Rushing & Nanda 2024 (arXiv:2402.15390). What a head adds directly, by direct
logit attribution, is compared with what the answer loses when it is ablated. The difference is made up by later
components, and by the final norm, whose scale shrinks with the stream: with that scale frozen, the components' part is
left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.hooks.interventions import Intervention, patch
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import hooked, trace
from lazarus_probe.introspection.attribution.logit_attribution import token_ids
from lazarus_probe.introspection.attribution.logit_split import LogitSplit, SplitBatch
from lazarus_probe.introspection.attribution.repair_effects import Head, HeadAblation, SelfRepair
from lazarus_probe.introspection.generation.damage import Unrelated, damage, unrelated_prompts
from lazarus_probe.spelling import one_of
from lazarus_probe.statistics.clusters import cluster_means
from lazarus_probe.subject.batches import Prompt, by_length, encode_all
from lazarus_probe.subject.finite import require_finite
from lazarus_probe.subject.last_position import last_logits
from lazarus_probe.sweep.progress import bar

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Tokens = int | str | Sequence[int | str]


def self_repair(
    subject: Subject,
    prompts: Sequence[Prompt],
    answers: Tokens,
    others: Tokens | None = None,
    *,
    heads: Sequence[Head] | None = None,
    top: int = 10,
    ablation: HeadAblation = "mean",
    units: Sequence[str] | None = None,
    unrelated: Unrelated | None = None,
    seed: int = 0,
    progress: bool = False,
) -> SelfRepair:
    """Ablate heads at the last token, and compare what is lost with what they add directly.

    Args:
        subject: the model.
        prompts: P texts, or token ids.
        answers: a token or a word that is one, or one per prompt.
        others: compared with the answer; None for the logit of the answer alone.
        heads: layer and head of those that are ablated, one at a time; by default the `top` of the largest mean direct
            contribution.
        top: how many, where they are not given.
        ablation: what takes the place of a head's output at the last token: its `mean` over the prompts, `zero`, or
            that on the next prompt (`resample`).
        units: (P,) the independent unit of each prompt; by default itself.
        unrelated: prompts of other tasks for the damage; by default those of all language tasks, none without a
            tokenizer.
        seed: of signs and intervals.
        progress: show a bar, where standard error is a terminal.

    Raises:
        UnsupportedArchitecture: no heads whose contributions add up, or logits that are no such sum.
        ValueError: fewer than two prompts for `mean` or `resample`, an unknown ablation, or counts that do not match.
        IndexError: a head that does not exist.

    Example:
        >>> from lazarus_probe.introspection import self_repair
        >>> result = self_repair(subject, ["7*8=", "6*9="], ["56", "54"], ["15", "15"], top=3)
        >>> result.direct.shape  # (heads, prompts)
        (3, 2)
        >>> np.allclose(result.direct - result.lost, result.by_components.effects + result.by_norm.effects)
        True
    """
    result, outputs = ablate_heads(
        subject,
        prompts,
        answers,
        others,
        heads=heads,
        top=top,
        ablation=ablation,
        units=units,
        seed=seed,
        progress=progress,
    )
    return _with_damage(subject, result, outputs, unrelated)


def ablate_heads(
    subject: Subject,
    prompts: Sequence[Prompt],
    answers: Tokens,
    others: Tokens | None = None,
    *,
    heads: Sequence[Head] | None = None,
    top: int = 10,
    ablation: HeadAblation = "mean",
    units: Sequence[str] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> tuple[SelfRepair, Mapping[Head, NDArray[np.float64]]]:
    """What `self_repair` returns and raises, without the damage; and by head its outputs (P, Dh) at the last token."""
    if ablation not in get_args(HeadAblation):
        raise ValueError(f"ablation {ablation!r} is unknown; {one_of(ablation, get_args(HeadAblation))}")
    encoded = encode_all(subject, prompts)
    if len(encoded) < (1 if ablation == "zero" else 2):
        raise ValueError(
            f"{len(encoded)} prompts; give at least two for {ablation} ablation, or ablate to zero"
        )
    units = [str(row) for row in range(len(encoded))] if units is None else units
    if len(units) != len(encoded):
        raise ValueError(f"{len(units)} units for {len(encoded)} prompts; give one a prompt")
    ids = [None if words is None else token_ids(subject, words, len(encoded)) for words in (answers, others)]
    split = LogitSplit(subject, heads=True)
    batches = []
    for rows, tokens in by_length(encoded):
        pair = [None if tokens_of is None else [tokens_of[row] for row in rows] for tokens_of in ids]
        batches.append((rows, tokens, split.batch(tokens, *pair)))
    chosen = _chosen(subject, batches, units, heads, top)
    outputs = _outputs(subject, encoded, chosen)
    shape = (len(chosen), len(encoded))
    total = np.empty(len(encoded))
    direct, frozen, lost = np.empty(shape), np.empty(shape), np.empty(shape)
    with bar(len(chosen) * len(batches), progress, "self-repair", "runs") as step:
        for rows, tokens, batch in batches:
            total[rows] = batch.total
            for number, (layer, head) in enumerate(chosen):
                put = _replacement(outputs[layer, head], ablation)[rows]
                change = split.added(layer, head, outputs[layer, head][rows] - put)
                direct[number, rows] = batch.contribution(change)
                end, logits = _ablated(subject, tokens, Site("head_out", layer, head), put)
                frozen[number, rows] = batch.contribution(batch.end - end)
                lost[number, rows] = batch.total - _requested(logits, batch, ids[1], rows)
                step(1)
    return SelfRepair(tuple(chosen), ablation, total, direct, frozen, lost, tuple(units), None, seed), outputs


Batch = tuple[list[int], mx.array, SplitBatch]


def _chosen(
    subject: Subject, batches: Sequence[Batch], units: Sequence[str], heads: Sequence[Head] | None, top: int
) -> list[Head]:
    """The heads to ablate: those given, or those of the largest mean direct contribution."""
    names = [name for name in batches[0][2].terms if name.startswith("head_out.")]
    if not names:
        raise UnsupportedArchitecture(f"{subject.name} has no heads whose contributions can be told apart")
    there = [(int(layer), int(head)) for _, layer, head in (name.split(".") for name in names)]
    if heads is not None:
        if missing := [head for head in heads if tuple(head) not in there]:
            last = ".".join(map(str, there[-1]))
            raise IndexError(f"head {missing[0][0]}.{missing[0][1]} is not there; the last one is {last}")
        return [(int(layer), int(head)) for layer, head in heads]
    if top < 1:
        raise ValueError(f"top is {top}; give at least 1 head")
    values = np.empty((len(units), len(names)))
    for rows, _, batch in batches:
        values[rows] = np.stack([batch.contribution(batch.terms[name]) for name in names], axis=1)
    order = np.argsort(-cluster_means(values, units).mean(axis=0), kind="stable")[:top]
    return [there[index] for index in order]


def _outputs(
    subject: Subject, encoded: Sequence[Sequence[int]], heads: Sequence[Head]
) -> dict[Head, NDArray[np.float64]]:
    """By head its output (P, Dh) at the last token of every prompt."""
    sites = [Site("head_out", layer) for layer in sorted({layer for layer, _ in heads})]
    run = trace(subject, [list(ids) for ids in encoded], sites, positions="last")
    return {
        (layer, head): np.array(run[Site("head_out", layer)][:, 0, head].astype(mx.float32), dtype=np.float64)
        for layer, head in heads
    }


def _replacement(output: NDArray[np.float64], ablation: HeadAblation) -> NDArray[np.float64]:
    """What takes the place of a head's outputs (P, Dh)."""
    if ablation == "zero":
        return np.zeros_like(output)
    if ablation == "resample":
        return np.roll(output, -1, axis=0)
    return np.broadcast_to(output.mean(axis=0), output.shape)


def _ablated(
    subject: Subject, tokens: mx.array, site: Site, put: NDArray[np.float64]
) -> tuple[NDArray[np.float64], mx.array]:
    """The stream (B, D) that leaves the last block, and the logits (B, V), at the last token without a head."""
    last = Site("resid_post", subject.num_layers - 1)
    value = mx.array(put.astype(np.float32))[:, None]
    with hooked(subject, last, patch(site, value, "last"), "last") as captured:
        logits = require_finite(subject, tokens, last_logits(subject, tokens))
    return np.array(captured[last][:, 0].astype(mx.float32), dtype=np.float64), logits


def _requested(
    logits: mx.array, batch: SplitBatch, others: Sequence[int] | None, rows: Sequence[int]
) -> NDArray[np.float64]:
    values = np.array(logits.astype(mx.float32), dtype=np.float64)
    at = np.arange(len(values))
    answer = values[at, list(batch.answers)]
    return answer if others is None else answer - values[at, [others[row] for row in rows]]


def _with_damage(
    subject: Subject,
    result: SelfRepair,
    outputs: Mapping[Head, NDArray[np.float64]],
    unrelated: Unrelated | None,
) -> SelfRepair:
    if unrelated is None and subject.tokenizer is None:
        return result
    layer, head = result.heads[int(np.argmax(result.direct.mean(axis=1)))]
    put = _replacement(outputs[layer, head], result.ablation)

    def edits(rows: Sequence[int], _length: int) -> list[Intervention]:
        values = mx.array(put[np.asarray(rows) % len(put)].astype(np.float32))[:, None]
        return [patch(Site("head_out", layer, head), values, "last")]

    prompts = unrelated_prompts() if unrelated is None else unrelated
    return replace(result, damage=damage(subject, edits, prompts, seed=result.seed))
