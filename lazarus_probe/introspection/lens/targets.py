"""Whether words rank first after a layer: the logit lens (nostalgebraist, 2020) read for given tokens.

A word on top of the lens is a property of the residual stream under the unembedding. It does not prove that the model
uses the word, and its absence does not prove that the model lacks it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.generation.continuation import with_answers
from lazarus_probe.introspection.lens.logit_lens import LensResult, logit_lens
from lazarus_probe.introspection.lens.readings import Reading, read_tokens
from lazarus_probe.introspection.lens.spelled_token import spelled_token
from lazarus_probe.statistics.intervals import Interval, wilson
from lazarus_probe.subject.relative_depth import layer_at
from lazarus_probe.subject.spellings import exact, word_of, written
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
        targets: (T,) words, each in all its spellings.
        spellings: (T,) of each word the tokens that count, by how they are written; empty for a word that is several
            tokens in every spelling, which is read whole.
        top_tokens: (N, K) the most probable tokens.
        top_probs: (N, K) their probabilities.
        probs: (N, K, T) the targets' probabilities, all spellings together; of a word of several tokens the product
            over them, each given the ones before it.
        ranks: (N, K, T) the targets' ranks, 1 for the most probable token: that of the best spelling, and of several
            tokens the worst of theirs.
        likeliest: (N, K, T) the most probable spelling.
    """

    model: str
    num_layers: int
    layer: int
    layers: tuple[int, ...]
    prompts: tuple[str, ...]
    targets: tuple[str, ...]
    spellings: tuple[Mapping[str, int], ...]
    top_tokens: tuple[tuple[str, ...], ...]
    top_probs: NDArray[np.float64]
    probs: NDArray[np.float64]
    ranks: NDArray[np.int64]
    likeliest: NDArray[np.str_]

    @property
    def token_ids(self) -> tuple[int | None, ...]:
        """(T,) of each word the token of its most probable spelling; None where it is several."""
        return tuple(
            words.get(self.mostly(target)) for target, words in zip(self.targets, self.spellings, strict=True)
        )

    def mostly(self, target: str, layer: int | None = None) -> str:
        """The spelling of a target that is the most probable one of the most prompts after a layer."""
        column = self.likeliest[:, self._at(layer), self.targets.index(target)]
        names, counts = np.unique(column, return_counts=True)
        return str(names[counts.argmax()])

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
                "target_spellings": dict(zip(self.targets, self.likeliest[i, at].tolist(), strict=True)),
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
                "mostly": self.mostly(target, layer),
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
            "spellings": {
                target: dict(tokens) for target, tokens in zip(self.targets, self.spellings, strict=True)
            },
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

    A word counts in all its spellings of one token (`subject.word_of`): with a space before it, without, and
    capitalised. ` Paris`, with its space, and `'Paris'`, in quotes, count alone. Of a word that is several tokens in
    every spelling, all tokens are read, each given the ones before it.

    Args:
        subject: the model.
        prompts: N texts.
        targets: words.
        layer: the layer to report on, from 0; that at 55% of the depth by default.
        layers: others to read as well.

    Raises:
        ValueError: no prompts, or a word that is empty, or that the tokenizer cannot spell.
        IndexError: a layer that the model does not have.
    """
    chosen = layer_at(DEPTH, subject.num_layers) if layer is None else layer
    words = list(dict.fromkeys(targets))
    tokens = [_tokens(subject, word) for word in words]
    lens = logit_lens(subject, prompts, sorted({chosen, *layers}))
    at = lens.top_tokens(1)[..., 0]
    read = [
        _of_tokens(lens, of_word) if of_word else _of_text(subject, prompts, word, lens.layers)
        for word, of_word in zip(words, tokens, strict=True)
    ]
    probs, ranks, likeliest = (
        np.stack([columns[part] for columns in read], axis=-1) if read else np.zeros((*at.shape, 0), kind)
        for part, kind in enumerate((np.float64, np.int64, np.str_))
    )
    return TargetLens(
        model=subject.name,
        num_layers=subject.num_layers,
        layer=chosen % subject.num_layers,
        layers=lens.layers,
        prompts=tuple(prompts),
        targets=tuple(words),
        spellings=tuple(tokens),
        top_tokens=tuple(tuple(subject.decode([token]) for token in row) for row in at.tolist()),
        top_probs=np.exp(lens.log_probs.max(axis=-1)).astype(np.float64),
        probs=probs,
        ranks=ranks,
        likeliest=likeliest,
    )


def _tokens(subject: Subject, word: str) -> Mapping[str, int]:
    """The tokens of a word by their spelling; none where all of its spellings are several tokens."""
    try:
        return word_of(subject, word).tokens
    except ValueError:
        text = exact(word) or word
        if not text or subject.decode(subject.pieces(text)).strip() != text.strip():
            raise
        return {}


def _of_tokens(lens: LensResult, tokens: Mapping[str, int]) -> tuple[NDArray[Any], ...]:
    """By prompt and layer, the probability of all tokens, the rank of the best, and how that is written."""
    read = spelled_token(lens.log_probs, list(tokens.values()), np.float64)
    return read.probability, read.rank + 1, np.array(list(tokens))[read.likeliest]


def _of_text(
    subject: Subject, prompts: Sequence[str], word: str, layers: Sequence[int]
) -> tuple[NDArray[Any], ...]:
    """The same of a word of several tokens, whole, in each spelling that can follow the prompts."""
    readings: dict[str, Reading] = {}
    for spelling in written(word):
        try:
            contexts, answers = with_answers(subject, prompts, [spelling] * len(prompts))
        except ValueError:  # the tokenizer joins it with a prompt's end
            continue
        readings[spelling] = read_tokens(subject, contexts, [[answer] for answer in answers], layers)
    if not readings:
        raise ValueError(f"{word!r} cannot follow all prompts with tokens of its own; give another word")
    by_spelling = np.stack([reading.probability for reading in readings.values()])
    return (
        np.minimum(by_spelling.sum(axis=0), 1),
        np.stack([reading.rank for reading in readings.values()]).min(axis=0) + 1,
        np.array(list(readings))[by_spelling.argmax(axis=0)],
    )
