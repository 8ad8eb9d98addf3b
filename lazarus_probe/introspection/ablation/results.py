"""Completions with and without components, and what that shows of each component."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.ablation.conclusions import Conclusion, conclusions
from lazarus_probe.introspection.ablation.config import AblationConfig, AblationType
from lazarus_probe.introspection.ablation.criteria import is_coherent
from lazarus_probe.introspection.display import Cell, table
from lazarus_probe.statistics.measurement import Damage, Measurement
from lazarus_probe.statistics.rates import rate

CONTROL = "random_coordinates"


@dataclass(frozen=True, eq=False)
class Ablation:
    """Completions with some outputs replaced.

    Attributes:
        name: as in `L3`, `L3+4` or `random 1`.
        layers: those ablated together; empty for a random control.
        method: what outputs were replaced by.
        completions: (N,).
        passes: (N,) whether each passes its criterion.
        coordinates: how many were replaced.
        damage: what the same replacement does to unrelated prompts, where that was measured.
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
        layers: those ablated together.
        method: what outputs were replaced by.
        word: CAUSAL, PARTLY CAUSAL, INVERSE CAUSAL, NOT CAUSAL, NOT SPECIFIC, INCONCLUSIVE or BASELINE FAILS.
        reason: in one sentence.
        n: outputs that could change: those that passed, or where none did, those that failed.
        changed: how many did.
        low: of the 95% interval of the share changed.
        high: likewise.
        control: the share changed by random controls.
        q: false discovery rate over the layers tried, where a claim was judged.
        claim: the declared claim that the word is a verdict on; None where none was judged.
        damage: what the ablation does to unrelated prompts, where there are several prompts.
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
        task: what a report calls it.
        config: how it was run.
        prompts: (N,) as a report calls them.
        criteria: (N,) the names of what passes.
        original: (N,) completions of the unablated model.
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
        """The layers that are causal by themselves by the first method, controls and layers tried considered."""
        return [
            finding.layers[0]
            for finding in self.findings
            if finding.method == str(self.rows[0].method)
            and finding.word == "CAUSAL"
            and len(finding.layers) == 1
        ]

    @property
    def changed_layers(self) -> list[int]:
        """The layers without which some output passes that failed, or fails that passed."""
        return sorted({row.layers[0] for row in self.rows if len(row.layers) == 1 and self.flips(row).any()})

    def flips(self, ablation: Ablation) -> NDArray[np.bool_]:
        """(N,) whether an ablation changes if each output passes."""
        return np.asarray(ablation.passes != self.passes)

    def random_share(self, row: Ablation, passing: bool = True) -> float | None:
        """The share of outputs that random controls of equal size change, of those that pass or that fail."""
        drawn, eligible = self._drawn(row), self.passes == passing
        return float(drawn[:, eligible].mean()) if len(drawn) and eligible.any() else None

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
        first = ["none", "", *self.original, ""]
        return table(
            f"ablation: {self.config.component}",
            ["layer", "method", *self.prompts, "finding"],
            [first, *rows],
        )

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
        size = (row.method, row.coordinates)
        flips = [self.flips(one) for one in self.controls if (one.method, one.coordinates) == size]
        return np.array(flips, dtype=bool).reshape(len(flips), len(self.prompts))

    @property
    def _inverse(self) -> bool:
        """Whether it is about outputs that fail, and pass without a component: where none passes."""
        return not self.passes.any()

    def _measured(self, row: Ablation) -> Measurement | None:
        """The share of outputs that an ablation changes, compared with random controls, if it has an interval."""
        eligible, drawn = self.passes != self._inverse, self._drawn(row)
        units = [prompt for prompt, counts in zip(self.prompts, eligible, strict=True) if counts]
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
        eligible = self.passes != self._inverse
        n, changed = int(eligible.sum()), int(self.flips(row)[eligible].sum())
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
            control=self.random_share(row, not self._inverse),
            q=conclusion.q,
            claim=conclusion.claim,
            damage=row.damage,
        )


def _why_untested(n: int, changed: int) -> str:
    """One prompt, or no control."""
    if n != 1:
        return f"{changed} of {n} outputs changed; give different prompts for a finding"
    what = "changed" if changed else "still passes"
    return f"n=1 shows no more than that this output {what}; give many prompts for a finding"
