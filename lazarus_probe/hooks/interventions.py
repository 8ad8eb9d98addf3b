"""What may be done to a site's value: functions of activations, never edits of weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx

from lazarus_probe.hooks.positions import Positions, check_positions, rows_of
from lazarus_probe.hooks.sites import Site

Edit = Callable[[mx.array], mx.array]


@dataclass(frozen=True, eq=False)
class Intervention:
    """An edit of a site's value at some positions.

    Attributes:
        site: where; a text such as "resid_post.3" is understood.
        edit: from the value at the positions to what takes its place, of the same shape and type. The
            position axis is always there: at one position of `resid_post` the value is (B, 1, D). What it writes
            into through a NumPy view it writes before it returns: mlx computes later, from the same memory.
        positions: "all", "last" (of every call), a position of the sequence or several. Positions count from
            the start of the sequence also when a KV cache holds part of it; negative ones from its end. The edit
            gets several in the order given, as captures have them.
        label: what errors and reports call it.

    Example:
        >>> from lazarus_probe import Intervention, trace
        >>> def without_negative_part(value):
        ...     return mx.maximum(value, 0)
        >>> rectified = Intervention("neurons.3", without_negative_part, positions="last", label="rectify")
        >>> str(rectified)
        'rectify at neurons.3'
        >>> trace(subject, "7*8=", interventions=rectified).logits.shape
        (1, 5, 2003)
    """

    site: Site | str
    edit: Edit
    positions: Positions = "all"
    label: str = "edit"

    def __post_init__(self) -> None:
        object.__setattr__(self, "site", Site.parse(self.site))
        object.__setattr__(self, "positions", check_positions(self.positions))

    def __str__(self) -> str:
        return f"{self.label} at {self.site}"

    def of_rows(self, rows: Sequence[int], count: int) -> Intervention:
        """The same for some rows of a batch of `count`: with their positions and values, where it has some by row."""
        edit = replace(self.edit, rows=tuple(rows), count=count) if isinstance(self.edit, Put) else self.edit
        return replace(self, edit=edit, positions=rows_of(self.positions, rows))


@dataclass(frozen=True, eq=False)
class Put:
    """An edit that puts a value from elsewhere in the place of what is there, or adds it.

    Attributes:
        source: what broadcasts to the value there, or has a row for each of `count` prompts.
        label: what errors call it.
        factor: None to put it in place; a number to add that many times of it.
        rows: which of `count` prompts the value there is of; None of all.
        count: how many prompts there are.
    """

    source: Any
    label: str
    factor: float | None = None
    rows: tuple[int, ...] | None = None
    count: int = 0

    def __call__(self, value: mx.array) -> mx.array:
        """What takes the place of a value.

        Raises:
            ValueError: what was given does not fit it, or has rows of more or fewer prompts.
        """
        rows = self._of_rows(value)
        if self.label == "resample" and rows.size != value.size:
            raise ValueError(_misfit("resample", rows, value, "one donor row for every row is needed"))
        replacement = fitted(rows, value, self.label)
        return replacement if self.factor is None else value + self.factor * replacement

    def _of_rows(self, value: mx.array) -> mx.array:
        array = _array(self.source)
        one = 1 in value.shape[1:3] and array.ndim == value.ndim - 1 and array.shape[0] == self.count
        if self.rows is None or not (one or array.ndim == value.ndim) or array.shape[0] == 1:
            return array
        if array.shape[0] != self.count:
            raise ValueError(
                f"the value for {self.label} has {array.shape[0]} rows for {self.count} prompts; give one a prompt"
            )
        return array[mx.array(self.rows)]


def zero(site: Site | str, positions: Positions = "all") -> Intervention:
    """Replace by zeros. Zero is seldom a value the model meets: report `mean` or `resample` first.

    Example:
        >>> from lazarus_probe import trace
        >>> from lazarus_probe.interventions import zero
        >>> run = trace(subject, "7*8=", capture="mlp_out.3", interventions=zero("mlp_out.3", positions="last"))
        >>> mx.abs(run["mlp_out.3"][0, -1]).max().item()
        0.0
    """
    return Intervention(site, mx.zeros_like, positions, "zero")


def mean(site: Site | str, average: Any, positions: Positions = "all") -> Intervention:
    """Replace by an average over a reference set, such as (D,); it broadcasts to the value there.

    Example:
        >>> from lazarus_probe import collect, trace
        >>> from lazarus_probe.interventions import mean
        >>> from lazarus_probe.sites import mlp_out
        >>> reference = collect(subject, ["The cat saw the ball.", "7*8=", "12+30="], [mlp_out(3)], at="mean")
        >>> ablation = mean(mlp_out(3), reference[mlp_out(3)].mean(axis=0))
        >>> trace(subject, "7*8=", interventions=ablation).logits.shape
        (1, 5, 2003)
    """
    return Intervention(site, Put(average, "mean"), positions, "mean")


def resample(site: Site | str, donors: Any, positions: Positions = "all") -> Intervention:
    """Replace by the rows of another run, as in causal scrubbing; `donors` has the value's shape.

    Example:
        >>> from lazarus_probe import trace
        >>> from lazarus_probe.interventions import resample
        >>> donors = trace(subject, ["3+4=", "9-2="], capture="head_out.2.1")["head_out.2.1"]
        >>> run = trace(subject, ["7*8=", "6*9="], interventions=resample("head_out.2.1", donors))
        >>> run.logits.shape
        (2, 5, 2003)
    """
    return Intervention(site, Put(donors, "resample"), positions, "resample")


def patch(site: Site | str, value: Any, positions: Positions = "all") -> Intervention:
    """Replace by a value from elsewhere, usually another trace; it broadcasts to the value there.

    Example:
        >>> from lazarus_probe import trace
        >>> from lazarus_probe.interventions import patch
        >>> product = trace(subject, "7*8=", capture="resid_post.5", positions="last")["resid_post.5"]
        >>> run = trace(subject, "7+8=", interventions=patch("resid_post.5", product, positions="last"))
        >>> subject.decode([run.logits[0, -1].argmax().item()])
        '56'
    """
    return Intervention(site, Put(value, "patch"), positions, "patch")


def steer(
    site: Site | str, direction: Any, coefficient: float = 1.0, positions: Positions = "all"
) -> Intervention:
    """Add `coefficient` times a direction, such as (D,), which is taken as it is: its norm counts.

    Example:
        >>> from lazarus_probe import collect, hooked
        >>> from lazarus_probe.interventions import steer
        >>> from lazarus_probe.sites import resid_post
        >>> from lazarus_probe.subject import greedy
        >>> site = resid_post(4)
        >>> products = collect(subject, ["7*8=", "6*9="], [site])[site]
        >>> sums = collect(subject, ["7+8=", "6+9="], [site])[site]
        >>> direction = products.mean(axis=0) - sums.mean(axis=0)
        >>> with hooked(subject, interventions=steer(site, direction, coefficient=1.0)):
        ...     print(greedy(subject, ["7+8="], max_tokens=4))
        ['56']
    """
    return Intervention(site, Put(direction, "steer", coefficient), positions, "steer")


def scale(site: Site | str, factor: float, positions: Positions = "all") -> Intervention:
    """Multiply by a factor.

    Example:
        >>> from lazarus_probe import trace
        >>> from lazarus_probe.interventions import scale
        >>> run = trace(subject, "7*8=", capture="pattern.3", interventions=scale("scores.3", 0.0))
        >>> np.allclose(run["pattern.3"][0, 0, -1], 1 / 5)
        True
    """
    return Intervention(site, lambda value: value * factor, positions, "scale")


def noise(site: Site | str, std: float, positions: Positions = "all", seed: int = 0) -> Intervention:
    """Add Gaussian noise, the same for the same seed and shape, as in causal tracing (Meng et al. 2022).

    Example:
        >>> from lazarus_probe import trace
        >>> from lazarus_probe.interventions import noise
        >>> clean = trace(subject, "7*8=").logits
        >>> corrupted = trace(subject, "7*8=", interventions=noise("embed", std=0.5, positions=[1, 3])).logits
        >>> bool(mx.abs(clean - corrupted).max() > 0)
        True
    """

    def edit(value: mx.array) -> mx.array:
        return value + std * mx.random.normal(value.shape, value.dtype, key=mx.random.key(seed))

    return Intervention(site, edit, positions, "noise")


def fitted(replacement: Any, value: mx.array, label: str) -> mx.array:
    """`replacement` broadcast to the shape of `value`, in its type.

    One position's values without their position axis, as `collect` returns them, also fit at one position.

    Raises:
        ValueError: it does not broadcast; the message gives both shapes.
    """
    array = _array(replacement).astype(value.dtype)
    for axis in (1, 2):
        # (B, D) at one position of (B, 1, D); in a pattern, (B, H, S) of (B, H, 1, S).
        if value.ndim > axis and value.shape[axis] == 1 and array.shape == _without(value.shape, axis):
            return array.reshape(value.shape)
    try:
        return mx.broadcast_to(array, value.shape)
    except ValueError:
        raise ValueError(_misfit(label, replacement, value, "it must broadcast to that")) from None


def _array(replacement: Any) -> mx.array:
    return replacement if isinstance(replacement, mx.array) else mx.array(replacement)


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])


def _misfit(label: str, replacement: Any, value: mx.array, need: str) -> str:
    shapes = f"{tuple(_array(replacement).shape)} given, {tuple(value.shape)} there"
    return f"the shape for {label} does not fit: {shapes}; {need}"
