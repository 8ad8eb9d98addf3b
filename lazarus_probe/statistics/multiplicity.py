"""Corrections for having tested many claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Adjusted:
    """Corrected p values.

    Attributes:
        q: of every member of the family, in the family's order.
        missing: members with no p value, counted as p = 1.
    """

    q: Mapping[str, float]
    missing: tuple[str, ...]


def benjamini_hochberg(p_values: Mapping[str, float | None], family: Sequence[str]) -> Adjusted:
    """False discovery rates over a declared family (Benjamini & Hochberg 1995).

    The family is what was declared, never what happened to run: a q value must not fall because half of the
    tests were deselected. A member without a p value counts as p = 1 and is named.

    Args:
        p_values: p of each test that ran, or None where it gave no p.
        family: the names of all tests declared together.

    Raises:
        ValueError: an empty family or a repeated name, a test outside the family, or p outside [0, 1].
    """
    if not family or len(set(family)) != len(family):
        raise ValueError(f"family {list(family)} must name at least one claim, and each once")
    if strangers := sorted(set(p_values) - set(family)):
        raise ValueError(f"{strangers[0]!r} is not in the declared family: add it to {list(family)}")
    missing = tuple(name for name in family if p_values.get(name) is None)
    p = np.array([_checked(name, p_values.get(name)) for name in family])
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    return Adjusted({name: float(value) for name, value in zip(family, q, strict=True)}, missing)


def _checked(name: str, p: float | None) -> float:
    if p is None:
        return 1.0
    if not 0 <= p <= 1:
        raise ValueError(f"p of {name!r} is {p}: a p value lies in [0, 1]; give None where there is none")
    return float(p)
