"""What an edit does to prompts that have nothing to do with it.

An edit that breaks or brings about one kind of answer may do so by breaking the model. So the same edit is made on
prompts of other tasks, and how far it moves what the model would say next is reported with the claim's score; editing
of facts calls the like specificity (Meng et al. 2022, arXiv:2202.05262).

The measure is the total variation distance of the next token's two distributions, with the edit and without: 0 where
nothing changes, 1 where they share nothing. It needs no right answer, so it is defined for untrained models too, and it
does not depend on the most probable token, which flips easily where two are nearly tied.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.interventions import Intervention, fitted
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import hooked
from lazarus_probe.introspection.generation.completions import Edits
from lazarus_probe.statistics.bounded import bounded_mean_interval
from lazarus_probe.statistics.measurement import Damage
from lazarus_probe.subject.batches import Prompt, by_length, encode_all
from lazarus_probe.subject.dealt import dealt
from lazarus_probe.subject.last_position import finite_last_logits
from lazarus_probe.tasks import language

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

UNIT = "next-token probability moved on unrelated prompts"
# From the rows of a batch, and the length of their prompts in tokens, to the context in which a model runs edited.
Edited = Callable[[Sequence[int], int], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Unrelated:
    """Prompts of tasks that a claim is not about.

    Attributes:
        prompts: (N,) texts.
        units: (N,) the independent unit of each: its phrasing, or the sentence.
    """

    prompts: tuple[str, ...]
    units: tuple[str, ...]

    def with_position(self, subject: Subject, position: int) -> Unrelated:
        """The prompts that have a position, counted from the start or, if negative, from the end."""
        encoded = encode_all(subject, self.prompts)
        rows = [row for row, ids in enumerate(encoded) if -len(ids) <= position < len(ids)]
        return Unrelated(tuple(self.prompts[row] for row in rows), tuple(self.units[row] for row in rows))


def unrelated_prompts(without: Collection[str] = (), seed: int = 0) -> Unrelated:
    """One prompt of every phrasing of the language tasks, and the beginnings of plain sentences.

    Args:
        without: tasks that the claim is about: `capital`, `sentiment`, `tool`, `refusal`, `help`, `english`.
        seed: of the prompt drawn for each phrasing.

    Raises:
        ValueError: an unknown task, or fewer than two phrasings left.
    """
    examples = [*language.capitals(), *language.sentiment(), *language.tool_calls(), *language.requests()]
    sentences = [example for example in language.english() if example.phrasing == "fixed"]
    tasks = {example.task for example in (*examples, *sentences)}
    if unknown := set(without) - tasks:
        raise ValueError(f"unknown tasks {', '.join(sorted(unknown))}; they are {', '.join(sorted(tasks))}")
    by_phrasing: dict[str, list[str]] = {}
    for example in examples:
        if example.task not in without:
            by_phrasing.setdefault(example.phrasing, []).append(example.prompt)
    rng = np.random.default_rng(seed)
    by_unit = {phrasing: prompts[rng.integers(len(prompts))] for phrasing, prompts in by_phrasing.items()}
    if "english" not in without:
        by_unit |= {sentence.response: sentence.response.rpartition(" ")[0] for sentence in sentences}
    if len(by_unit) < 2:
        raise ValueError(
            f"{len(by_unit)} phrasings are left without {', '.join(without)}; leave at least two"
        )
    return Unrelated(tuple(by_unit.values()), tuple(by_unit))


def damage_of_patch(
    subject: Subject,
    sources: Sequence[Prompt] | NDArray[Any],
    site: Site,
    position: int = -1,
    unrelated: Unrelated | None = None,
    seed: int = 0,
    *,
    blend: float = 1.0,
) -> Damage:
    """The damage of a patch: each unrelated prompt gets one of several states at one position, taken in turn.

    Args:
        subject: the model.
        sources: K prompts whose states at the position are patched in; or the states themselves, (K, D).
        site: where states are patched in, and taken from if `sources` are prompts.
        position: from the start or, if negative, from the end of each prompt; unrelated prompts without it are left
            out.
        unrelated: the prompts; by default those of all language tasks.
        seed: of the interval.
        blend: share of the source's state in the patched state; the rest is the prompt's own.

    Raises:
        ValueError: as `damage`; fewer than two units of prompts have the position. IndexError: a source without the
            position.
    """
    if not isinstance(sources, np.ndarray):
        sources = collect(subject, sources, [site], at=position)[site]
    states = np.asarray(sources, dtype=np.float32)
    unrelated = (unrelated_prompts() if unrelated is None else unrelated).with_position(subject, position)
    if len(set(unrelated.units)) < 2:
        raise ValueError(
            f"{len(set(unrelated.units))} units of unrelated prompts have a position {position}; give at least two"
        )

    def edits(rows: Sequence[int], _length: int) -> list[Intervention]:
        donors = mx.array(states[np.asarray(rows) % len(states)])[:, None]

        def put(own: mx.array) -> mx.array:
            foreign = fitted(donors, own, "patch")
            return foreign if blend == 1 else (blend * foreign + (1 - blend) * own).astype(own.dtype)

        return [Intervention(site, put, position, "patch")]

    return damage(subject, edits, unrelated, seed=seed)


def damage(subject: Subject, edits: Edits, unrelated: Unrelated | None = None, *, seed: int = 0) -> Damage:
    """How far an edit moves the next token's distribution on unrelated prompts, at their last position.

    Args:
        subject: the model.
        edits: from row numbers of the prompts and their length in tokens to what is done to that batch.
        unrelated: the prompts; by default those of all language tasks.
        seed: of the interval.

    Raises:
        ValueError: fewer than two units of prompts, or logits that are not finite, with the edit (named with its site)
            or without.
    """

    def edited(rows: Sequence[int], length: int) -> AbstractContextManager[Any]:
        return hooked(subject, interventions=edits(rows, length))

    return damages(subject, [edited], unrelated, seed=seed)[0]


def damages(
    subject: Subject, edited: Sequence[Edited], unrelated: Unrelated | None = None, *, seed: int = 0
) -> list[Damage]:
    """`damage` of several edits, compared with one run without any; other arguments and errors as in `damage`."""
    unrelated = unrelated_prompts() if unrelated is None else unrelated
    if len(set(unrelated.units)) < 2:
        raise ValueError(f"{len(set(unrelated.units))} units of unrelated prompts; give at least two")
    moved = np.empty((len(edited), len(unrelated.prompts)))
    batches = list(by_length(encode_all(subject, unrelated.prompts)))

    def run(batch: tuple[list[int], mx.array]) -> list[NDArray[np.float64]]:
        rows, tokens = batch
        before, after = _next_token(subject, tokens), []
        for acting in edited:
            with acting(rows, tokens.shape[1]):
                after.append(total_variation(before, _next_token(subject, tokens)))
        return after

    for (rows, _), by_edit in zip(batches, dealt(subject, batches, run), strict=True):
        for number, values in enumerate(by_edit):
            moved[number, rows] = values
    moved = np.clip(moved, 0, 1)  # rounding puts the distance of two float32 distributions at up to 1 + 1e-6
    intervals = [bounded_mean_interval(row, unrelated.units, 0, 1, seed=seed) for row in moved]
    return [
        Damage(UNIT, float(row.mean()), interval.low, interval.high, len(row))
        for row, interval in zip(moved, intervals, strict=True)
    ]


def total_variation(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """(...) half the summed difference of distributions (..., V): 0 for equal ones, 1 for ones that share nothing."""
    return np.asarray(np.abs(first.astype(np.float64) - second.astype(np.float64)).sum(axis=-1) / 2)


def _next_token(subject: Subject, tokens: mx.array) -> NDArray[np.float32]:
    """(B, V) probabilities after prompts of equal length (B, L)."""
    return np.array(mx.softmax(finite_last_logits(subject, tokens), axis=-1))
