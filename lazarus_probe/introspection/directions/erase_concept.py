"""A concept erased from the state at the end of the prompt, and what a choice between two answers loses.

That a probe reads a concept shows that it is there, not that it is used. Here the concept is erased after a block, as
LEACE does (Belrose et al. 2023, arXiv:2306.03819), fitted on one half of the prompts' units. On the other half a probe
is to find nothing any more, and what the choice loses is compared with erasing random directions of the same whitened
states, and those of shuffled labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.interventions import Intervention
from lazarus_probe.hooks.sites import Site, resid_post
from lazarus_probe.introspection.directions.class_direction import class_direction
from lazarus_probe.introspection.directions.concept_erasure import (
    Eraser,
    fit_eraser,
    random_erasers,
    whitening,
)
from lazarus_probe.introspection.directions.erased_choices import ErasedChoices, Floats, Probed
from lazarus_probe.introspection.generation.damage import Unrelated, damage, unrelated_prompts
from lazarus_probe.statistics.folds import halves
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.permutation import group_permutations
from lazarus_probe.subject.batches import Prompt, encode_all
from lazarus_probe.subject.relative_depth import spaced_layers
from lazarus_probe.sweep.engine import sweep
from lazarus_probe.sweep.metrics import logit_diff
from lazarus_probe.sweep.progress import bar
from lazarus_probe.sweep.sources import Mean

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

NOTHING = Unrelated((), ())  # where no damage is requested
RANDOM = 7  # erasers of a control, so that its interval holds for one more


def erase_concept(
    subject: Subject,
    prompts: Sequence[Prompt],
    labels: Sequence[str],
    answers: Sequence[int],
    others: Sequence[int],
    *,
    units: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    shrinkage: float | None = None,
    random: int = RANDOM,
    unrelated: Unrelated | None = None,
    seed: int = 0,
    progress: bool = False,
) -> ErasedChoices:
    """Erase a concept from the last token's state after a layer, and see what a choice between two answers loses.

    Args:
        subject: the model.
        prompts: P texts, or token ids.
        labels: (P,) the concept's class of each.
        answers: (P,) the token that should follow.
        others: (P,) the token that it is compared with.
        units: (P,) the independent unit of each, never split between the half that erasers are fitted on and the half
            that is tested; by default itself.
        layers: each is tried alone; by default six evenly spaced ones.
        shrinkage: of the covariance; see `whitening`.
        random: how many random directions, and as many shuffles of the labels.
        unrelated: prompts of other tasks for the damage; by default those of all language tasks, none without a
            tokenizer.
        seed: of halves, random directions, shuffled labels and intervals.
        progress: show a bar, where standard error is a terminal.

    Raises:
        UnsupportedArchitecture: several residual streams.
        ValueError: counts that do not match, or too few units of a class.
        NothingToEraseError: states that are the same for all prompts.
        IndexError: a layer that does not exist.

    Example:
        >>> from lazarus_probe.introspection import erase_concept
        >>> operands = [(a, b) for a in range(2, 8) for b in (3, 8)]
        >>> prompts = [f"{a}{sign}{b}=" for sign in "*+" for a, b in operands]
        >>> products, sums = (
        ...     [subject.single_token(str(value)) for value in values]
        ...     for values in ([a * b for a, b in operands], [a + b for a, b in operands])
        ... )
        >>> labels = ["multiply"] * 12 + ["add"] * 12
        >>> answers, others = [*products, *sums], [*sums, *products]
        >>> result = erase_concept(subject, prompts, labels, answers, others, layers=[4], random=3)
        >>> result.rank, result.erased.shape, result.random.shape
        (1, (1, 12), (1, 3, 12))
    """
    if subject.anatomy.stream_axis is not None:
        raise UnsupportedArchitecture(
            f"{subject.name} carries several residual streams; one is needed to erase from"
        )
    encoded = encode_all(subject, prompts)
    units = [str(row) for row in range(len(encoded))] if units is None else units
    per_prompt = {"labels": labels, "answers": answers, "others": others, "units": units}
    if wrong := [
        f"{len(values)} {name}" for name, values in per_prompt.items() if len(values) != len(encoded)
    ]:
        raise ValueError(f"{wrong[0]} for {len(encoded)} prompts; give one a prompt")
    if random < 1:
        raise ValueError(f"random is {random}; give at least 1 random direction")
    tried = _layers(subject, layers)
    fitted, tested = halves(labels, units, seed=seed)
    sites = [resid_post(layer) for layer in tried]
    states = {site: np.asarray(rows, np.float64) for site, rows in collect(subject, encoded, sites).items()}
    names, of_units = np.asarray(labels), np.asarray(units)
    erasers = {
        site: _erasers(rows[fitted], names[fitted], of_units[fitted], shrinkage, random, seed)
        for site, rows in states.items()
    }
    gap, edited = _gaps(subject, encoded, answers, others, tested, states, erasers, progress)
    before, after = (
        tuple(_probed(rows, names[tested], of_units[tested], seed) for rows in of_kind)
        for of_kind in (
            [states[site][tested] for site in sites],
            [erasers[site][0](states[site][tested]) for site in sites],
        )
    )
    result = ErasedChoices(
        tuple(tried),
        erasers[sites[0]][0].rank,
        before,
        after,
        gap,
        edited[:, 0],
        edited[:, 1 : 1 + random],
        edited[:, 1 + random :],
        tuple(units[row] for row in tested),
        None,
        seed,
    )
    return _with_damage(subject, result, [erasers[site][0] for site in sites], unrelated)


def _layers(subject: Subject, layers: Sequence[int] | None) -> list[int]:
    count = subject.num_layers
    if layers is None:
        return spaced_layers(count, 6)
    if not layers:
        raise ValueError("no layers to erase after; give at least one")
    if wrong := [layer for layer in layers if not 0 <= layer < count]:
        raise IndexError(f"layer {wrong[0]} is not there; {subject.name} has 0 to {count - 1}")
    return list(layers)


def _erasers(
    states: Floats,
    labels: NDArray[Any],
    units: NDArray[Any],
    shrinkage: float | None,
    random: int,
    seed: int,
) -> list[Eraser]:
    """That of the concept, random ones of equal rank, and those of labels shuffled."""
    whitened = whitening(states, shrinkage)
    own = fit_eraser(states, labels, whitened)
    rng = np.random.default_rng(seed)
    shuffled = [
        fit_eraser(states, other, whitened) for other in group_permutations(labels, units, rng, random)
    ]
    return [own, *random_erasers(whitened, own.rank, random, seed), *shuffled]


def _gaps(
    subject: Subject,
    encoded: Sequence[list[int]],
    answers: Sequence[int],
    others: Sequence[int],
    tested: NDArray[np.intp],
    states: dict[Site, Floats],
    erasers: dict[Site, list[Eraser]],
    progress: bool,
) -> tuple[Floats, Floats]:
    """(N,) the gap of each tested prompt as it is, and (L, E, N) with its state put through each eraser."""
    sites = list(states)
    count = len(erasers[sites[0]])
    gap, edited = np.empty(len(tested)), np.empty((len(sites), count, len(tested)))
    with bar(len(tested), progress, "erasing", "prompts") as step:
        for number, row in enumerate(tested.tolist()):
            sources = {
                str(index): Mean(
                    {str(site): erasers[site][index](states[site][row]).astype(np.float32) for site in sites}
                )
                for index in range(count)
            }
            result = sweep(
                subject,
                [encoded[row]],
                sites,
                sources=sources,
                metrics=[logit_diff(answers[row], others[row])],
                positions="last",
            )
            gap[number] = result.baseline["logit_diff"][0]
            edited[:, :, number] = result.values["logit_diff"][0, :, :, 0].T
            step(1)
    return gap, edited


def _probed(states: Floats, labels: NDArray[Any], units: NDArray[Any], seed: int) -> Probed:
    """Fisher's discriminant of the first class against the rest, on held-out units of the tested half."""
    is_first = labels == np.unique(labels)[0]
    try:
        direction = class_direction(states, is_first, units, "lda", seed)
    except ValueError:  # the same mean state: nothing is left to tell the classes by
        share = float(max(is_first.mean(), 1 - is_first.mean()))
        return Probed(share, Interval(share, share, 0.95))
    return Probed(direction.accuracy, direction.interval)


def _with_damage(
    subject: Subject, result: ErasedChoices, erasers: Sequence[Eraser], unrelated: Unrelated | None
) -> ErasedChoices:
    if unrelated is NOTHING or (unrelated is None and subject.tokenizer is None):
        return result
    best = result.lost.best
    prompts = unrelated_prompts() if unrelated is None else unrelated

    def edits(_rows: Sequence[int], _length: int) -> list[Intervention]:
        return [erasing(erasers[best], result.layers[best])]

    return replace(result, damage=damage(subject, edits, prompts, seed=result.seed))


def erasing(eraser: Eraser, layer: int) -> Intervention:
    """The edit that erases a concept from the last token's state after a layer."""
    mean, reads, writes = (
        mx.array(part.astype(np.float32)) for part in (eraser.mean, eraser.reads, eraser.writes)
    )

    def edit(value: mx.array) -> mx.array:
        rows = value.astype(mx.float32)
        return (rows - (rows - mean) @ reads @ writes).astype(value.dtype)

    return Intervention(resid_post(layer), edit, "last", "erase")
