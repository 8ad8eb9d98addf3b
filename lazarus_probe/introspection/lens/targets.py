"""Whether words rank first after a layer: the logit lens (nostalgebraist, 2020) read for given tokens.

A word on top of the lens is a property of the residual stream under the unembedding. It does not prove that the model
uses the word, and its absence does not prove that the model lacks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.lens.logit_lens import logit_lens
from lazarus_probe.statistics.intervals import Interval, wilson
from lazarus_probe.subject.relative_depth import layer_at
from lazarus_probe.subject.subject import Subject
from lazarus_probe.tables import Cell, Column, Table

DEPTH = 0.55


@dataclass(frozen=True, eq=False)
class TargetLens:
    """What the lens predicts after some layers at the last token of N prompts.

    Attributes:
        model: its name.
        num_layers: how many it has.
        layer: the layer that is reported on.
        layers: (K,) all that were read.
        prompts: (N,) texts.
        targets: (T,) words, each one token.
        token_ids: (T,) theirs.
        top_tokens: (N, K) the most probable tokens.
        top_probs: (N, K) their probabilities.
        probs: (N, K, T) the targets' probabilities.
        ranks: (N, K, T) the targets' ranks, 1 for the most probable token.
    """

    model: str
    num_layers: int
    layer: int
    layers: tuple[int, ...]
    prompts: tuple[str, ...]
    targets: tuple[str, ...]
    token_ids: tuple[int, ...]
    top_tokens: tuple[tuple[str, ...], ...]
    top_probs: NDArray[np.float64]
    probs: NDArray[np.float64]
    ranks: NDArray[np.int64]

    def on_top(self, target: str, layer: int | None = None) -> tuple[int, Interval]:
        """On how many prompts a target is the top token after a layer, and the 95% interval of that share."""
        at, which = self._at(layer), self.targets.index(target)
        count = int((self.ranks[:, at, which] == 1).sum())
        return count, wilson(count, len(self.prompts))

    def results(self, layer: int | None = None) -> list[dict[str, Any]]:
        """Prompt by prompt after a layer, as plain data."""
        at = self._at(layer)
        return [
            {
                "prompt": prompt,
                "top_token": self.top_tokens[i][at],
                "top_prob": float(self.top_probs[i, at]),
                "target_probs": dict(zip(self.targets, self.probs[i, at].tolist(), strict=True)),
                "target_ranks": dict(zip(self.targets, self.ranks[i, at].tolist(), strict=True)),
            }
            for i, prompt in enumerate(self.prompts)
        ]

    def summary(self, layer: int | None = None) -> dict[str, dict[str, Any]]:
        """By target after a layer: prompts that have it on top, of how many, the interval, and its mean probability."""
        by_target = {}
        for which, target in enumerate(self.targets):
            count, interval = self.on_top(target, layer)
            mean = float(self.probs[:, self._at(layer), which].mean())
            by_target[target] = {
                "top": count,
                "n": len(self.prompts),
                "low": interval.low,
                "high": interval.high,
                "mean_prob": mean,
            }
        return by_target

    def as_data(self) -> dict[str, Any]:
        """Plain data: the published keys first."""
        return {
            "model": self.model,
            "layer": self.layer,
            "num_layers": self.num_layers,
            "results": self.results(),
            "summary": self.summary(),
            "targets": dict(zip(self.targets, self.token_ids, strict=True)),
            "n": len(self.prompts),
            "by_layer": {
                layer: {"results": self.results(layer), "summary": self.summary(layer)}
                for layer in self.layers
            },
        }

    @property
    def table(self) -> Table:
        """Prompts by targets, after the layer that is reported on."""
        rows = [
            [
                repr(row["prompt"]),
                Cell(repr(row["top_token"]), shade=row["top_prob"]),
                row["top_prob"],
                *(
                    Cell(f"{probability:.4f} (rank {row['target_ranks'][target]})", shade=probability)
                    for target, probability in row["target_probs"].items()
                ),
            ]
            for row in self.results()
        ]
        columns = [Column("Prompt"), Column("Top token"), Column("Prob", ".4f"), *map(Column, self.targets)]
        return Table(columns, rows, f"logit lens after layer {self.layer}")

    def _repr_html_(self) -> str:
        return self.table.html()

    def _at(self, layer: int | None) -> int:
        return self.layers.index(self.layer if layer is None else layer)


def target_lens(
    subject: Subject,
    prompts: Sequence[str],
    targets: Sequence[str] = (),
    layer: int | None = None,
    layers: Sequence[int] = (),
) -> TargetLens:
    """Read the lens at the last token of each prompt, for the top token and for given words.

    Args:
        subject: the model.
        prompts: N texts.
        targets: words that are one token each.
        layer: the layer to report on, from 0; that at 55% of the depth by default.
        layers: others to read as well.

    Raises:
        ValueError: no prompts, or a target that is not one token (the message names a form that is).
        IndexError: a layer that the model does not have.
    """
    chosen = layer_at(DEPTH, subject.num_layers) if layer is None else layer
    words = list(dict.fromkeys(targets))
    ids = [subject.single_token(word) for word in words]
    lens = logit_lens(subject, prompts, sorted({chosen, *layers}))
    at = lens.top_tokens(1)[..., 0]
    shape = (*at.shape, 0)
    return TargetLens(
        model=subject.name,
        num_layers=subject.num_layers,
        layer=chosen % subject.num_layers,
        layers=lens.layers,
        prompts=tuple(prompts),
        targets=tuple(words),
        token_ids=tuple(ids),
        top_tokens=tuple(tuple(subject.decode([token]) for token in row) for row in at.tolist()),
        top_probs=np.exp(lens.log_probs.max(axis=-1)).astype(np.float64),
        probs=np.stack([lens.probability(token) for token in ids], axis=-1) if ids else np.zeros(shape),
        ranks=np.stack([lens.rank(token) + 1 for token in ids], axis=-1)
        if ids
        else np.zeros(shape, np.int64),
    )
