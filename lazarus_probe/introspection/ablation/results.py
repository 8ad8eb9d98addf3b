"""Completions with and without components, and the conclusion on each component."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.ablation.conclusions import Conclusion, conclusions
from lazarus_probe.introspection.ablation.config import AblationConfig, AblationType
from lazarus_probe.introspection.ablation.criteria import is_coherent
from lazarus_probe.statistics.measurement import Damage, Measurement
from lazarus_probe.statistics.rates import rate
from lazarus_probe.tables import Cell, Table

CONTROL = "random_coordinates"


@dataclass(frozen=True, eq=False)
class Ablation:
    """Completions with some outputs replaced.

    Attributes:
        name: as in `L3`, `L3+4` or `random 1`.
        layers: ablated together; empty for a random control.
        method: what replaced outputs.
        completions: (N,).
        passes: (N,) whether each passes its criterion.
        coordinates: number replaced.
        damage: of the replacement on unrelated prompts, where it was measured.
    """

    name: str
    layers: tuple[int, ...]
    method: AblationType
    completions: tuple[str, ...]
    passes: NDArray[np.bool_]
    coordinates: int
    damage: Damage | None = None


@dataclass(frozen=True)
class Finding:
    """The result of one ablation.

    Attributes:
        name: of the layers, as in `L3+4`.
        layers: ablated together.
        method: what replaced outputs.
        word: CAUSAL, PARTLY CAUSAL, INVERSE CAUSAL, NOT CAUSAL, NOT SPECIFIC, INCONCLUSIVE or BASELINE FAILS.
        reason: in one sentence.
        n: outputs that could change: those that passed, or if none did, those that failed.
        changed: number that did.
        low: lower bound of the 95% interval of the share changed.
        high: upper bound.
        control: the share changed by random controls.
        q: false discovery rate over the layers tried, if a claim was judged.
        claim: the declared claim that the word is a verdict on, if any.
        damage: of the ablation on unrelated prompts, where there are several prompts.
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
    claim: str | None = None
    damage: Damage | None = None


