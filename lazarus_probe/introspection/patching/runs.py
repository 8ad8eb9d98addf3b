"""Running targets with other prompts' states in them: one sweep where that can be, else rows with their own values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.patching.patch_pairs import Asked
from lazarus_probe.introspection.patching.questions import named
from lazarus_probe.subject.batches import by_length
from lazarus_probe.subject.finite import require_finite
from lazarus_probe.sweep import Donors, answer, kl, logit_diff, probability, sweep
from lazarus_probe.sweep.branch import Batch
from lazarus_probe.sweep.edits import Edit
from lazarus_probe.sweep.full import run_full
from lazarus_probe.sweep.generate import continued, text_of
from lazarus_probe.sweep.grid import Jobs
from lazarus_probe.sweep.metrics import reader
from lazarus_probe.sweep.sources import Kept, Values

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

At = Literal["last", "all"] | int
NUMBERS = ("logit_diff", "probability", "kl")
# Tokens that run together at most.
TOKENS = 4096


@dataclass(frozen=True, eq=False)
class Patched:
    """What was measured with each source put into each target.

    Attributes:
        values: by metric (sources, layers, positions, N): answer, logit_diff (source's answer against the target's),
            probability (of the source's answer) and kl (in nats). NaN where the answers have no tokens to tell them by.
        baseline: by metric (N,), unpatched.
    """

    values: Mapping[str, NDArray[Any]]
    baseline: Mapping[str, NDArray[Any]]


def patched(
    subject: Subject,
    asked: Sequence[Asked],
    layers: Sequence[int],
    positions: Sequence[int] | Literal["all"],
    sources: Mapping[str, Sequence[str]],
    *,
    blend: float = 1.0,
    max_tokens: int = 8,
    progress: bool = False,
) -> Patched:
    """Put `resid_post` of other prompts into the targets, layer by layer, and let the model go on by itself.

    One sweep where all prompts of a pair have equally many tokens and the patch is whole; else a batch of rows, each
    with a value of its own. A position counts from the start, or if negative from the end, of either prompt.

    Args:
        subject: the model.
        asked: N pairs.
        layers: patched, after the block.
        positions: of both prompts; or "all" of them at once, generated ones left alone.
        sources: by name, N prompts to patch from.
        blend: share of the donor's state in the patched state; the rest is the target's own.
        max_tokens: generated at most.
        progress: show a bar, where standard error is a terminal.

    Raises:
        ValueError: "all" with prompts of different lengths.
        IndexError: a position that a prompt does not have.
    """
    targets = [each.pair.target for each in asked]
    prompts = dict.fromkeys([*targets, *(one for given in sources.values() for one in given)])
    lengths = {prompt: len(subject.encode(prompt)) for prompt in prompts}
    equal = all(
        lengths[one] == lengths[target]
        for given in sources.values()
        for one, target in zip(given, targets, strict=True)
    )
    if positions == "all":
        _check_all(lengths, targets, sources)
    else:
        _check_positions(lengths, positions)
    sites = [Site("resid_post", layer) for layer in layers]
    if not equal or blend != 1:
        return _in_rows(subject, asked, sites, positions, sources, blend, max_tokens)
    found = sweep(
        subject,
        targets,
        sites,
        sources={name: Donors(given) for name, given in sources.items()},
        metrics=[*_metrics(asked), answer(max_tokens)],
        positions=positions,
        progress=progress,
    )
    values = {name: np.moveaxis(numbers, 0, -1) for name, numbers in found.values.items()}
    return _defined(asked, values, dict(found.baseline))


def _metrics(asked: Sequence[Asked]) -> list[Any]:
    first, second = ([each.source_token or 0 for each in asked], [each.target_token or 0 for each in asked])
    return [logit_diff(first, second), probability(first), kl()]


def _defined(
    asked: Sequence[Asked], values: dict[str, NDArray[Any]], baseline: dict[str, NDArray[Any]]
) -> Patched:
    """What cannot be told by first tokens is no number."""
    for name, known in (
        ("logit_diff", [each.tokens_differ for each in asked]),
        ("probability", [each.source_token is not None for each in asked]),
    ):
        values[name] = np.where(known, values[name], np.nan)
        baseline[name] = np.where(known, baseline[name], np.nan)
    return Patched(values, baseline)


def _in_rows(
    subject: Subject,
    asked: Sequence[Asked],
    sites: Sequence[Site],
    positions: Sequence[int] | Literal["all"],
    sources: Mapping[str, Sequence[str]],
    blend: float,
    max_tokens: int,
) -> Patched:
    """Whole forwards of targets of equal length, every row with the value that is its own."""
    places: list[int | Literal["all"]] = ["all"] if positions == "all" else list(positions)
    shape = (len(sources), len(sites), len(places), len(asked))
    values: dict[str, NDArray[Any]] = {name: np.full(shape, np.nan) for name in NUMBERS}
    values["answer"] = np.full(shape, "", dtype=object)
    baseline: dict[str, NDArray[Any]] = {name: np.zeros(len(asked)) for name in NUMBERS}
    baseline["answer"] = np.array([each.target_said for each in asked], dtype=object)
    for indices, tokens in by_length([subject.encode(each.pair.target) for each in asked]):
        some = [asked[index] for index in indices]
        own = reader(subject, _metrics(some), len(some))
        clean = require_finite(subject, tokens, forward(subject.model, tokens)[:, -1])
        for name, numbers in own.read(clean, clean, np.arange(len(some))).items():
            baseline[name][indices] = np.array(numbers)
        for column, place in enumerate(places):
            given = [
                _blended(subject, some, [prompts[index] for index in indices], sites, place, blend)
                for prompts in sources.values()
            ]
            for cells in _cells(shape[:2], tokens.size):
                logits, said = _run(subject, tokens, sites, given, cells, place, max_tokens)
                rows = np.tile(np.arange(len(some)), len(cells))
                read = own.read(logits, clean[mx.array(rows)], rows)
                flat = {name: np.array(numbers) for name, numbers in read.items()} | {"answer": said}
                for name, column_of in flat.items():
                    for (source, row), part in zip(cells, column_of.reshape(len(cells), -1), strict=True):
                        values[name][source, row, column, indices] = part
    return _defined(asked, values, baseline)


def _cells(shape: tuple[int, ...], tokens: int) -> list[list[tuple[int, ...]]]:
    """(source, layer) pairs in groups of which the rows may run together."""
    cells, size = list(np.ndindex(shape)), max(1, TOKENS // tokens)
    return [cells[start : start + size] for start in range(0, len(cells), size)]


def _blended(
    subject: Subject,
    asked: Sequence[Asked],
    prompts: Sequence[str],
    sites: Sequence[Site],
    place: int | Literal["all"],
    blend: float,
) -> dict[Site, mx.array]:
    """By site the values (N, 1, D) at a position, or (N, T, D) at all of them."""
    targets = [each.pair.target for each in asked]
    if place == "all":
        foreign, own = (trace(subject, some, sites) for some in (list(prompts), targets))
        return {site: blend * foreign[site] + (1 - blend) * own[site] for site in sites}
    both = collect(subject, [*prompts, *targets], sites, at=place)
    count = len(asked)
    return {
        site: mx.array(blend * both[site][:count] + (1 - blend) * both[site][count:])[:, None]
        for site in sites
    }


def _run(
    subject: Subject,
    tokens: mx.array,
    sites: Sequence[Site],
    given: Sequence[Mapping[Site, mx.array]],
    cells: Sequence[tuple[int, ...]],
    place: int | Literal["all"],
    max_tokens: int,
) -> tuple[mx.array, NDArray[Any]]:
    """Logits (R, V) and texts (R,) of the targets (N, T) in each cell, a source and a layer."""
    count, length = tokens.shape
    prompts = np.arange(count)
    at = None if place == "all" else np.full(count, place % length)
    edits = []
    for index, (source, row) in enumerate(cells):
        kept = {sites[row]: Kept(given[source][sites[row]], 0 if place == "all" else place % length)}
        values = Values(Donors([]), {}, prompts, length, kept)
        taken = prompts if at is None else at
        edits.append(Edit(sites[row], index * count + prompts, prompts, at, taken, values))
    jobs = Jobs.untouched(np.tile(prompts, len(cells)), subject.num_layers, length)
    batch, wanted = Batch(jobs, edits, tokens), answer(max_tokens)
    logits, caches = run_full(subject.anatomy, batch)
    new = continued(subject, logits, caches, batch, wanted)
    ids: Any = tokens.tolist()
    texts = [text_of(subject, ids[prompt], row, wanted) for prompt, row in zip(jobs.prompt, new, strict=True)]
    return logits, np.array(texts, dtype=object)


def _check_all(
    lengths: Mapping[str, int], targets: Sequence[str], sources: Mapping[str, Sequence[str]]
) -> None:
    for prompts in sources.values():
        for source, target in zip(prompts, targets, strict=True):
            if lengths[source] != lengths[target]:
                raise ValueError(
                    f"all positions of {named(source)} ({lengths[source]} tokens) cannot be put into {named(target)} "
                    f"({lengths[target]}); give prompts of equal length, or --position last"
                )


def _check_positions(lengths: Mapping[str, int], positions: Sequence[int]) -> None:
    for prompt, length in lengths.items():
        for position in positions:
            if not -length <= position < length:
                raise IndexError(
                    f"position {position} is out of range: {named(prompt)} has positions 0 to {length - 1}"
                )
