"""States of prompts, as they are compared with each other: centred, and without outlier dimensions.

The mean is that of the other prompts of the run. Where there are fewer than four, it is that of unrelated prompts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.generation.damage import unrelated_prompts
from lazarus_probe.statistics.centred import REFERENCES, OutlierDimension, StateCosines, state_cosines

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


def compared(
    subject: Subject, prompts: Sequence[str], sites: Sequence[Site], *, keep_outliers: bool = False
) -> dict[Site, StateCosines]:
    """Cosines between the states of prompts at their last token, at some sites.

    Args:
        subject: the model.
        prompts: N texts.
        sites: where states are read.
        keep_outliers: give the raw cosines.

    Raises:
        ValueError: a state of zeros.
    """
    states, references = collect(subject, prompts, sites), None
    if not keep_outliers and needs_references(len(prompts)):
        references = collect(subject, unrelated_prompts().prompts, sites)
    return {
        site: state_cosines(
            states[site], None if references is None else references[site], keep_outliers=keep_outliers
        )
        for site in sites
    }


def needs_references(count: int) -> bool:
    """Whether so many prompts are too few for every pair to be centred on the others."""
    return count < 2 + REFERENCES


def centred_on(count: int, keep_outliers: bool) -> str:
    """What the cosines of so many prompts are centred on, in words; empty for raw ones."""
    if keep_outliers:
        return ""
    if needs_references(count):
        return f"{len(unrelated_prompts().prompts)} unrelated prompts, as {count} are too few"
    return "the other prompts of the run"


def outlier_data(left_out: Iterable[OutlierDimension]) -> list[dict[str, Any]]:
    """The dimensions left out, as plain data."""
    return [{"dimension": outlier.dimension, "ratio": outlier.ratio} for outlier in left_out]


def outlier_lines(by_layer: Mapping[int, Iterable[OutlierDimension]], centre: str) -> list[str]:
    """What was done to the states of each layer, in words: a line on the mean, and one for each dimension left out."""
    if not centre:
        return ["Cosines are raw: of all dimensions, and not centred."]
    lines = [f"Cosines are centred on {centre}; --keep-outliers gives the raw ones."]
    layers_of: dict[int, list[str]] = {}
    for layer, left_out in by_layer.items():
        for outlier in left_out:
            layers_of.setdefault(outlier.dimension, []).append(f"L{layer} {outlier.ratio:.0f} x")
    return lines + [
        f"Left out: dimension {dimension}, an outlier ({', '.join(_few(values))} the median dimension)."
        for dimension, values in layers_of.items()
    ]


def _few(values: Sequence[str], most: int = 6) -> list[str]:
    return [*values] if len(values) <= most else [*values[: most - 1], f"..., {values[-1]}"]
