"""For every claim, what a perfect subject would measure on the claim's own material, through the package's statistics.

The groups are those that the hypothesis file would measure, drawn by the same functions. A perfect measurement has the
score 1 in every row and the controls at what chance gives; of an absence, the score 0 and the positive controls at 1.
A hopeless one has controls as high as the score.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.claim import POSITIVE, Claim
from lazarus_probe.claims.falsify import Rows, falsify
from lazarus_probe.experiments.classifier_emergence.measures import arms_of, measure
from lazarus_probe.experiments.mixture import mixture
from lazarus_probe.introspection.geometry.tuning import Change, changed, unchanged
from lazarus_probe.statistics.clustered import paired_interval
from lazarus_probe.statistics.difference import difference_interval
from lazarus_probe.statistics.folds import halves_of_units
from lazarus_probe.statistics.measurement import Control, Measurement, Part
from lazarus_probe.statistics.rates import rate, unpaired_control
from lazarus_probe.tasks import language, prompts
from lazarus_probe.tasks.arithmetic import Fact

ROOT = Path(__file__).parents[2]
MODELS = 5  # control models of a kind
LAYERS = 24  # with experts, of the published mixture
MODEL_KINDS = (
    "untrained",
    "new_blocks",
    "permuted_blocks",
    "random_direction",
    "shuffled_labels",
    "random_state",
)
Generator = np.random.Generator
Builder = Callable[[Claim, Generator, bool], list[Measurement]]


@cache
def hypothesis(name: str) -> Any:
    """A file of hypotheses/ as a module, under a name of its own."""
    (path,) = (ROOT / "hypotheses").rglob("conftest.py" if name == "conftest" else f"test_{name}.py")
    spec = importlib.util.spec_from_file_location(f"hypotheses_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


# ------------------------------------------------------------------------------------ rates over prompts
def of_units(claim: Claim, units: Any, perfect: bool, of_models: Sequence[str] = MODEL_KINDS) -> Measurement:
    """A rate over rows of these units with the claim's controls; what else it asks for is there in full."""
    names = next(iter(units.values())) if isinstance(units, Mapping) else units
    count = len(names)
    absent = claim.kind in POSITIVE
    score = np.zeros(count) if absent else np.ones(count)
    reached = np.full(count, float(absent) if perfect else score[0])
    controls = {
        name: np.stack([reached] * MODELS) if name in of_models and not absent else reached
        for name in claim.controls
    }
    measured = rate("score", score, units, controls, positive=tuple(controls) if absent else ())
    return replace(measured, parts=tuple(Part(name, 1.0, 1.0, 1.0, count) for name in claim.parts))


def families(questions: Sequence[prompts.Question]) -> list[str]:
    return [question.family for question in questions]


def of_facts(facts: Sequence[Fact]) -> list[str]:
    return [str(fact.family) for fact in facts]


def confirmed(units: Sequence[str]) -> list[str]:
    """The units of the half that is tested."""
    return [units[row] for row in halves_of_units(units, np.random.default_rng(0))[1]]


def digit_facts(*operations: str) -> list[Fact]:
    return [Fact(operation, a, b) for operation in operations for a in range(2, 10) for b in range(2, 10)]


def with_capitals(claim: Claim, rng: Generator, perfect: bool, phrasings: Sequence[str]) -> list[Measurement]:
    """As `vocabulary_alignment`: the word put in is read on the same prompts, capitals are on others."""
    countries = [name for name in language.CAPITALS for _ in range(3)]
    measured = []
    for phrasing in phrasings:
        questions = prompts.questions(rng, int(claim.parameters["per_operation"]), phrasings=[phrasing])
        words = claim.model_copy(update={"controls": ("word_put_in",)})
        named = of_units(words, families(questions), perfect)
        read = np.full(len(countries), float(perfect))
        capitals = unpaired_control("capital_at_last_layer", named, read, countries, positive=True)
        measured.append(_with(named, (*named.controls, capitals)))
    return measured


def _with(measured: Measurement, controls: Sequence[Control]) -> Measurement:
    return Measurement(**{**vars(measured), "controls": tuple(controls)})


def early_mlp(claim: Claim, rng: Generator, perfect: bool) -> list[Measurement]:
    """As `layers_ablation_effect`: other layers on the same calls, and the other task on capitals."""
    count = int(claim.parameters["calls"])
    calls, capitals = (
        [pool[i].subject for i in rng.choice(len(pool), count, replace=False)]
        for pool in (list(language.tool_calls()), list(language.capitals()))
    )
    measured = of_units(claim.model_copy(update={"controls": ("other_layers",)}), calls, perfect)
    other = unpaired_control("other_task", measured, np.full(count, float(not perfect)), capitals)
    return [_with(measured, (*measured.controls, other))]


