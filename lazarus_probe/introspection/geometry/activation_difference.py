"""How far apart the residual streams of two models are on the same prompts, layer by layer.

A cosine has no scale of its own. So each is compared with that of an untrained model of the same architecture, of two
untrained ones with each other, and of two different prompts in the base. Outlier dimensions of the base, which would be
most of any cosine and norm, are left out of all of them; of a mean over positions, positions with massive activations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.outliers import massive_activations
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.lens.divergence import kl_of_logits
from lazarus_probe.introspection.patching.prompt_pairs import quoted
from lazarus_probe.statistics.centred import OutlierDimension, outlier_dimensions
from lazarus_probe.statistics.clustered import paired_interval
from lazarus_probe.statistics.cosines import paired_cosines
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.subject.batches import by_length, encode_all
from lazarus_probe.tables import Cell, Column, Table

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

At = Literal["last", "all"] | int
DIVERGENT = 0.1
HEADINGS = {"untrained": "Untrained", "two_seeds": "Two seeds", "other_prompt": "Other prompt"}


@dataclass(frozen=True, eq=False)
class ActivationDifference:
    """How two models' residual streams differ.

    Attributes:
        base: name of the first model.
        finetuned: name of the second.
        prompts: N texts.
        position: "last", "all" (a mean over positions), or a number.
        similarities: (N, layers) cosine of the two models' states after each block.
        relative_norms: (N, layers) norm of the difference over that of the base's state.
        kl: (N,) KL(base || finetuned) of the next token, in nats.
        controls: by name (layers,) the mean cosine: `untrained`, the base with an untrained model; `two_seeds`, two
            untrained models; `other_prompt`, the base's states of one prompt with those of another, if there are two.
        intervals: of the mean cosine of each layer, over prompts; None of a single prompt.
        left_out: by layer, the outlier dimensions that were left out.
        positions_left_out: by prompt, the positions that its mean leaves out.
    """

    base: str
    finetuned: str
    prompts: tuple[str, ...]
    position: At
    similarities: NDArray[np.float64]
    relative_norms: NDArray[np.float64]
    kl: NDArray[np.float64]
    controls: dict[str, NDArray[np.float64]]
    intervals: tuple[Interval, ...] | None
    left_out: Mapping[int, tuple[OutlierDimension, ...]]
    positions_left_out: tuple[tuple[int, ...], ...]

    def notes(self) -> list[str]:
        """What was left out of cosines and norms."""
        layers_of: dict[int, list[int]] = {}
        for layer, outlying in self.left_out.items():
            for outlier in outlying:
                layers_of.setdefault(outlier.dimension, []).append(layer)
        lines = [
            f"Left out: dimension {dimension}, an outlier at {len(layers)} of {len(self.left_out)} layers"
            for dimension, layers in layers_of.items()
        ]
        return lines + [
            f"Left out of the mean over positions: {', '.join(map(str, positions))} of {quoted(prompt)}, with massive "
            "activations"
            for prompt, positions in zip(self.prompts, self.positions_left_out, strict=True)
            if positions
        ]

    def as_data(self) -> dict[str, Any]:
        """Plain data: the published keys, and ours."""
        return {
            "base": self.base,
            "finetuned": self.finetuned,
            "results": [
                {
                    "prompt": prompt,
                    "layer": layer,
                    "cosine_similarity": float(self.similarities[i, layer]),
                    "relative_norm": float(self.relative_norms[i, layer]),
                }
                for i, prompt in enumerate(self.prompts)
                for layer in range(self.similarities.shape[1])
            ],
            "by_layer": list(map(self._layer, range(self.similarities.shape[1]))),
            "position": self.position if isinstance(self.position, str) else str(self.position),
            "n": len(self.prompts),
            "kl": self.kl.tolist(),
            "outlier_dimensions": {
                str(layer): [{"dimension": of.dimension, "ratio": of.ratio} for of in outlying]
                for layer, outlying in self.left_out.items()
            },
            "positions_left_out": [list(positions) for positions in self.positions_left_out],
        }

    def _layer(self, layer: int) -> dict[str, Any]:
        mean = float(self.similarities[:, layer].mean())
        interval = None if self.intervals is None else self.intervals[layer]
        return {
            "layer": layer,
            "avg_cosine_similarity": mean,
            "divergence": 1 - mean,
            "interval": None if interval is None else [interval.low, interval.high],
            "relative_norm": float(self.relative_norms[:, layer].mean()),
            "controls": {name: float(values[layer]) for name, values in self.controls.items()},
        }

    @property
    def table(self) -> Table:
        """One row per layer, with the mean cosines of the controls; divergences above 0.1 are marked ***."""
        columns = (
            Column("Layer", width=7),
            Column("Avg Cos Sim", ".4f", width=12),
            Column("Divergence", ".4f", width=11),
            Column("", width=4),
            Column("95% interval", width=18),
            Column("Rel norm", ".4f", width=10),
            *(Column(HEADINGS[name], ".4f", width=13) for name in self.controls),
        )
        rows = [
            (
                f"L{row['layer']}",
                Cell(row["avg_cosine_similarity"], shade=row["divergence"]),
                row["divergence"],
                "***" if row["divergence"] > DIVERGENT else "",
                None if row["interval"] is None else "[{:.4f}, {:.4f}]".format(*row["interval"]),
                row["relative_norm"],
                *row["controls"].values(),
            )
            for row in map(self._layer, range(self.similarities.shape[1]))
        ]
        return Table(columns, rows, f"{self.base} → {self.finetuned}")

    def _repr_html_(self) -> str:
        return self.table.html()


def activation_difference(
    base: Subject,
    finetuned: Subject,
    prompts: Sequence[str],
    position: At = "last",
    seed: int = 0,
    *,
    keep_outliers: bool = False,
) -> ActivationDifference:
    """Compare `resid_post` of two models on the same prompts, in one pass of each.

    Args:
        base: the first model.
        finetuned: the second, of as many layers and the same width.
        prompts: N texts of any lengths.
        position: which position is compared; "all" is the mean over a prompt's.
        seed: of the untrained models and the intervals.
        keep_outliers: compare all dimensions and positions.

    Raises:
        ValueError: other tokens, layers, widths or vocabularies, or no prompts.
        IndexError: a position that a prompt does not have.
    """
    tokens = _check_same(base, finetuned, prompts)
    ours, logits = _states(base, tokens, position)
    theirs, other_logits = _states(finetuned, tokens, position)
    untrained = [_states(base.untrained(seed + step), tokens, position)[0] for step in (1, 2)]
    dropped = tuple(_massive(states) if position == "all" and not keep_outliers else () for states in ours)
    ours, theirs, *untrained = (
        [
            np.delete(states, list(positions), axis=1)
            for states, positions in zip(of_model, dropped, strict=True)
        ]
        for of_model in (ours, theirs, *untrained)
    )
    left_out = {layer: () if keep_outliers else _outliers(ours, layer) for layer in range(base.num_layers)}
    for states in (*ours, *theirs, *(of_prompt for of_model in untrained for of_prompt in of_model)):
        for layer, outlying in left_out.items():
            states[layer][:, [outlier.dimension for outlier in outlying]] = 0
    similarities = _similarity(ours, theirs)
    controls = {
        "untrained": _similarity(ours, untrained[0]).mean(axis=0),
        "two_seeds": _similarity(*untrained).mean(axis=0),
    }
    if len({tuple(ids) for ids in tokens}) > 1:
        last = [states[:, -1:] for states in ours]
        controls["other_prompt"] = _similarity(last, last[1:] + last[:1]).mean(axis=0)
    return ActivationDifference(
        base.name,
        finetuned.name,
        tuple(prompts),
        position,
        similarities,
        np.array([_relative_norms(before, after) for before, after in zip(ours, theirs, strict=True)]),
        kl_of_logits(logits, other_logits),
        controls,
        _intervals(similarities, prompts, seed),
        left_out,
        dropped,
    )


def _outliers(states: Sequence[NDArray[np.float64]], layer: int) -> tuple[OutlierDimension, ...]:
    return outlier_dimensions(np.concatenate([of_prompt[layer] for of_prompt in states]))


def _massive(states: NDArray[np.float64]) -> tuple[int, ...]:
    """The positions of a prompt's states (layers, L, D) with a massive activation; none if that were all."""
    positions = {
        activation.position
        for layer, of_layer in enumerate(states)
        for activation in massive_activations(of_layer, layer)
    }
    return () if len(positions) == states.shape[1] else tuple(sorted(positions))


