"""Causal tracing: a part of the prompt is corrupted, and one clean state after another is put back.

Meng et al. 2022 (arXiv:2202.05262). What the answer gains from a clean state, at some tokens in a window of layers, is
that state's indirect effect. The part is corrupted by noise on its embeddings, as there, or by the same part of other
prompts (resample), which keeps the model among inputs that it knows (Zhang & Nanda 2023, arXiv:2309.16042). Control:
the state of another corrupted run is put in at the same place, so that only being clean is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.interventions import Intervention, patch
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.generation.damage import Unrelated, damage, unrelated_prompts
from lazarus_probe.introspection.patching.corrupted_runs import (
    Cell,
    Corruption,
    Restorer,
    corruptions,
    noise_size,
)
from lazarus_probe.introspection.patching.windows import named_window, windows_with
from lazarus_probe.statistics.cell_effects import CellEffects, mark
from lazarus_probe.statistics.measurement import Damage
from lazarus_probe.statistics.student import Estimate, clustered_t_interval
from lazarus_probe.subject.batches import Prompt, encode_all
from lazarus_probe.subject.spans import Span
from lazarus_probe.sweep.metrics import Tokens, logit_diff, probability, reader
from lazarus_probe.sweep.progress import bar
from lazarus_probe.tables import Cell as TableCell
from lazarus_probe.tables import Column, Table

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True, eq=False)
class CausalTrace:
    """What clean states bring back of the answers of P prompts, by W windows of layers and S spots.

    Attributes:
        kind: of the sites whose clean values are put back.
        windows: (W,) layers of each.
        spots: (S,) names of the tokens whose values are put back.
        left_out: by name of a spot, why it is not there.
        corruption: `noise` or `resample`.
        noise: standard deviation of the noise on the embeddings; 0 for `resample`.
        draws: corrupted runs of each prompt.
        clean: by metric (P,) of the model as it is.
        corrupted: by metric (P,) the mean over corrupted runs.
        restored: by metric (W, S, P) with clean values put back.
        control: by metric (W, S, P) with values of another corrupted run put in; NaN with one draw.
        units: (P,) the independent unit of each prompt.
        damage: of the cell with the largest effect on unrelated prompts, whose last token gets the states.
        seed: of the noise, or of the choice of other parts.
    """

    kind: str
    windows: tuple[tuple[int, ...], ...]
    spots: tuple[str, ...]
    left_out: Mapping[str, str]
    corruption: Corruption
    noise: float
    draws: int
    clean: Mapping[str, NDArray[Any]]
    corrupted: Mapping[str, NDArray[Any]]
    restored: Mapping[str, NDArray[Any]]
    control: Mapping[str, NDArray[Any]]
    units: tuple[str, ...]
    damage: Damage | None
    seed: int

    @property
    def metric(self) -> str:
        """The metric that cells are compared by: `logit_diff` where there is one, else `probability`."""
        return next(iter(self.clean))

    @property
    def total(self) -> Estimate:
        """What the corruption loses of the metric, with its interval over units: the total effect."""
        return clustered_t_interval(self.clean[self.metric] - self.corrupted[self.metric], self.units)

    @cached_property
    def effects(self) -> CellEffects:
        """The indirect effect of each cell, (W * S) of them, window by window."""
        return self.effects_of(self.metric)

    def effects_of(self, metric: str) -> CellEffects:
        """The same of any metric."""
        shape = (len(self.windows) * len(self.spots), len(self.units))
        restored, control = (
            (values[metric] - self.corrupted[metric]).reshape(shape)
            for values in (self.restored, self.control)
        )
        return CellEffects(restored, control, self.units, self.seed)

    def cell(self, number: int) -> tuple[tuple[int, ...], str]:
        """Window and spot of a cell."""
        window, spot = divmod(number, len(self.spots))
        return self.windows[window], self.spots[spot]

    def as_data(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "kind": self.kind,
            "corruption": self.corruption,
            "noise": self.noise,
            "draws": self.draws,
            "metric": self.metric,
            "n": len(self.units),
            "units": len(set(self.units)),
            "seed": self.seed,
            "clean": {name: values.tolist() for name, values in self.clean.items()},
            "corrupted": {name: values.tolist() for name, values in self.corrupted.items()},
            "total": [float(end) for end in self.total],
            "cells": [
                {
                    "layers": list(self.cell(number)[0]),
                    "spot": self.cell(number)[1],
                    **{name: self.effects_of(name).cell_data(number) for name in self.clean},
                }
                for number in range(len(self.windows) * len(self.spots))
            ],
            "left_out": dict(self.left_out),
            "damage": None if self.damage is None else asdict(self.damage),
        }

    def table(self) -> Table:
        """The mean indirect effect beyond the control, windows by spots; with an asterisk where p is at most .05."""
        effects = self.effects
        values = effects.effect.mean if np.isnan(effects.gain.mean).all() else effects.gain.mean
        largest = float(np.abs(values).max()) or 1.0
        rows = []
        for window, layers in enumerate(self.windows):
            cells = range(window * len(self.spots), (window + 1) * len(self.spots))
            rows.append((named_window(layers), *(_marked(values[i], effects.p[i], largest) for i in cells)))
        columns = (Column("Layers", width=8), *(Column(spot, width=18) for spot in self.spots))
        return Table(columns, rows, f"indirect effect of {self.kind} on {self.metric}")

    def _repr_html_(self) -> str:
        return self.table().html()


def causal_trace(
    subject: Subject,
    prompts: Sequence[Prompt],
    parts: Sequence[Span],
    answers: Tokens,
    others: Tokens | None = None,
    *,
    kind: str = "resid_post",
    corruption: Corruption = "noise",
    noise: float = 3.0,
    draws: int = 4,
    layers: Sequence[int] | None = None,
    window: int = 1,
    units: Sequence[str] | None = None,
    unrelated: Unrelated | None = None,
    seed: int = 0,
    progress: bool = False,
) -> CausalTrace:
    """Corrupt a part of each prompt, and put clean values back at some tokens in every window of layers.

    Args:
        subject: the model.
        prompts: P texts, or token ids.
        parts: (P,) the tokens that are corrupted, as of the subject of a fact; before the last token.
        answers: the token whose probability, or logit, is measured after the prompt; one, or one a prompt.
        others: the token that it is compared with; None for the probability alone.
        kind: whose values are put back: `resid_post`, `mlp_out`, `attn_out`, or another kind of (B, L, ...).
        corruption: `noise` on the part's embeddings, or `resample`: the tokens of other prompts' parts of equal length.
        noise: standard deviation of the noise, in those of the parts' embeddings; Meng et al. take 3.
        draws: corrupted runs of a prompt; with one there is no control. `resample` has as many as there are parts.
        layers: the middle of each window; by default all that have the kind.
        window: layers of a window, as far as the model has them. Meng et al. take 10 of 48 for MLP and attention.
        units: (P,) the independent unit of each prompt; by default itself.
        unrelated: prompts of other tasks for the damage; by default those of all language tasks, none without a
            tokenizer.
        seed: of the noise, or of the choice of other parts.
        progress: show a bar, where standard error is a terminal.

    Raises:
        ValueError: counts that do not match, a part that is not before the last token, a kind of site that no block of
            a window has, no other part of equal length, or a noise that is not above 0.

    Example:
        >>> from lazarus_probe.introspection import causal_trace
        >>> from lazarus_probe.subject import span
        >>> prompts = ["7*8=", "6*9="]
        >>> parts = [span(subject, prompt, prompt[0]) for prompt in prompts]
        >>> result = causal_trace(subject, prompts, parts, ["56", "54"], corruption="resample", layers=[0, 4])
        >>> result.spots, result.restored["probability"].shape  # (windows, spots, prompts)
        (('part', 'after the part', 'last token'), (2, 3, 2))
    """
    encoded = encode_all(subject, prompts)
    units = [str(row) for row in range(len(encoded))] if units is None else units
    for name, count in (("parts", len(parts)), ("units", len(units))):
        if count != len(encoded):
            raise ValueError(f"{count} {name} for {len(encoded)} prompts; give one a prompt")
    spots, left_out = _spots(encoded, parts)
    if kind in ("scores", "pattern", "keys", "values"):
        raise ValueError(
            f"{kind} has no value of one token alone to put back; give resid_post, mlp_out or attn_out"
        )
    windows = windows_with(subject, kind, layers, window)
    size = noise_size(subject, encoded, parts, noise) if corruption == "noise" else 0.0
    corrupted = corruptions(subject, encoded, parts, corruption, size, draws, seed)
    compared = [logit_diff(answers, others)] if others is not None else []
    read = reader(subject, [*compared, probability(answers)], len(encoded))
    cells = [(layers_of, name) for layers_of in windows for name in spots]
    values: dict[str, list[NDArray[Any]]] = {
        name: [] for name in ("clean", "corrupted", "restored", "control")
    }
    states = []
    with bar(len(encoded), progress, "tracing", "prompts") as step:
        for row, ids in enumerate(encoded):
            run = Restorer(subject, ids, corrupted[row], kind, read, row)
            at = [Cell(layers_of, spots[name][row]) for layers_of, name in cells]
            for name, numbers in run.values(at).items():
                values[name].append(numbers)
            states.append({spot: run.clean_states(spots[spot][row][-1]) for spot in spots})
            step(1)
    names = [metric.name for metric in read.metrics]
    shape = (len(windows), len(spots), len(encoded))

    def by_metric(name: str, *sizes: int) -> dict[str, NDArray[Any]]:
        stacked = np.stack(values[name], axis=-1)  # (metrics, ..., P)
        return {metric: stacked[number].reshape(sizes) for number, metric in enumerate(names)}

    result = CausalTrace(
        kind,
        windows,
        tuple(spots),
        left_out,
        corruption,
        size,
        min(len(runs.tokens) for runs in corrupted),
        by_metric("clean", len(encoded)),
        by_metric("corrupted", len(encoded)),
        by_metric("restored", *shape),
        by_metric("control", *shape),
        tuple(units),
        None,
        seed,
    )
    return _with_damage(subject, result, states, unrelated)


def _spots(
    encoded: Sequence[Sequence[int]], parts: Sequence[Span]
) -> tuple[dict[str, list[tuple[int, ...]]], dict[str, str]]:
    """By name the positions of each prompt, of spots that all prompts have, and why others are left out."""
    for row, (ids, part) in enumerate(zip(encoded, parts, strict=True)):
        if part.stop >= len(ids):
            raise ValueError(
                f"prompt {row}: the part ends at token {part.last} of {len(ids)}; it must end before the last"
            )
    spots: dict[str, list[tuple[int, ...]]] = {
        "part": [part.positions for part in parts],
        "last of the part": [(part.last,) for part in parts],
        "after the part": [
            tuple(range(part.stop, len(ids) - 1)) for ids, part in zip(encoded, parts, strict=True)
        ],
        "last token": [(len(ids) - 1,) for ids in encoded],
    }
    left_out = {}
    if all(len(part) == 1 for part in parts):
        del spots["last of the part"]
        left_out["last of the part"] = "every part is one token"
    if lacking := [row for row, positions in enumerate(spots["after the part"]) if not positions]:
        del spots["after the part"]
        left_out["after the part"] = f"prompt {lacking[0]} has none between the part and its last token"
    return spots, left_out


def _with_damage(
    subject: Subject,
    result: CausalTrace,
    states: Sequence[Mapping[str, Mapping[int, mx.array]]],
    unrelated: Unrelated | None,
) -> CausalTrace:
    if unrelated is None and subject.tokenizer is None:
        return result
    layers, spot = result.cell(result.effects.best)

    def edits(rows: Sequence[int], _length: int) -> list[Intervention]:
        chosen = [states[row % len(states)][spot] for row in rows]
        values = {layer: mx.stack([state[layer] for state in chosen])[:, None] for layer in layers}
        return [patch(Site(result.kind, layer), value, "last") for layer, value in values.items()]

    measured = damage(
        subject, edits, unrelated_prompts() if unrelated is None else unrelated, seed=result.seed
    )
    return replace(result, damage=measured)


def _marked(value: float, p: float, largest: float) -> TableCell:
    return TableCell(f"{value:+.3f}{mark(p)}", hint=f"p {p:.3g}", shade=value / largest)