def gate(claim: Claim, rng: Generator, perfect: bool) -> list[Measurement]:
    """As `differential_ablation`, on the half that confirms: hard answers all broken, easy ones none."""
    drawn = {
        kind: prompts.products(kind, int(claim.parameters["per_difficulty"]), rng)
        for kind in prompts.DIFFICULTIES
    }
    kinds = np.array([kind for kind, facts in drawn.items() for _ in facts])
    units = np.array([str(fact.family) for facts in drawn.values() for fact in facts])
    half = np.isin(np.arange(len(units)), halves_of_units(units, np.random.default_rng(0))[1])
    of_kind = {kind: units[half & (kinds == kind)] for kind in drawn}
    score, interval = _gap(of_kind["prime"], of_kind["trivial"])
    gains = {"random_neurons": of_kind["trivial"], "factorisable": of_kind["factorisable"]}
    controls = []
    for name, other in gains.items():
        gain, of_gain = _gap(of_kind["prime"], other, broken=float(perfect))
        controls.append(Control(name, score - gain, gain, of_gain.low, of_gain.high))
    groups = min(len(set(of_kind[kind].tolist())) for kind in ("prime", "trivial"))
    one = Measurement(
        score, interval.low, interval.high, int(half.sum()), groups, "gap", tuple(controls), floor=-1.0
    )
    return [one] * 3


def _gap(hard: NDArray[Any], easy: NDArray[Any], broken: float = 1.0) -> tuple[float, Any]:
    shares = [
        (value, paired_interval(np.full(len(units), value), units))
        for value, units in ((broken, hard), (0.0, easy))
    ]
    return shares[0][0] - shares[1][0], difference_interval(*shares[0], *shares[1])


# ------------------------------------------------------------------------------------ searches over slices
def every_slice(claim: Claim, perfect: bool, slices: Sequence[Any], **cost: int) -> list[Measurement]:
    """As the hypothesis searches: every question counts, and every slice is reached by the declared budget."""
    score = 0.0 if claim.kind in POSITIVE else 1.0

    def scored(drawn: Sequence[Any]) -> Rows:
        first = [one[0] if isinstance(one, tuple) else one for one in drawn]
        rows = [
            row
            for row, question in enumerate(first)
            if claim.kind not in POSITIVE or question.fact.a != question.fact.b
        ]
        texts = [first[row].text for row in rows]
        return Rows(
            [drawn[row] for row in rows],
            [score] * len(rows),
            [first[row].family for row in rows],
            texts,
            texts,
            texts,
        )

    search = falsify(claim, scored, slices, seed=0, budget=int(claim.parameters["budget"]), **cost)
    reached = np.full(len(search.rows.items), 1 - score if perfect else score)
    controls = {
        name: np.stack([reached] * MODELS) if name == "untrained" else reached for name in claim.controls
    }
    return [search.measurement("score", **controls)]


# ------------------------------------------------------------------------------------ training and pairs
def of_runs(claim: Claim, _: Generator, perfect: bool) -> list[Measurement]:
    """The study's own measurement of runs that all learn, or where every arm does."""
    count, items = int(claim.parameters["runs"]), 10
    learned = {str(claim.parameters["arm"])} | {str(claim.parameters.get("against"))}
    if claim.kind == "invariance" and "over" not in claim.parameters:
        learned |= {"none"} if claim.parameters["against"] == "none" else set()
    if not perfect:
        learned |= set(arms_of(claim))
    runs = {
        arm: [_run(str(claim.parameters["reads"]), float(arm in learned), items)]
        * (1 if arm == "none" else count)
        for arm in arms_of(claim)
    }
    labels = ["a"] * 3 + ["b"] * 3 + ["c"] * 4
    return [measure(claim, runs, labels=labels)]


def _run(reads: str, value: float, items: int) -> Any:
    parts = dict.fromkeys(("named", "probability", "both", "answered", "others", "decoded"), np.array([]))
    return SimpleNamespace(
        arm="", trainable=0, ranks={}, reading=SimpleNamespace(**{**parts, reads: np.full(items, value)})
    )


def routed(claim: Claim, _: Generator, perfect: bool) -> list[Measurement]:
    """Every decision right, in the templates of the measured side."""
    measured = mixture("measure", int(claim.parameters["per_kind"]))
    templates = [example.template for example in measured] * len(claim.parameters["seeds"])
    return [of_units(claim, templates, perfect, of_models=())]


def pair(units_of: Callable[[Claim, Generator], Sequence[str]], *, loss: bool = False) -> Builder:
    """All that tuning can change, from 0 to 1, or nothing; controls the other way round."""

    def built(claim: Claim, rng: Generator, perfect: bool) -> list[Measurement]:
        units = np.array(list(units_of(claim, rng)))
        ones, zeros = np.ones(len(units)), np.zeros(len(units))
        moved, still = (
            Change(zeros if loss else ones, ones if loss else zeros, units),
            Change(ones, ones, units),
        )
        model = SimpleNamespace(name="model", fingerprint="none")
        if claim.kind == "invariance":
            other = Change(zeros, ones, units) if perfect else still
            return [unchanged(model, model, still, dict.fromkeys(claim.controls, other), "score")]
        other = still if perfect else moved
        return [changed(model, model, moved, dict.fromkeys(claim.controls, other), "score", loss=loss)]

    return built


def rates(units_of: Callable[[Claim, Generator], Any], cases: int = 1) -> Builder:
    """A rate over these units, in as many cases."""
    return lambda claim, rng, perfect: [of_units(claim, units_of(claim, rng), perfect) for _ in range(cases)]
