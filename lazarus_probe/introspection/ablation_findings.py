"""What ablations show, held against as much drawn at random.

A layer is called causal only when most outputs that passed fail without it, more than fail without as many coordinates
drawn at random over all layers, and when that stands against the number of layers tried. One prompt shows no more than
that one output changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.ablation_runs import AblationConfig, Row
from lazarus_probe.introspection.criteria import is_coherent
from lazarus_probe.introspection.display import Cell, table
from lazarus_probe.introspection.rates import rate
from lazarus_probe.statistics.intervals import estimate, shown
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.multiplicity import benjamini_hochberg
from lazarus_probe.statistics.power import implied_p

CONTROL = "random_coordinates"
THRESHOLD = 0.5
ALPHA = 0.05
MARGIN = 0.05  # of the gain over random controls
MINIMUM = 10  # prompts


@dataclass(frozen=True)
class Finding:
    """What one ablation comes to.

    Attributes:
        name: of the layers, as in `L3+4`.
        layers: those ablated together.
        method: what took the place of the outputs.
        word: CAUSAL, PARTLY CAUSAL, INVERSE CAUSAL, NOT CAUSAL, NOT SPECIFIC, INCONCLUSIVE or BASELINE FAILS.
        reason: in one sentence.
        n: outputs that could change: those that passed, or for an inverse those that failed.
        changed: how many did.
        low: of the 95% interval of the share changed.
        high: likewise.
        control: the share changed by random controls.
        q: false discovery rate over the layers tried, where it was reckoned.
    """

    name: str
    layers: tuple[int, ...]
    method: str
    word: str
    reason: str
    n: int
    changed: int
    low: float | None = None
    high: float | None = None
    control: float | None = None
    q: float | None = None


@dataclass(frozen=True, eq=False)
class Ablations:
    """What is said by the whole model, and without each of some components.

    Attributes:
        task: what a report calls it.
        config: how it was run.
        prompts: (N,) as they were given.
        criteria: (N,) the names of what passes.
        original: (N,) what the whole model says.
        passes: (N,) whether that passes.
        rows: the ablations.
        controls: as many coordinates drawn at random.
    """

    task: str
    config: AblationConfig
    prompts: tuple[str, ...]
    criteria: tuple[str, ...]
    original: tuple[str, ...]
    passes: NDArray[np.bool_]
    rows: tuple[Row, ...]
    controls: tuple[Row, ...]

    @cached_property
    def findings(self) -> list[Finding]:
        """What each ablation comes to, in the order of `rows`."""
        measured = [self._measured(row) for row in self.rows]
        return [
            self._finding(row, one, _q(self.rows, measured, row))
            for row, one in zip(self.rows, measured, strict=True)
        ]

    @property
    def causal_layers(self) -> list[int]:
        """The layers that are causal by themselves by the first method, controls and layers tried considered."""
        asked = [each for each in self.findings if each.method == str(self.rows[0].method)]
        return [each.layers[0] for each in asked if each.word == "CAUSAL" and len(each.layers) == 1]

    @property
    def changed_layers(self) -> list[int]:
        """The layers without which some output passes that failed, or fails that passed."""
        found = {row.layers[0] for row in self.rows if len(row.layers) == 1 and self.flips(row).any()}
        return sorted(found)

    def flips(self, row: Row) -> NDArray[np.bool_]:
        """(N,) whether an ablation changes if each output passes."""
        return np.asarray(row.passes != self.passes)

    def random_share(self, row: Row, passing: bool = True) -> float | None:
        """The share of outputs that as large random controls change, of those that pass or that fail."""
        drawn = self._drawn(row)
        of = self.passes == passing
        return float(drawn[:, of].mean()) if len(drawn) and of.any() else None

    def as_data(self) -> dict[str, Any]:
        """Plain data: the published keys first."""
        return {
            "task_name": self.task,
            "criterion_name": _joined(self.criteria),
            "causal_layers": self.causal_layers,
            "results": [result for row in self.rows for result in self._results(row)],
            "changed_layers": self.changed_layers,
            "findings": [asdict(finding) for finding in self.findings],
            "controls": [result for row in self.controls for result in self._results(row)],
            "config": asdict(self.config),
            "n": len(self.prompts),
            "baseline_passes": int(self.passes.sum()),
        }

    def _repr_html_(self) -> str:
        rows = [
            [
                row.name,
                str(row.method),
                *(
                    Cell(text, shade=-0.4 if flip else 0.0)
                    for text, flip in zip(row.said, self.flips(row), strict=True)
                ),
                finding.word,
            ]
            for row, finding in zip(self.rows, self.findings, strict=True)
        ]
        first = ["none", "", *self.original, ""]
        return table(
            f"ablation: {self.config.component}",
            ["layer", "method", *self.prompts, "finding"],
            [first, *rows],
        )

    def _results(self, row: Row) -> list[dict[str, Any]]:
        return [
            {
                "layer": row.layers[0] if len(row.layers) == 1 else list(row.layers),
                "component": str(self.config.component),
                "criterion_changed": bool(flip),
                "output_coherent": is_coherent(text),
                "original_output": before,
                "ablated_output": text,
                "prompt": prompt,
                "criterion": criterion,
                "passes": bool(passes),
                "ablation_type": str(row.method),
                "name": row.name,
                "coordinates": row.size,
            }
            for prompt, criterion, before, text, passes, flip in zip(
                self.prompts, self.criteria, self.original, row.said, row.passes, self.flips(row), strict=True
            )
        ]

    def _drawn(self, row: Row) -> NDArray[np.bool_]:
        """(draws, N) what random controls of a row's size and method change."""
        found = [
            self.flips(each) for each in self.controls if (each.method, each.size) == (row.method, row.size)
        ]
        return np.array(found, dtype=bool).reshape(len(found), len(self.prompts))

    @property
    def _inverse(self) -> bool:
        """Whether it is about outputs that fail, and pass without a component: where none passes."""
        return not self.passes.any()

    def _measured(self, row: Row) -> Measurement | None:
        """The share of outputs that an ablation changes, beside random controls; None where one cannot tell."""
        of, drawn = self.passes != self._inverse, self._drawn(row)
        units = [prompt for prompt, kept in zip(self.prompts, of, strict=True) if kept]
        if len(set(units)) < 2 or not len(drawn):
            return None
        kind = "failing outputs that pass" if self._inverse else "passing outputs that fail"
        return rate(
            f"share of the {kind} without {row.name}",
            self.flips(row)[of],
            units,
            {CONTROL: drawn[:, of].mean(axis=0)},
            seed=self.config.seed,
        )

    def _finding(self, row: Row, measured: Measurement | None, q: float | None) -> Finding:
        of = self.passes != self._inverse
        n, changed = int(of.sum()), int(self.flips(row)[of].sum())
        word, reason = _single(n, changed) if measured is None or q is None else _judged(measured, q)
        if self._inverse and word == "CAUSAL":
            word = "INVERSE CAUSAL"
        elif self._inverse:
            passed = f"; without {row.name} {changed} of {n} pass" if changed else ""
            word = "BASELINE FAILS"
            reason = f"the whole model fails all {n}, so there is nothing to break{passed}"
        return Finding(
            row.name,
            row.layers,
            str(row.method),
            word,
            reason,
            n,
            changed,
            low=None if measured is None else measured.low,
            high=None if measured is None else measured.high,
            control=self.random_share(row, not self._inverse),
            q=q,
        )