def _check_same(base: Subject, finetuned: Subject, prompts: Sequence[str]) -> list[list[int]]:
    """The prompts' token ids, which are the same in both models."""
    for name, first, second in (
        ("layers", base.num_layers, finetuned.num_layers),
        ("width", base.anatomy.hidden_size, finetuned.anatomy.hidden_size),
        ("vocabulary", base.anatomy.vocab_size, finetuned.anatomy.vocab_size),
    ):
        if first != second:
            raise ValueError(
                f"{base.name} and {finetuned.name} cannot be compared: {name} is {first} in the first and {second} "
                "in the second"
            )
    tokens, others = encode_all(base, prompts), encode_all(finetuned, prompts)
    for prompt, ours, theirs in zip(prompts, tokens, others, strict=True):
        if ours != theirs:
            raise ValueError(
                f"{base.name} and {finetuned.name} have different tokens for {quoted(prompt)} ({len(ours)} and "
                f"{len(theirs)}); compare models of one tokenizer"
            )
    return tokens


def _states(
    subject: Subject, tokens: Sequence[Sequence[int]], position: At
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Of each prompt the states (layers, positions, D), and the logits (N, V) at its end."""
    sites = [resid_post(layer) for layer in range(subject.num_layers)]
    states: list[Any] = [None] * len(tokens)
    logits = np.empty((len(tokens), subject.anatomy.vocab_size))
    for indices, batch in by_length(tokens):
        traced = trace(subject, batch, sites, positions=position)
        values = np.stack([np.array(traced[site].astype(mx.float32), dtype=np.float64) for site in sites], 1)
        ends = np.array(traced.logits[:, -1].astype(mx.float32))
        for row, index in enumerate(indices):
            # Where a model carries several streams, they are one long vector here.
            states[index] = values[row].reshape(*values.shape[1:3], -1)
            logits[index] = ends[row]
    return states, logits


def _similarity(first: Sequence[NDArray[Any]], second: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """(N, layers) cosines, the mean over positions."""
    return np.array(
        [
            [paired_cosines(*layer).mean() for layer in zip(*states, strict=True)]
            for states in zip(first, second, strict=True)
        ]
    )


def _relative_norms(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """(layers,) norm of the difference over the norm, the mean over positions."""
    norms = np.linalg.norm(before, axis=-1)
    moved = np.linalg.norm(after - before, axis=-1)
    return np.asarray(np.divide(moved, norms, out=np.zeros_like(moved), where=norms > 0).mean(axis=-1))


def _intervals(
    similarities: NDArray[np.float64], prompts: Sequence[str], seed: int
) -> tuple[Interval, ...] | None:
    if len(set(prompts)) < 2:
        return None
    return tuple(
        Interval(1.0, 1.0)  # the same model: nothing left to chance
        if (column == 1.0).all()
        else paired_interval(column, list(prompts), seed=seed)
        for column in similarities.T
    )
