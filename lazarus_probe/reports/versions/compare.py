"""Two runs or baselines side by side: the outcome of each claim then and now, and whether the difference is real."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any, Literal

from lazarus_probe.claims.baseline import compared_all
from lazarus_probe.claims.baseline_record import BaselineRecord
from lazarus_probe.claims.change import CHANGES, WORSE, Change
from lazarus_probe.claims.differences import corrected
from lazarus_probe.claims.record import named_seeds, natural
from lazarus_probe.reports.versions.sides import Side

Group = Literal["broken", "gone"] | Change | Literal["effect moved", "declared otherwise", "new", "unchanged"]
LISTED: tuple[Group, ...] = ("effect moved", "declared otherwise", "new", "unchanged")
GROUPS: tuple[Group, ...] = ("broken", "gone", *CHANGES, *LISTED)
SAME, CHANGED, BROKE = 0, 1, 3


@dataclass(frozen=True)
class Line:
    """One claim, under one set of parameters, on one model, then and now.

    Attributes:
        claim: with its parameters.
        model: the later one's name, where there is one.
        group: what became of it.
        old: with how it compares with the new one.
        new: its outcome now.
        error: of a broken test.
    """

    claim: str
    model: str
    group: Group
    old: BaselineRecord | None = None
    new: BaselineRecord | None = None
    error: str = ""


@dataclass(frozen=True)
class Comparison:
    """All claims of two sides, those that need a look first.

    Attributes:
        fail_on: the changes that `code` counts.
    """

    old: Side
    new: Side
    lines: tuple[Line, ...]
    remarks: tuple[str, ...]
    fail_on: frozenset[Change] = WORSE

    @property
    def counts(self) -> dict[Group, int]:
        """How many lines there are of each group."""
        numbers = Counter(line.group for line in self.lines)
        return {group: numbers[group] for group in GROUPS if numbers[group]}

    @property
    def compared(self) -> int:
        """How many lines have a score on both sides: all of them are corrected over."""
        return sum(line.old is not None and line.old.difference is not None for line in self.lines)

    @property
    def code(self) -> int:
        """What a program exits with: 3 where a test broke or a claim is gone, 1 where one changed as in `fail_on`."""
        if self.counts.keys() & {"broken", "gone"}:
            return BROKE
        return CHANGED if self.counts.keys() & self.fail_on else SAME

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        sides = {
            name: {"name": side.name, "seed": side.seeds[0], "seeds": list(side.seeds)}
            | {"package": side.package, "partial": bool(side.partial), "models": dict(side.models)}
            for name, side in (("old", self.old), ("new", self.new))
        }
        lines = [
            {"claim": line.claim, "model": line.model, "group": line.group, "error": line.error}
            | {"old": _plain(line.old), "new": _plain(line.new)}
            for line in self.lines
        ]
        return {
            **sides,
            "code": self.code,
            "fail_on": [change for change in CHANGES if change in self.fail_on],
            "counts": self.counts,
            "compared": self.compared,
            "remarks": list(self.remarks),
            "lines": lines,
        }


def _plain(record: BaselineRecord | None) -> dict[str, Any] | None:
    return record.model_dump(mode="json") if record else None


def compare_runs(old: Side, new: Side, fail_on: frozenset[Change] = WORSE) -> Comparison:
    """Compare the outcomes of claims with their earlier outcomes.

    Models are matched by name; two sides of one model each are two versions of it, whatever they are called. Scores
    that are means over prompts are compared unit by unit, where both sides drew the same prompts; else the interval of
    a difference is that of two independent estimates. Which differences are real is judged over all lines at once; see
    `corrected`.

    Example:
        >>> from lazarus_probe.reports import compare_runs, read_side
        >>> comparison = compare_runs(read_side("before"), read_side("after"))
        >>> comparison.counts, comparison.code
        ({'unchanged': 3}, 0)
    """
    return compare_neighbours((old, new), fail_on)[0]


def compare_neighbours(sides: Sequence[Side], fail_on: frozenset[Change] = WORSE) -> tuple[Comparison, ...]:
    """Compare each of several sides with the one before it, as `compare_runs` does.

    Which differences are real is judged over all lines of all of these comparisons at once.
    """
    models = models_across(sides)
    pairs = [
        (old, new, [(of[index], of[index + 1]) for of in models if of[index] or of[index + 1]])
        for index, (old, new) in enumerate(pairwise(sides))
    ]
    known = [
        [
            compared_all(
                new.claims.get(now, {}), old.claims.get(then, {}), same_prompts=old.seeds == new.seeds
            )
            for then, now in names
        ]
        for old, new, names in pairs
    ]
    judged = iter(corrected([record for of in known for of_model in of for record in of_model.values()]))
    return tuple(
        _comparison(
            old, new, names, [dict(zip(keys, islice(judged, len(keys)), strict=True)) for keys in of], fail_on
        )
        for (old, new, names), of in zip(pairs, known, strict=True)
    )


def models_across(sides: Sequence[Side]) -> list[tuple[str, ...]]:
    """Which models are versions of one another: for each what every side calls it, or "" where a side lacks it.

    They are matched by name; where no side has several, those of all sides are versions of one model.
    """
    names = [_names(side) for side in sides]
    if all(len(of_side) <= 1 for of_side in names):
        return [tuple(of_side[0] if of_side else "" for of_side in names)]
    all_names = dict.fromkeys(name for of_side in names for name in of_side)
    return [tuple(name if name in of_side else "" for of_side in names) for name in all_names]


def _comparison(
    old: Side,
    new: Side,
    models: Sequence[tuple[str, str]],
    known: Sequence[Mapping[str, BaselineRecord]],
    fail_on: frozenset[Change],
) -> Comparison:
    lines: list[Line] = []
    for (then, now), compared in zip(models, known, strict=True):
        before = {**old.claims.get(then, {}), **compared}
        lines += _lines(before, new.claims.get(now, {}), now or then, broken_of(new, now))
    lines += [
        Line(broken.test, "", "broken", error=broken.error) for broken in new.broken if not broken.claim
    ]
    lines.sort(key=lambda line: (GROUPS.index(line.group), line.model, natural(line.claim)))
    return Comparison(old, new, tuple(lines), (*_remarks(old, new), *of_claims(lines)), fail_on)


def _names(side: Side) -> list[str]:
    """The models of a side; where all tests broke they alone say which."""
    return sorted({*side.models, *(broken.model for broken in side.broken if broken.claim)})


def broken_of(side: Side, model: str) -> dict[str, str]:
    """The errors of the claims of a model that broke."""
    return {broken.claim: broken.error for broken in side.broken if broken.claim and broken.model == model}


def _lines(
    old: Mapping[str, BaselineRecord],
    new: Mapping[str, BaselineRecord],
    model: str,
    broken: Mapping[str, str],
) -> list[Line]:
    lines = []
    for key in {**old, **new, **broken}:
        before, now = old.get(key), new.get(key)
        error = broken.get(key, "") if now is None else ""
        group = "broken" if now is None and key in broken else _group(before, now)
        lines.append(Line(key, model, group, before, now, error))
    return lines


def _group(before: BaselineRecord | None, now: BaselineRecord | None) -> Group:
    if now is None:
        return "gone"
    if before is None:
        return "new"
    if before.compared == "nothing":
        return "declared otherwise"
    if change := before.change(now.outcome, now.alone):
        return change
    return "effect moved" if before.difference and before.difference.real else "unchanged"


def _remarks(old: Side, new: Side) -> list[str]:
    lines = []
    then, now = sorted(old.models.items()), sorted(new.models.items())
    if then and now and then != now:
        lines.append(f"of other weights: {_models(then)}, now {_models(now)}")
    if old.seeds != new.seeds:
        seeds = f"{named_seeds(old.seeds)}, now {named_seeds(new.seeds)}"
        lines.append(f"measured with other seeds: {seeds}; prompts and controls differ too")
    if old.package != new.package:
        lines.append(
            f"measured by other versions of lazarus_probe: {old.package or 'unknown'}, now {new.package or 'unknown'}"
        )
    lines += [f"{side.name} is {side.partial}" for side in (old, new) if side.partial]
    return lines + [line for side in (old, new) for line in side.remarks]


def of_claims(lines: Sequence[Line]) -> list[str]:
    """What to know of claims that are declared otherwise, or were measured on other prompts."""
    anew = [
        line.old.remark
        for line in lines
        if line.old and line.old.remark and line.group == "declared otherwise"
    ]
    moved = [
        line.claim for line in lines if line.old and line.old.remark and line.group != "declared otherwise"
    ]
    if moved:
        anew.append(f"the prompts took another number of tokens, or were others, in {', '.join(moved)}")
    return anew


def _models(models: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name} ({fingerprint[:12]})" for name, fingerprint in models)