def _single(n: int, changed: int) -> tuple[str, str]:
    """One prompt, or no control."""
    if n != 1:
        return "INCONCLUSIVE", f"{changed} of {n} outputs changed; give different prompts for a finding"
    what = "changed" if changed else "still passes"
    return "INCONCLUSIVE", f"n=1 shows no more than that this output {what}; give many prompts for a finding"


def _judged(measured: Measurement, q: float) -> tuple[str, str]:
    """The word for a share of outputs changed beside that of random controls, and why."""
    control = measured.controls[0]
    score = f"{measured.unit}: {estimate(measured.score, measured.low, measured.high)}"
    random = f"random coordinates reach {shown(control.score)}"
    if measured.groups < MINIMUM:
        return "INCONCLUSIVE", f"{score}; {measured.groups} prompts, {MINIMUM} are needed"
    if measured.high < THRESHOLD and control.low < MARGIN:
        return "NOT CAUSAL", f"{score}, less than {THRESHOLD:g}; {random}"
    if control.high < MARGIN:
        return "NOT SPECIFIC", f"{score}; {random}"
    if control.low < MARGIN or measured.low < THRESHOLD <= measured.high:
        return "INCONCLUSIVE", f"{score}; {random}; {THRESHOLD:g}, and a gain of {MARGIN:g}, is needed"
    if q > ALPHA:
        return "INCONCLUSIVE", f"{score}; q = {q:.2g} over the layers tried, at most {ALPHA:g} is needed"
    word = "CAUSAL" if measured.low >= THRESHOLD else "PARTLY CAUSAL"
    return word, f"{score}; {random}; q = {q:.2g} over the layers tried"


def _q(rows: Sequence[Row], measured: Sequence[Measurement | None], row: Row) -> float | None:
    """The false discovery rate of a row over all rows of its method."""
    family = {
        each.name: None if one is None else _p(one)
        for each, one in zip(rows, measured, strict=True)
        if each.method == row.method
    }
    return None if family[row.name] is None else benjamini_hochberg(family, list(family)).q[row.name]


def _p(measured: Measurement) -> float:
    """The p of all that its word needs at once (Berger 1982): a gain over random controls, or also a majority."""
    control = measured.controls[0]
    of_gain = implied_p(control.gain, control.low, control.high, MARGIN)
    if measured.score < THRESHOLD:
        return of_gain
    return max(of_gain, implied_p(measured.score, measured.low, measured.high, THRESHOLD))


def _joined(names: Sequence[str]) -> str:
    return "|".join(dict.fromkeys(names))
