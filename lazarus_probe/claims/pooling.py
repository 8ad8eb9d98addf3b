"""The measurements of one claim with several seeds, as one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from math import fsum
from typing import Any, TypeVar

from lazarus_probe.statistics.measurement import (
    Control,
    Counterexample,
    Curve,
    Damage,
    Grid,
    Growth,
    Measurement,
    Part,
    Strata,
)

Quantity = TypeVar("Quantity")


def pool(measurements: Mapping[int, Measurement], needed: Collection[str] = ()) -> Measurement:
    """The measurements of one claim with several seeds, as one.

    Scores, and the ends of their intervals, are averaged. The seeds measure one quantity with errors that depend on
    each other: the model is the same and the prompts partly are. The standard deviation of a mean is at most the mean
    of the standard deviations, whatever the correlation (Minkowski's inequality), and the mean interval is as wide as
    the intervals are on average: where errors are about normal its coverage is at least theirs. Nothing is divided by
    the root of the number of seeds, so seeds cannot stand in for groups.

    p is twice the mean of the seeds' p, at most 1, which holds under any dependence (Ruschendorf 1982; Vovk & Wang
    2020, Combining p-values via averaging, Biometrika 107); a seed without p among others with one counts as 1. n and
    tokens are summed; groups, and the units of each kind, are the least of the seeds'. The learning curve, the damage
    and other parts are averaged as the score is; of strata that were measured those of the seed with the largest upper
    bound on what fails are kept. A control that is not needed, for not every draw of prompts allows it, is averaged
    over the seeds that measured it. Curves and grids are averaged where all seeds share their axes, and else the first
    seed's, as are examples; a detail that differs is kept by seed.

    Args:
        measurements: by seed, in order; at least one.
        needed: the controls that every seed must have measured.

    Raises:
        ValueError: none, another unit in some seed, or a control that is needed, kind of units, learning curve, strata,
            damage or part that some seed did not measure.
    """
    if not measurements:
        raise ValueError("no seed gave a measurement: pool at least one")
    parts = list(measurements.values())
    if len(parts) == 1:
        return parts[0]
    _check_units(measurements)
    first = parts[0]
    return replace(
        first,
        score=_mean(parts, lambda part: part.score),
        low=_mean(parts, lambda part: part.low),
        high=_mean(parts, lambda part: part.high),
        n=sum(part.n for part in parts),
        groups=min(part.groups for part in parts),
        controls=_controls(measurements, needed),
        p=_p([part.p for part in parts]),
        details=_details({seed: part.as_dict()["details"] for seed, part in measurements.items()}),
        tokens=_sum([part.tokens for part in parts]),
        curves=_curves([part.curves for part in parts]),
        grids=_grids([part.grids for part in parts]),
        counterexamples=_distinct([part.counterexamples for part in parts]),
        units=_units({seed: part.units for seed, part in measurements.items()}),
        ceiling=max(part.ceiling for part in parts),
        growth=_growth({seed: part.growth for seed, part in measurements.items()}),
        strata=_strata({seed: part.strata for seed, part in measurements.items()}),
        damage=_damage({seed: part.damage for seed, part in measurements.items()}),
        parts=_parts({seed: part.parts for seed, part in measurements.items()}),
        place=_place({seed: part.place for seed, part in measurements.items()}),
        group_scores={},  # of several draws of prompts
    )


def _check_units(measurements: Mapping[int, Measurement]) -> None:
    (seed, first), *others = measurements.items()
    for other_seed, measurement in others:
        if measurement.unit != first.unit:
            raise ValueError(
                f"seed {seed} measured {first.unit!r} and seed {other_seed} {measurement.unit!r}: "
                "only one unit can be pooled"
            )


def _place(by_seed: Mapping[int, str]) -> str:
    (seed, place), *_ = by_seed.items()
    return place if len(set(by_seed.values())) == 1 else f"{place} with seed {seed}, elsewhere with others"


def _mean(parts: Sequence[Quantity], number: Callable[[Quantity], float]) -> float:
    return fsum(number(part) for part in parts) / len(parts)


def _p(values: Sequence[float | None]) -> float | None:
    if all(value is None for value in values):
        return None
    return min(1.0, 2 * fsum(1.0 if value is None else value for value in values) / len(values))


def _sum(values: Sequence[int | None]) -> int | None:
    present = [value for value in values if value is not None]
    return sum(present) if len(present) == len(values) else None


def _controls(measurements: Mapping[int, Measurement], needed: Collection[str]) -> tuple[Control, ...]:
    by_seed = {
        seed: {control.name: control for control in measurement.controls}
        for seed, measurement in measurements.items()
    }
    names = dict.fromkeys(name for controls in by_seed.values() for name in controls)
    for name in needed:
        _all_of(f"control {name!r}", {seed: controls.get(name) for seed, controls in by_seed.items()})
    return tuple(
        _control([controls[name] for controls in by_seed.values() if name in controls]) for name in names
    )


def _all_of(quantity: str, by_seed: Mapping[int, Quantity | None]) -> list[Quantity]:
    """What every seed measured.

    Raises:
        ValueError: some seed did not.
    """
    if without := [str(seed) for seed, part in by_seed.items() if part is None]:
        raise ValueError(
            f"{quantity} was not measured with seed {', '.join(without)}: every seed must measure it, or none"
        )
    return [part for part in by_seed.values() if part is not None]


def _units(by_seed: Mapping[int, Mapping[str, int]]) -> dict[str, int]:
    kinds = dict.fromkeys(kind for units in by_seed.values() for kind in units)
    return {
        kind: min(
            _all_of(
                f"the number of units {kind!r}", {seed: units.get(kind) for seed, units in by_seed.items()}
            )
        )
        for kind in kinds
    }


def _growth(by_seed: Mapping[int, Growth | str | None]) -> Growth | str | None:
    """The mean curve; where some seed has none, the pool has none either, for the reason of the first of them."""
    if not any(by_seed.values()):
        return None
    measured = _all_of("the learning curve", by_seed)
    if reasons := [reason for reason in measured if isinstance(reason, str)]:
        return reasons[0]
    curves = [curve for curve in measured if isinstance(curve, Growth)]
    return Growth(
        half=_mean(curves, lambda curve: curve.half),
        gain=_mean(curves, lambda curve: curve.gain),
        low=_mean(curves, lambda curve: curve.low),
        high=_mean(curves, lambda curve: curve.high),
        expected=_mean(curves, lambda curve: curve.expected),
    )


def _strata(by_seed: Mapping[int, Strata | None]) -> Strata | None:
    """Those of the seed that leaves most in doubt: a search of one seed says nothing of the strata of another."""
    return max(_all_of("strata", by_seed), key=lambda strata: strata.upper) if any(by_seed.values()) else None


def _damage(by_seed: Mapping[int, Damage | None]) -> Damage | None:
    if not any(by_seed.values()):
        return None
    damages = _all_of("the damage", by_seed)
    if units := sorted({damage.unit for damage in damages[1:]} - {damages[0].unit}):
        raise ValueError(
            f"the damage was measured as {damages[0].unit!r} and as {units[0]!r}: only one can be pooled"
        )
    return Damage(
        unit=damages[0].unit,
        score=_mean(damages, lambda damage: damage.score),
        low=_mean(damages, lambda damage: damage.low),
        high=_mean(damages, lambda damage: damage.high),
        n=sum(damage.n for damage in damages),
    )


def _parts(by_seed: Mapping[int, tuple[Part, ...]]) -> tuple[Part, ...]:
    named = {seed: {part.name: part for part in parts} for seed, parts in by_seed.items()}
    pooled = list[Part]()
    for name in dict.fromkeys(name for parts in named.values() for name in parts):
        parts = _all_of(f"part {name!r}", {seed: parts.get(name) for seed, parts in named.items()})
        low, score, high = (
            fsum(getattr(part, end) for part in parts) / len(parts) for end in ("low", "score", "high")
        )
        pooled.append(Part(name, score, low, high, sum(part.n for part in parts)))
    return tuple(pooled)


def _control(controls: Sequence[Control]) -> Control:
    return replace(
        controls[0],
        score=_mean(controls, lambda control: control.score),
        gain=_mean(controls, lambda control: control.gain),
        low=_mean(controls, lambda control: control.low),
        high=_mean(controls, lambda control: control.high),
        spread=_mean(controls, lambda control: control.spread),
    )


def _details(by_seed: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """What all seeds agree on as it is, and all else by seed."""
    names = dict.fromkeys(name for details in by_seed.values() for name in details)
    return {
        name: _detail({seed: d[name] for seed, d in by_seed.items() if name in d}, len(by_seed))
        for name in names
    }


def _detail(values: Mapping[int, Any], seeds: int) -> Any:
    first, *others = values.values()
    if len(values) == seeds and all(first == value for value in others):
        return first
    return {f"seed {seed}": value for seed, value in values.items()}


def _curves(by_seed: Sequence[tuple[Curve, ...]]) -> tuple[Curve, ...]:
    axes = [[(curve.name, curve.axis, curve.x) for curve in curves] for curves in by_seed]
    if any(curve_axes != axes[0] for curve_axes in axes):
        return by_seed[0]
    return tuple(
        replace(
            curves[0],
            y=_rows_mean([curve.y for curve in curves]),
            low=_ends_mean([curve.low for curve in curves]),
            high=_ends_mean([curve.high for curve in curves]),
        )
        for curves in zip(*by_seed, strict=True)
    )


def _grids(by_seed: Sequence[tuple[Grid, ...]]) -> tuple[Grid, ...]:
    axes = [[(grid.name, grid.rows, grid.columns) for grid in grids] for grids in by_seed]
    if any(grid_axes != axes[0] for grid_axes in axes):
        return by_seed[0]
    return tuple(
        replace(
            grids[0],
            values=tuple(_rows_mean(rows) for rows in zip(*(grid.values for grid in grids), strict=True)),
        )
        for grids in zip(*by_seed, strict=True)
    )


def _ends_mean(rows: Sequence[tuple[float, ...] | None]) -> tuple[float, ...] | None:
    present = [row for row in rows if row is not None]
    return _rows_mean(present) if len(present) == len(rows) else None


def _rows_mean(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(fsum(values) / len(values) for values in zip(*rows, strict=True))


def _distinct(by_seed: Sequence[tuple[Counterexample, ...]]) -> tuple[Counterexample, ...]:
    """The counterexamples of all seeds: each was confirmed on fresh prompts by itself, so each stands."""
    return tuple(
        dict.fromkeys(counterexample for counterexamples in by_seed for counterexample in counterexamples)
    )
