"""What a lens reads of given tokens, or of whole answers of several tokens, each after the ones before it.

With one token a digit, the first token of 56 is a 5: on top in many prompts whose answer is another. So of an answer of
several tokens all are read, teacher-forced: the model runs once on the prompt with its answer, and each token is looked
for where it is to come next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.model_sites import resolve
from lazarus_probe.hooks.sites import Site, resid_post
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.lens.logit_lens import LOGITS_PER_BATCH, read_states
from lazarus_probe.introspection.lens.spelled_token import rank_among
from lazarus_probe.subject.batches import Prompt, encode_all
from lazarus_probe.subject.control_models import ControlModel, built

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Score = Literal["rank", "probability"]
# One token, or the tokens of an answer in their order.
Target = int | Sequence[int]
# The tokens of a run of the model, and where each of T tokens is to come next.
_Run = tuple[tuple[int, ...], tuple[int, ...]]
AT_ONCE = 32


@dataclass(frozen=True)
class Reading:
    """What the lens reads of the targets, for N prompts after each of K layers.

    Attributes:
        probability: (N, K) of all of a prompt's targets together; that of a target of several tokens is the product
            over them, each given the ones before it.
        rank: (N, K) of the best of them; 0 is the top. That of several tokens is the worst of theirs: all of them are
            among as many first.
        tops: (N, K, T) the most probable token at each token of a prompt's first target; -1 where it has fewer than T.
        layers: (K,) read after, from 0.
    """

    probability: NDArray[np.float64]
    rank: NDArray[Any]
    tops: NDArray[Any]
    layers: tuple[int, ...]

    @property
    def top_tokens(self) -> NDArray[Any]:
        """(N, K) the most probable token where the targets begin."""
        return np.asarray(self.tops[..., 0])

    def reached(self, score: Score, top: int) -> NDArray[np.float64]:
        """(N, K) the probability, or whether the rank is below `top`."""
        return self.probability if score == "probability" else (self.rank < top).astype(np.float64)

    def at(self, layer: int) -> int:
        """Where on the second axis a layer is."""
        return self.layers.index(layer)


@dataclass(frozen=True)
class _Rows:
    """The runs of a model that show all targets of N prompts.

    Attributes:
        prompts: (R,) which prompt a run is of.
        ids: (R, any) its tokens: the prompt's, then those of a target but the last.
        at: (R, T) where each token is to come next; the last position repeated where a run shows fewer.
        targets: (R, any, any) the targets that a run shows, of equally many tokens.
    """

    prompts: list[int]
    ids: list[list[int]]
    at: list[list[int]]
    targets: list[list[tuple[int, ...]]]


def read_tokens(
    subject: Subject | ControlModel,
    prompts: Sequence[Prompt],
    targets: Sequence[Sequence[Target]],
    layers: Sequence[int] | None = None,
    *,
    store: ActivationStore | None = None,
) -> Reading:
    """The lens at the last position of each prompt, and of targets of several tokens at each of these as well.

    Args:
        subject: the model, or one to compare it with.
        prompts: N texts, or token ids.
        targets: N sets of targets: tokens, such as the spellings of a word, or answers of several tokens.
        layers: the blocks after which to read, from 0; all of them by default.
        store: where states are looked up, and kept.

    Raises:
        ValueError: no prompts or layers, a prompt without tokens or targets, or a target without tokens.
        IndexError: a layer that does not exist.
    """
    return read_sets(subject, prompts, [targets], layers, store=store)[0]


def read_sets(
    subject: Subject | ControlModel,
    prompts: Sequence[Prompt],
    sets: Sequence[Sequence[Sequence[Target]]],
    layers: Sequence[int] | None = None,
    *,
    store: ActivationStore | None = None,
) -> list[Reading]:
    """Several readings of the same prompts, as of their own answers and of wrong ones; runs that they share run once.

    Args:
        subject: as for `read_tokens`, whose errors are raised.
        prompts: N texts, or token ids.
        sets: for each reading N sets of targets.
        layers: the blocks after which to read.
        store: where states are looked up, and kept.
    """
    origin = subject.origin if isinstance(subject, ControlModel) else subject
    requested = range(origin.num_layers) if layers is None else layers
    sites = [resolve(resid_post(layer), origin.anatomy) for layer in requested]
    if not sites:
        raise ValueError("no layers to read; leave `layers` out for all of them")
    encoded, kept = encode_all(origin, prompts), ActivationStore(memory=0) if store is None else store
    tallies = [_Tally.of(encoded, targets, sites) for targets in sets]
    tallies_of = _tallies_by_run(tallies)
    for log_probs, counting in zip(
        _log_probs(subject, list(tallies_of), sites, kept), tallies_of.values(), strict=True
    ):
        for tally, run in counting:
            tally.add(run, log_probs)
    return [tally.reading() for tally in tallies]


def _tallies_by_run(tallies: Sequence[_Tally]) -> dict[_Run, list[tuple[_Tally, int]]]:
    """The different runs of all readings, with the readings that each is for, and its number there."""
    longest = max(len(at) for tally in tallies for at in tally.rows.at)
    tallies_of: dict[_Run, list[tuple[_Tally, int]]] = {}
    for tally in tallies:
        for run, (ids, at) in enumerate(zip(tally.rows.ids, tally.rows.at, strict=True)):
            padded = (*at, *at[-1:] * (longest - len(at)))
            tallies_of.setdefault((tuple(ids), padded), []).append((tally, run))
    return tallies_of


def _rows(encoded: Sequence[Sequence[int]], targets: Sequence[Sequence[Target]]) -> _Rows:
    rows = _Rows([], [], [], [])
    for number, (ids, some) in enumerate(zip(encoded, targets, strict=True)):
        by_start: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        for target in some:
            tokens = tuple(map(int, target)) if isinstance(target, Sequence | np.ndarray) else (int(target),)
            if not tokens:
                raise ValueError(f"prompt {number} has a target without tokens; give at least one token")
            by_start.setdefault(tokens[:-1], []).append(tokens)
        if not by_start:
            raise ValueError("a prompt has no target tokens; give at least one per prompt")
        for start, alike in by_start.items():
            rows.prompts.append(number)
            rows.ids.append([*ids, *start])
            rows.at.append(list(range(len(ids) - 1, len(ids) + len(start))))
            rows.targets.append(alike)
    if not rows.ids:
        raise ValueError("no prompts to read; give at least one")
    longest = max(map(len, rows.at))
    return _Rows(
        rows.prompts,
        rows.ids,
        [at + at[-1:] * (longest - len(at)) for at in rows.at],
        rows.targets,
    )


def _log_probs(
    subject: Subject | ControlModel, runs: Sequence[_Run], sites: Sequence[Site], store: ActivationStore
) -> Iterator[NDArray[np.float32]]:
    """By run the log probabilities (K, T, V) at its T positions."""
    ids, at = [list(tokens) for tokens, _ in runs], [list(positions) for _, positions in runs]
    several = len(at[0]) > 1
    # The common case has the positions that others ask a store for, too.
    states = store.get(subject, ids, sites, at=at if several else "last")
    stacked = np.stack([states[site] for site in sites], axis=1)  # (R, K, ...), or (R, K, T, ...)
    model, head = built(subject), (len(sites), len(at[0]))
    # Some runs at a time: over a vocabulary, log probabilities are large.
    step = max(1, min(AT_ONCE, LOGITS_PER_BATCH // (head[0] * head[1] * model.anatomy.vocab_size)))
    for start in range(0, len(stacked), step):
        part = stacked[start : start + step]
        flat = part.reshape(len(part) * head[0] * head[1], *part.shape[2 + several :])
        yield from read_states(model, flat).reshape(len(part), *head, -1)


@dataclass
class _Tally:
    """A reading while it is made, run by run."""

    rows: _Rows
    layers: tuple[int, ...]
    mass: NDArray[np.float64]
    rank: NDArray[Any]
    tops: NDArray[Any]

    @classmethod
    def of(
        cls,
        encoded: Sequence[Sequence[int]],
        targets: Sequence[Sequence[Target]],
        sites: Sequence[Site],
    ) -> _Tally:
        rows, shape = _rows(encoded, targets), (len(encoded), len(sites))
        return cls(
            rows,
            tuple(site.layer or 0 for site in sites),
            np.zeros(shape),
            np.full(shape, np.iinfo(np.int64).max),
            np.full((*shape, len(rows.at[0])), -1),
        )

    def add(self, run: int, log_probs: NDArray[np.float32]) -> None:
        """Count one run's log probabilities (K, T, V)."""
        number, targets = self.rows.prompts[run], self.rows.targets[run]
        size = len(targets[0])
        read = log_probs[:, :size]
        scores = read[:, np.arange(size), np.array(targets)]  # (K, targets, tokens)
        self.mass[number] += np.exp(scores.astype(np.float64).sum(axis=-1)).sum(axis=-1)
        for i in range(len(targets)):
            worst = rank_among(read, scores[:, i]).max(axis=-1)
            self.rank[number] = np.minimum(self.rank[number], worst)
        if self.tops[number, 0, 0] < 0:
            self.tops[number, :, :size] = read.argmax(axis=-1)

    def reading(self) -> Reading:
        """The result over all runs."""
        return Reading(np.minimum(self.mass, 1), self.rank, self.tops, self.layers)
