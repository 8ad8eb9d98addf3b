"""What ablations show, compared with random ablations of equal size.

Every word comes from a verdict on a declared claim (`claims/declared/causes.yaml`): a layer is called causal only when
most outputs that passed fail without it, more than fail without as many coordinates drawn at random over all layers,
and when that stands against the number of layers tried. One prompt shows no more than that one output changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.declared import declared
from lazarus_probe.claims.judging import judge_together, q_values
from lazarus_probe.claims.verdict import Outcome, Verdict
from lazarus_probe.introspection.ablation.criteria import is_coherent
from lazarus_probe.introspection.ablation.runs import AblationConfig, Row
from lazarus_probe.introspection.display import Cell, table
from lazarus_probe.statistics.measurement import Damage, Measurement
from lazarus_probe.statistics.rates import rate

CONTROL = "random_coordinates"
NEEDED, PARTLY, SUPPRESSES = "component-needed", "component-partly-needed", "component-suppresses"


@dataclass(frozen=True)
class Finding:
    """The result of one ablation.

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
        prompts: (N,) as they were given.
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
    rows: tuple[Row, ...]
    controls: tuple[Row, ...]

    @cached_property
    def findings(self) -> list[Finding]:
        """The result of each ablation, in the order of `rows`; those of one method are one family for each claim."""
        measured = [self._measured(row) for row in self.rows]
        words: dict[int, _Word] = {}
        for method in dict.fromkeys(row.method for row in self.rows):
            of_method = {
                i: one
                for i, (row, one) in enumerate(zip(self.rows, measured, strict=True))
                if row.method == method and one is not None
            }
            tried = sum(row.method == method for row in self.rows)
            words |= _inverse_words(of_method, tried) if self._inverse else _words(of_method, tried)
        return [
            self._finding(row, one, words.get(i))
            for i, (row, one) in enumerate(zip(self.rows, measured, strict=True))
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
        """The share of outputs that an ablation changes, next to random controls; None where it cannot be measured."""
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
            damage=row.damage,
        )

    def _finding(self, row: Row, measured: Measurement | None, word: _Word | None) -> Finding:
        of = self.passes != self._inverse
        n, changed = int(of.sum()), int(self.flips(row)[of].sum())
        word = _single(n, changed) if word is None else word
        if self._inverse and word.word != "INVERSE CAUSAL":
            passed = f"; without {row.name} {changed} of {n} pass" if changed else ""
            reason = f"the whole model fails all {n}, so there is nothing to break{passed}"
            word = replace(word, word="BASELINE FAILS", reason=reason)
        return Finding(
            row.name,
            row.layers,
            str(row.method),
            word.word,
            word.reason,
            n,
            changed,
            low=None if measured is None else measured.low,
            high=None if measured is None else measured.high,
            control=self.random_share(row, not self._inverse),
            q=word.q,
            claim=word.claim,
            damage=row.damage,
        )


@dataclass(frozen=True)
class _Word:
    word: str
    reason: str
    q: float | None = None
    claim: str | None = None


def _single(n: int, changed: int) -> _Word:
    """One prompt, or no control."""
    if n != 1:
        return _Word(
            "INCONCLUSIVE", f"{changed} of {n} outputs changed; give different prompts for a finding"
        )
    what = "changed" if changed else "still passes"
    reason = f"n=1 shows no more than that this output {what}; give many prompts for a finding"
    return _Word("INCONCLUSIVE", reason)


def _words(measured: Mapping[int, Measurement], tried: int) -> dict[int, _Word]:
    """The word for each share of outputs changed: from the verdict that most fail, or else from that some do."""
    most, some = (_judged(claim_id, measured, tried) for claim_id in (NEEDED, PARTLY))
    return {i: _word(most[i], some[i]) for i in measured}


def _word(most: _Judged, some: _Judged) -> _Word:
    if most.verdict.outcome is Outcome.SUPPORTED:
        return most.worded("CAUSAL")
    if most.verdict.outcome is Outcome.CONFOUNDED:
        return most.worded("NOT SPECIFIC")
    if most.verdict.outcome is Outcome.INCONCLUSIVE:
        return most.worded("INCONCLUSIVE")
    if some.verdict.outcome is Outcome.SUPPORTED:
        return some.worded("PARTLY CAUSAL")
    return most.worded("NOT CAUSAL")


def _inverse_words(measured: Mapping[int, Measurement], tried: int) -> dict[int, _Word]:
    """INVERSE CAUSAL where most failing outputs pass without a component; else there is nothing to break."""
    judged = _judged(SUPPRESSES, measured, tried)
    return {
        i: each.worded("INVERSE CAUSAL" if each.verdict.outcome is Outcome.SUPPORTED else "BASELINE FAILS")
        for i, each in judged.items()
    }


@dataclass(frozen=True)
class _Judged:
    """A verdict on a declared claim, with its q over the layers tried."""

    claim: str
    verdict: Verdict
    q: float

    def worded(self, word: str) -> _Word:
        q = f"; q = {self.q:.2g} over the layers tried" if self.verdict.outcome is Outcome.SUPPORTED else ""
        return _Word(word, f"{self.verdict.reason}{q}", self.q, self.claim)


def _judged(claim_id: str, measured: Mapping[int, Measurement], tried: int) -> dict[int, _Judged]:
    """The verdicts on a claim, by row, among all layers tried."""
    tests, untested = (
        {str(i): (declared(claim_id), one) for i, one in measured.items()},
        tried - len(measured),
    )
    verdicts, q = judge_together(tests, untested), q_values(tests, untested=untested)
    return {i: _Judged(claim_id, verdicts[str(i)], q[str(i)]) for i in measured}


def _joined(names: Sequence[str]) -> str:
    return "|".join(dict.fromkeys(names))
