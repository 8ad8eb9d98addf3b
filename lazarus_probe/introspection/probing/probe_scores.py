"""What a probe scores, and what its controls do: held-out scores before they are made a measurement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.probing.inputs import ProbeInputs, last_read
from lazarus_probe.statistics.bounded import take_units
from lazarus_probe.statistics.folds import Kind, encode, grouped_folds
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.measurement import Control, Growth
from lazarus_probe.statistics.probes.control_task import control_numbers, control_task, enough_types
from lazarus_probe.statistics.probes.held_out import (
    HeldOut,
    Problem,
    column_of,
    constant,
    control_gains,
    gain_over,
    growth_of,
    held_out,
    held_out_models,
    interval_of,
)

CONSTANT = {"classification": "majority", "regression": "mean"}


@dataclass(frozen=True, eq=False)
class OwnScores:
    """The scores of a probe without any control model.

    Attributes:
        score: of the site.
        controls: those that need no other model, by name.
        interval: of the score.
        gains: over the controls.
        growth: the end of the learning curve, or why there is none.
    """

    score: HeldOut
    controls: Mapping[str, HeldOut]
    interval: Interval
    gains: tuple[Control, ...]
    growth: Growth | str | None = None


def own_scores(inputs: ProbeInputs, kind: Kind, seed: int) -> OwnScores:
    """The probe of these inputs, the controls that need no other model, and the learning curve."""
    problem = inputs.problem(inputs.features, kind, seed)
    score = held_out(problem)
    compared = compared_with(inputs, score, control_scores(inputs, kind, seed), kind, seed)
    return replace(compared, growth=growth_of(problem, score, inputs.dataset.units))


def compared_with(
    inputs: ProbeInputs, score: HeldOut, controls: Mapping[str, HeldOut], kind: Kind, seed: int
) -> OwnScores:
    """A score with its interval, and its gains over controls."""
    units = inputs.dataset.units
    gains = control_gains(score, controls, {}, units, kind, seed)
    return OwnScores(score, controls, interval_of(score, units, kind, seed), gains)


def control_scores(inputs: ProbeInputs, kind: Kind, seed: int) -> dict[str, HeldOut]:
    """The controls that need no other model, by name: the constant answer, and the probe of other features."""
    scores = {CONSTANT[kind]: constant(inputs.problem(inputs.features, kind, seed))}
    scores |= {
        name: held_out(inputs.problem(features, kind, seed))
        for name, features in inputs.control_features.items()
    }
    forms = [held_out(inputs.problem(features, kind, seed)) for features in inputs.embeddings]
    if forms:
        scores["token_embeddings"] = max(forms, key=lambda form: form.score)
    return scores


def model_scores(inputs: ProbeInputs, kind: Kind, seed: int) -> dict[str, list[HeldOut]]:
    """The probe of the site in each control model, by kind of model."""
    return {
        name: held_out_models([inputs.problem(features, kind, seed) for features in models])
        for name, models in inputs.models.items()
    }


def model_score(inputs: ProbeInputs, of: str, model: int, kind: Kind, seed: int) -> HeldOut:
    """The probe of the site in one control model of a kind, as `model_scores` has it of all."""
    models = inputs.models[of]
    few = models[:1] if model == 0 else [models[0], models[model]]  # the first chooses the penalties of all
    return held_out_models([inputs.problem(features, kind, seed) for features in few])[-1]


def control_task_of(inputs: ProbeInputs, score: HeldOut, kind: Kind, seed: int) -> Control | str:
    """The control task on the prompts whose type recurs in other groups; or why it is not measured."""
    dataset = inputs.dataset
    classes = len(np.unique(dataset.labels)) if kind == "classification" else None
    types = _tokens_to_memorise(inputs, score, kind, classes) if dataset.types is None else dataset.types
    if types is None:
        return "not measured: no token of enough types could explain half of what is read, were it memorised"
    enough = enough_types(types, dataset.groups, classes)
    if isinstance(enough, str):
        return f"not measured: {enough}"
    rows = np.flatnonzero(enough)
    groups, labels = dataset.groups[rows], dataset.labels[rows]
    if kind == "classification":
        codes = encode(labels)[1]
        targets: NDArray[Any] = control_task(types[rows], int(codes.max()) + 1, seed, np.bincount(codes))
    else:
        targets = control_numbers(types[rows], labels, seed)
    try:
        grouped_folds(targets, groups, seed=seed, kind=kind)
    except ValueError as error:
        return f"not measured: {error}"
    memorised = held_out(Problem.of(inputs.features[rows], targets, groups, kind, seed))
    return gain_over("control_task", score.take(rows), memorised, take_units(dataset.units, rows), kind, seed)


def _tokens_to_memorise(
    inputs: ProbeInputs, score: HeldOut, kind: Kind, classes: int | None
) -> NDArray[Any] | None:
    """The tokens (N,) at the position, counted back from the one read, that predict other groups' labels best.

    A probe of a wide residual stream learns random classes of any token that is decodable. That speaks against the
    score only if the token explains it: None if a lookup table of the tokens gains less than half of the score.
    """
    at, tokens, groups = inputs.dataset.at, inputs.tokens, inputs.dataset.groups
    positions = last_read(at, len(tokens))
    read = [position % len(ids) for position, ids in zip(positions, tokens, strict=True)]
    back = range(min(read) + 1)
    columns = np.array([[ids[end - step] for step in back] for ids, end in zip(tokens, read, strict=True)])
    enough = [not isinstance(enough_types(column, groups, classes), str) for column in columns.T]
    columns = columns[:, enough]
    best = column_of(inputs.problem(columns, kind, 0)) if columns.size else None
    gain = score.score - constant(inputs.problem(columns, kind, 0)).score
    return None if best is None or best[1] < gain / 2 else columns[:, best[0]]
