"""How what leaves a block is made of what enters it and of what its parts say.

In a Llama the residual stream is a plain sum. Other models normalise the parts' outputs first, or scale some of the
terms, or mix several streams; then a part's output is not its contribution. The terms are fitted, not assumed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.places import whole_value
from lazarus_probe.hooks.trace import trace
from lazarus_probe.subject.subject import Subject
from lazarus_probe.taps import Tap, tapped

PARTS = {"attention": "attn_out", "mixer": "mixer_out", "mlp": "mlp_out"}
EXACT = 1e-4


@dataclass(frozen=True)
class Additivity:
    """What leaves one block, as a sum.

    Attributes:
        terms: the factor of each term, such as `{"resid_pre": 1.0, "attn_out": 0.22}`; the name of a part that is
            normalised before it is added is written `norm(attn_out)`.
        error: largest difference from what leaves the block, relative to the largest value there.
        holds: whether that is the rounding of float32.
    """

    terms: dict[str, float]
    error: float
    holds: bool

    def __str__(self) -> str:
        if not self.holds:
            return f"no sum of its parts (error {self.error:.1g})"
        return " + ".join(
            name if factor == 1 else f"{factor:g} {name}" for name, factor in self.terms.items()
        )


def additivity(subject: Subject, tokens: Any, tolerance: float = EXACT) -> list[Additivity]:
    """The sum that every block makes, fitted on a run of tokens (B, L).

    Args:
        subject: the model.
        tokens: enough positions to tell the terms apart; a dozen do.
        tolerance: relative error up to which the sum is said to hold.
    """
    layers = range(subject.num_layers)
    sites = [f"{kind}.{layer}" for layer in layers for kind in ("resid_pre", "resid_post")]
    sites += [f"{kind}.{layer}" for layer in layers for kind in _kinds(subject, layer)]
    normed: dict[tuple[str, int], Any] = {}
    with tapped(list(_norm_taps(subject, normed))):
        run = trace(subject, tokens, sites)
    sums = []
    for layer in layers:
        terms = {"resid_pre": _flat(run[f"resid_pre.{layer}"])}
        for kind in _kinds(subject, layer):
            after = normed.get((kind, layer))
            terms |= (
                {kind: _flat(run[f"{kind}.{layer}"])} if after is None else {f"norm({kind})": _flat(after)}
            )
        sums.append(_fitted(terms, _flat(run[f"resid_post.{layer}"]), tolerance))
    return sums


def _kinds(subject: Subject, layer: int) -> list[str]:
    parts = subject.anatomy.parts[layer]
    return [kind for part, kind in PARTS.items() if getattr(parts, part)]


def _norm_taps(subject: Subject, normed: dict[tuple[str, int], Any]) -> Iterator[Tap]:
    for layer, parts in enumerate(subject.anatomy.parts):
        for part, kind in PARTS.items():
            if getattr(parts, f"{part}_norm"):
                yield Tap(
                    subject.anatomy.part(f"{part}_norm", layer), after=_kept(subject, normed, (kind, layer))
                )


def _kept(subject: Subject, normed: dict[tuple[str, int], Any], key: tuple[str, int]) -> Any:
    kind, layer = key

    def after(value: Any) -> Any:
        normed[key] = whole_value(subject.anatomy, layer, kind, value)  # it is where the part's output is
        return value

    return after


def _flat(value: Any) -> NDArray[np.float64]:
    return np.array(value.astype(mx.float32), dtype=np.float64).ravel()


def _fitted(terms: dict[str, NDArray[Any]], total: NDArray[Any], tolerance: float) -> Additivity:
    """The plain sum if it is exact, else the factors of least squares."""
    size = np.abs(total).max() or 1.0  # a stream that is zero as initialised
    if any(term.shape != total.shape for term in terms.values()):
        return Additivity({}, float("inf"), False)
    error = float(np.abs(sum(terms.values()) - total).max() / size)
    if error <= tolerance:
        return Additivity(dict.fromkeys(terms, 1.0), error, True)
    factors = np.linalg.lstsq(np.stack(list(terms.values()), axis=1), total, rcond=None)[0]
    fitted = sum(factor * term for factor, term in zip(factors, terms.values(), strict=True))
    error = float(np.abs(fitted - total).max() / size)
    named = {name: round(float(factor), 4) for name, factor in zip(terms, factors, strict=True)}
    return Additivity(named, error, error <= tolerance)