@dataclass(frozen=True, eq=False)
class Ablations:
    """Completions of the unablated model, and those without each of some components.

    Attributes:
        task: its name in reports.
        config: of the runs.
        prompts: (N,) their names in reports.
        criteria: (N,) names of the criteria.
        original: (N,) completions of the unablated model.
        passes: (N,) whether those pass.
        rows: the ablations.
        controls: ablations of as many coordinates drawn at random.
    """

    task: str
    config: AblationConfig
    prompts: tuple[str, ...]
    criteria: tuple[str, ...]
    original: tuple[str, ...]
    passes: NDArray[np.bool_]
    rows: tuple[Ablation, ...]
    controls: tuple[Ablation, ...]

    @cached_property
    def findings(self) -> list[Finding]:
        """The result of each ablation, in the order of `rows`; those of one method are one family for each claim."""
        measured = [self._measured(row) for row in self.rows]
        concluded: dict[int, Conclusion] = {}
        for method in dict.fromkeys(row.method for row in self.rows):
            family = {i: measured[i] for i, row in enumerate(self.rows) if row.method == method}
            concluded |= conclusions(family, inverse=self._inverse)
        return [self._finding(row, measured[i], concluded.get(i)) for i, row in enumerate(self.rows)]

    @property
    def causal_layers(self) -> list[int]:
        """The single layers that are CAUSAL by the first method."""
        return [
            finding.layers[0]
            for finding in self.findings
            if finding.method == str(self.rows[0].method)
            and finding.word == "CAUSAL"
            and len(finding.layers) == 1
        ]

    @property
    def changed_layers(self) -> list[int]:
        """The single layers without which some output changes from pass to fail, or back."""
        return sorted({row.layers[0] for row in self.rows if len(row.layers) == 1 and self.flips(row).any()})

    def flips(self, ablation: Ablation) -> NDArray[np.bool_]:
        """(N,) whether an ablation changes each output from pass to fail, or back."""
        return np.asarray(ablation.passes != self.passes)

    def random_share(self, row: Ablation) -> float | None:
        """The share of the outputs that could change that random controls of the same size change."""
        drawn = self._drawn(row)[:, self._eligible]
        return float(drawn.mean()) if drawn.size else None

    @property
    def table(self) -> Table:
        """Ablations by prompts, with the completions; those that flip are shaded."""
        rows = [
            [
                row.name,
                str(row.method),
                *(
                    Cell(text, shade=-0.4 if flip else 0.0)
                    for text, flip in zip(row.completions, self.flips(row), strict=True)
                ),
                finding.word,
            ]
            for row, finding in zip(self.rows, self.findings, strict=True)
        ]
        return Table(
            ["layer", "method", *self.prompts, "finding"],
            [["none", "", *self.original, ""], *rows],
            f"ablation: {self.config.component}",
        )

    def as_data(self) -> dict[str, Any]:
        """Plain data: the published keys first."""
        return {
            "task_name": self.task,
            "criterion_name": "|".join(dict.fromkeys(self.criteria)),
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
        return self.table.html()

    def _results(self, row: Ablation) -> list[dict[str, Any]]:
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
                "coordinates": row.coordinates,
            }
            for prompt, criterion, before, text, passes, flip in zip(
                self.prompts,
                self.criteria,
                self.original,
                row.completions,
                row.passes,
                self.flips(row),
                strict=True,
            )
        ]

    def _drawn(self, row: Ablation) -> NDArray[np.bool_]:
        """(draws, N) what random controls of an ablation's size and method change."""
        flips = [
            self.flips(control)
            for control in self.controls
            if (control.method, control.coordinates) == (row.method, row.coordinates)
        ]
        return np.array(flips, dtype=bool).reshape(len(flips), len(self.prompts))

    @property
    def _inverse(self) -> bool:
        """Whether no output passes, so that the question is which pass without a component."""
        return not self.passes.any()

    @property
    def _eligible(self) -> NDArray[np.bool_]:
        """(N,) the outputs that could change: those that pass, or if none does, those that fail."""
        return np.asarray(self.passes != self._inverse)

    def _measured(self, row: Ablation) -> Measurement | None:
        """The share of outputs that an ablation changes, compared with random controls, if it has an interval."""
        eligible, drawn = self._eligible, self._drawn(row)
        units = [self.prompts[i] for i in np.flatnonzero(eligible)]
        if len(set(units)) < 2 or not len(drawn):
            return None
        kind = "failing outputs that pass" if self._inverse else "passing outputs that fail"
        return rate(
            f"share of the {kind} without {row.name}",
            self.flips(row)[eligible],
            units,
            {CONTROL: drawn[:, eligible].mean(axis=0)},
            seed=self.config.seed,
            damage=row.damage,
        )

    def _finding(self, row: Ablation, measured: Measurement | None, conclusion: Conclusion | None) -> Finding:
        n, changed = int(self._eligible.sum()), int(self.flips(row)[self._eligible].sum())
        conclusion = conclusion or Conclusion("INCONCLUSIVE", _why_untested(n, changed))
        if self._inverse and conclusion.word != "INVERSE CAUSAL":
            passed = f"; without {row.name} {changed} of {n} pass" if changed else ""
            reason = f"the unablated model fails all {n}, so there is nothing to break{passed}"
            conclusion = replace(conclusion, word="BASELINE FAILS", reason=reason)
        return Finding(
            row.name,
            row.layers,
            str(row.method),
            conclusion.word,
            conclusion.reason,
            n,
            changed,
            low=None if measured is None else measured.low,
            high=None if measured is None else measured.high,
            control=self.random_share(row),
            q=conclusion.q,
            claim=conclusion.claim,
            damage=row.damage,
        )


def _why_untested(n: int, changed: int) -> str:
    if n != 1:
        return f"{changed} of {n} outputs changed; give different prompts for a finding"
    outcome = "changed" if changed else "still passes"
    return f"n=1 shows no more than that this output {outcome}; give many prompts for a finding"
