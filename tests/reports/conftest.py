from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from lazarus_probe.claims.attempt_record import Broken
from lazarus_probe.claims.baseline import held_against
from lazarus_probe.claims.baseline_record import BaselineRecord
from lazarus_probe.claims.claim import make_claim
from lazarus_probe.claims.families import correct
from lazarus_probe.claims.record import ClaimRecord, MeasurementRecord, ModelRecord
from lazarus_probe.claims.verdict import claim_p, judge
from lazarus_probe.reports.run import Run, make_run
from lazarus_probe.statistics.measurement import Control, Counterexample, Curve, Example, Grid, Measurement

KINDS = ("decodability", "causal_necessity", "absence", "invariance", "training_effect")
CONTROLS = (
    "majority",
    "bag_of_tokens",
    "token_embeddings",
    "untrained",
    "shuffled_labels",
    "random_position",
)
HOSTILE = (
    "</style></title><script>alert(1)</script>\" onload='x' \u202egnp.exe\x00 <img src=x> {{ 7*7 }} $x$ 日本"
)


@pytest.fixture(scope="session")
def make_record() -> Callable[..., ClaimRecord]:
    """The judged record of made-up numbers, told apart by `index`; keyword arguments say what it holds."""
    return made_record


@pytest.fixture(scope="session")
def hostile() -> str:
    """What a prompt may hold: markup, ends of what it stands in, an override of direction, NUL, other templates."""
    return HOSTILE


@pytest.fixture(scope="session")
def make_full_run() -> Callable[..., Run]:
    """A run of so many claims by layers with prompts, curves, maps, families, a broken test and a baseline."""
    return full_run


def made_record(index: int = 0, parameters: str = "", **having: object) -> ClaimRecord:
    text = having.get("text")
    claim = make_claim(
        {
            "id": f"claim-{index}",
            "statement": text
            or f"Property {index} is linearly readable after the layers, beyond what tokens give.",
            "source": text or "a guide, Key Findings",
            "family": f"family-{index % 5}",
            "kind": KINDS[index % len(KINDS)],
            "threshold": 0.5 if KINDS[index % len(KINDS)] not in ("absence", "invariance") else 0.2,
            "controls": CONTROLS[:2],
            "cases": 1,
        },
        "test",
    )
    model = ModelRecord(
        name=str(having.get("model", "tiny")), fingerprint="ab" * 32, num_layers=8, dtype="float32"
    )
    found = measurement(index, parameters, **having) if having.get("measured", True) else None
    verdict = judge(claim, found) if found else None
    outcome = verdict.outcome if verdict else "not applicable"
    return ClaimRecord(
        claim=claim, claim_hash=claim.hash, test=f"test_c.py::test_{index}[{model.name}-{parameters}]",
        parameters=parameters, model=model, outcome=outcome, alone=outcome,
        reason=text or (verdict.reason if verdict else "the model has no experts"), requirements=["it answers"],
        measurement=MeasurementRecord.model_validate(found.as_dict()) if found else None,
        p=claim_p(claim, found) if found else None, family={claim.id: 2}, known=having.get("known"),
    )  # fmt: skip


def measurement(index: int, parameters: str, **having: object) -> Measurement:
    rng = random.Random(f"{index} {parameters}")
    score, text = round(rng.uniform(0, 0.98), 3), having.get("text")
    controls = []
    for name in CONTROLS:
        gain = round(rng.uniform(-0.1, 0.7), 3)
        controls.append(Control(name, round(score - gain, 3), gain, gain - 0.06, gain + 0.05))
    lines = [Curve(name, tuple(range(-1, 7)), tuple(rng.random() for _ in range(8))) for name in CONTROLS]
    y = tuple(0.1 + 0.1 * layer for layer in range(8))
    band = {"low": tuple(v - 0.05 for v in y), "high": tuple(v + 0.06 for v in y)}
    columns = tuple(text or token for token in ["<bos>", "Calculate", ":", "47", "*", "47", "="] * 4)[
        : int(having.get("columns", 20))
    ]
    values = tuple(tuple(rng.uniform(-0.4, 1) for _ in columns) for _ in range(8))
    examples = tuple(
        Example(
            text or f"What is {i} * {index}?\nAnswer:",
            text or str(i * index),
            str(i * index + (i < 4)),
            i >= 4,
        )
        for i in range(int(having.get("examples", 6)))
    )
    counter = Counterexample("two-digit products in `one line`", examples[:2], 0.1, 0.02, 0.3, 64)
    return Measurement(
        score, max(score - 0.07, -1), score + 0.06, n=240, groups=48, unit="accuracy", controls=tuple(controls),
        p=0.001, tokens=4711, details={"site": text or "resid_post.3", "rates": [0.5, 1 / 3], text or "k": {"a": 1}},
        examples=examples,
        curves=(Curve("score", tuple(range(-1, 7)), y, **band), *lines) if having.get("curves") else (),
        grids=(Grid(text or "restored logit difference", tuple(f"L{i}" for i in range(8)), columns, values),)
        if having.get("grids")
        else (),
        counterexamples=(counter,) if having.get("counterexamples") else (),
    )  # fmt: skip


def full_run(claims: int = 6, layers: int = 3, **having: object) -> Run:
    records = []
    for index in range(claims):
        every = {**having, "curves": index % 3 == 0, "grids": index % 4 == 1, "counterexamples": index == 2}
        layered = layers > 1 and index % 4 != 1
        for layer in range(layers if layered else 1):
            parameters = f"L{layer}" if layered else ""
            record = made_record(index, parameters, measured=index != 5, **{**every, **having})
            before = BaselineRecord(
                outcome="supported" if layer == 0 else record.outcome, score=0.81, low=0.7, high=0.9,
                claim_hash=record.claim_hash, tokens=4000,
            )  # fmt: skip
            known = {record.key: before} if index % 3 == 0 else {}
            records += held_against([record], known)
    judged, families = correct(records)
    broken = [
        Broken(test="test_c.py::test_lost[tiny]", error=str(having.get("text", "ZeroDivisionError: by zero")))
    ]
    return make_run(
        judged, [7], ["hypotheses", "--probe-model=tiny"], partial=True, families=families, broken=broken
    )
