"""Pairs of a clean and a corrupted prompt with the metric that tells them apart, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.circuits.split_runs import Splitting
from lazarus_probe.introspection.circuits.splitting import split
from lazarus_probe.introspection.patching.encoded_pairs import encode_pairs, tokens_of
from lazarus_probe.introspection.patching.prompt_pairs import PromptPair
from lazarus_probe.subject.batches import Prompt, by_length, encode_all
from lazarus_probe.subject.finite import require_finite
from lazarus_probe.subject.last_position import last_logits
from lazarus_probe.sweep.engine import donors_of
from lazarus_probe.sweep.finished_runs import FinishedRuns
from lazarus_probe.sweep.metrics import Metric, Reader, logit_diff, reader
from lazarus_probe.sweep.sources import Donors
from lazarus_probe.sweep.table import digest
from lazarus_probe.versions import version_of

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

# Numbers that one array of all that senders write may hold; a run keeps about four of them, a gradient more.
NUMBERS_AT_ONCE = 3e7


@dataclass(frozen=True, eq=False)
class PairSet:
    """P pairs of prompts, of equal length within a pair.

    Attributes:
        splitting: the model.
        clean: token ids of the prompts whose answer is to be explained.
        corrupted: those of the prompts that edges left out are taken from.
        read: reads the metric.
        runs: what is known of them already.
    """

    splitting: Splitting
    clean: tuple[tuple[int, ...], ...]
    corrupted: tuple[tuple[int, ...], ...]
    read: Reader
    runs: FinishedRuns = field(default_factory=FinishedRuns)

    def __len__(self) -> int:
        return len(self.clean)

    def in_model(self, subject: Subject) -> PairSet:
        """The pairs in another model of that architecture, which therefore has the same edges."""
        return PairSet(replace(self.splitting, subject=subject), self.clean, self.corrupted, self.read)

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells these pairs from others."""
        return self.clean, self.corrupted, self.metric, self.read.ids

    @property
    def metric(self) -> str:
        """The name of the metric."""
        return self.read.metrics[0].name

    @property
    def tokens_at_once(self) -> int:
        """How many tokens may run together."""
        width = len(self.splitting.graph.senders) * self.splitting.subject.anatomy.hidden_size
        return max(1, int(NUMBERS_AT_ONCE / width))

    def batches(self, limit: int) -> Iterator[tuple[NDArray[np.intp], mx.array, mx.array]]:
        """Indices of pairs of one length, with their clean and their corrupted tokens (B, L)."""
        for indices, tokens in by_length(self.clean, limit):
            yield np.array(indices), tokens, mx.array([list(self.corrupted[index]) for index in indices])

    def numbers(self, logits: mx.array, indices: NDArray[np.intp]) -> mx.array:
        """The metric (R,) of logits (R, V) of these pairs."""
        return self.read.read(logits, mx.stop_gradient(logits), indices)[self.metric]

    def checked(self, logits: mx.array, tokens: mx.array) -> mx.array:
        """Logits, if they are finite.

        Raises:
            NotFinite: they are not.
        """
        return require_finite(self.splitting.subject, tokens, logits)

    def of(self, rows: Sequence[int]) -> PairSet:
        """Some of the pairs."""
        picked = np.array(rows, dtype=np.intp)
        ids = tuple(tuple(tokens[picked] for tokens in of_metric) for of_metric in self.read.ids)
        clean, corrupted = (tuple(side[row] for row in rows) for side in (self.clean, self.corrupted))
        return PairSet(self.splitting, clean, corrupted, Reader(self.read.metrics, ids), self.runs)


def pair_set(
    subject: Subject,
    clean: Sequence[Prompt],
    corrupted: Sequence[Prompt],
    metric: Metric,
    *,
    progress: bool = False,
    resume: str | Path | None = None,
) -> PairSet:
    """Pairs ready to be run.

    Args:
        subject: the model.
        clean: P prompts whose answer is to be explained.
        corrupted: one for each, with as many tokens.
        metric: read at the last position, such as `logit_diff`.
        progress: show a bar, where standard error is a terminal.
        resume: a file that keeps what is done, from which the same runs resume after an interruption.

    Raises:
        OSError: the file cannot be read.
        ValueError: no prompts, pairs of unequal length or number, or a file of other runs.
        UnsupportedArchitecture: the model has no edges (`split`).
        NotFinite: its logits are not finite.
    """
    encoded = encode_all(subject, clean)
    if not encoded:
        raise ValueError("no pairs; give at least one clean and corrupted prompt")
    others = donors_of(subject, "corrupted", Donors(corrupted), encoded)
    read = reader(subject, [metric], len(encoded))
    pairs = PairSet(split(subject), _tuples(encoded), _tuples(others), read)
    if resume is None and not progress:
        return pairs
    runs = FinishedRuns.resumed(
        resume, digest(version_of("lazarus_probe"), subject.fingerprint, *pairs.key), progress=progress
    )
    return replace(pairs, runs=runs)


def answered_pairs(
    subject: Subject,
    pairs: Sequence[PromptPair],
    *,
    progress: bool = False,
    resume: str | Path | None = None,
) -> PairSet:
    """Pairs with the logit of the target's answer less that of the source's; the targets are the clean prompts.

    Raises:
        ValueError: as `tokens_of`.
        UnsupportedArchitecture: the model has no edges.
        NotFinite: its logits are not finite.
    """
    encoded = encode_pairs(subject, pairs)
    tokens = tokens_of(subject, encoded)
    return pair_set(
        subject,
        [pair.target.ids for pair in encoded],
        [pair.source.ids for pair in encoded],
        logit_diff(list(tokens.others), list(tokens.answers)),
        progress=progress,
        resume=resume,
    )


def plain_values(pairs: PairSet) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(P,) the metric of the model on clean and on corrupted prompts."""
    clean, corrupted = np.empty(len(pairs)), np.empty(len(pairs))
    for indices, tokens, others in pairs.batches(pairs.tokens_at_once):
        for values, ids in ((clean, tokens), (corrupted, others)):
            logits = pairs.checked(last_logits(pairs.splitting.subject, ids), ids)
            values[indices] = np.array(pairs.numbers(logits, indices))
    return clean, corrupted


def _tuples(encoded: Sequence[Sequence[Any]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(token) for token in ids) for ids in encoded)
