"""How a circuit is searched for: settings, and the pairs that it is found on and measured on."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from lazarus_probe.introspection.circuits.circuit_runs import ABLATIONS, Ablation
from lazarus_probe.introspection.patching.prompt_pairs import PromptPair
from lazarus_probe.spelling import one_of

STEPS = 5
FAITHFUL = 0.85
EXACT = 20
FEWEST = 4  # groups of pairs, two to find a circuit on and two to measure it on


@dataclass(frozen=True)
class CircuitSearch:
    """How a circuit is found and measured.

    Attributes:
        steps: gradients along the line from corrupted to clean embeddings; 1 for the clean prompts alone.
        edges: how many edges with the largest scores to keep; None for the fewest that are faithful enough.
        faithful: faithfulness on the pairs that the circuit is found on, where `edges` is None.
        ablation: what left out edges carry: "resample", "mean" or "zero".
        held_out: find the circuit on half of the groups of pairs, and measure it on the other half.
        prune: leave out edges that are not needed, by exact runs, on the pairs that the circuit is found on.
        exact: how many of its edges to patch exactly, the largest scores first.
        seed: of halves, resampling and random circuits.

    Raises:
        ValueError: a number out of range, or an unknown ablation.

    Example:
        >>> from lazarus_probe.introspection import CircuitSearch
        >>> search = CircuitSearch(steps=10, ablation="mean", prune=True)
        >>> search.edges is None, search.held_out
        (True, True)
    """

    steps: int = STEPS
    edges: int | None = None
    faithful: float = FAITHFUL
    ablation: Ablation = "resample"
    held_out: bool = True
    prune: bool = False
    exact: int = EXACT
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, least in (
            ("steps", self.steps, 1),
            ("edges", self.edges, 1),
            ("exact", self.exact, 0),
        ):
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}; at least {least} is needed")
        if not 0 < self.faithful <= 1:
            raise ValueError(f"faithful is {self.faithful}; give a share above 0, and at most 1")
        if self.ablation not in ABLATIONS:
            raise ValueError(f"ablation {self.ablation!r} is unknown; {one_of(self.ablation, ABLATIONS)}")


def groups_of(pairs: Sequence[PromptPair]) -> list[Hashable]:
    """The group of each pair; one without is a group of its own."""
    return [number if pair.group is None else pair.group for number, pair in enumerate(pairs)]


def halves_of(groups: Sequence[Hashable], search: CircuitSearch) -> tuple[list[int], list[int]]:
    """Rows of the pairs that a circuit is found on, and of those that it is measured on.

    Raises:
        ValueError: too few groups to make two halves of them.
    """
    rows = list(range(len(groups)))
    if not search.held_out:
        return rows, rows
    names = list(dict.fromkeys(groups))
    if len(names) < FEWEST:
        raise ValueError(
            f"pairs in {len(names)} groups cannot be halved; give at least {FEWEST}, or measure the circuit on the "
            "pairs that it is found on (held_out=False)"
        )
    return drawn_apart(groups, len(names) // 2, search.seed)


def drawn_apart(groups: Sequence[Hashable], count: int, seed: int) -> tuple[list[int], list[int]]:
    """Rows of so many of the groups, drawn at random, and the rows of all others."""
    names = list(dict.fromkeys(groups))
    drawn = {names[number] for number in np.random.default_rng(seed).permutation(len(names))[:count].tolist()}
    rows = range(len(groups))
    return [row for row in rows if groups[row] in drawn], [row for row in rows if groups[row] not in drawn]
