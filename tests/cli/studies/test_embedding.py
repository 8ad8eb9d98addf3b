"""`lazarus introspect embedding`: what a user sees, and what is never said without its controls."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lazarus_probe.claims.expectations import read_claims
from lazarus_probe.claims.verdict import Outcome
from lazarus_probe.cli.lazarus import main
from lazarus_probe.cli.studies.embedding import absence_of, claim_of, interpretation, judged, text
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.geometry.similarity import similarity
from lazarus_probe.introspection.studies.embedding import ALL, EmbeddingResult, Sizes, embedding, task_types
from lazarus_probe.statistics.measurement import Control
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import control_models
from lazarus_probe.subject.relative_depth import EMBED
from lazarus_probe.training.lora.adapter import save_lora_weights
from lazarus_probe.training.lora.lora import attached

COMMAND = ["introspect", "embedding", "-m"]
REGISTERED = Path(__file__).parents[3] / "hypotheses" / "classifiers" / "expectations"


@pytest.fixture(scope="module")
def result(two_blocks, few_models) -> EmbeddingResult:
    """Products and sums, few of them."""
    return embedding(
        two_blocks, [0], ["multiply", "add"], sizes=Sizes(per_template=1, per_cell=1, answers=40)
    )


def words(result: EmbeddingResult) -> str:
    """The interpretation of a result."""
    return "\n".join(interpretation(result, judged(result)))


def with_task(result: EmbeddingResult, gain: float) -> EmbeddingResult:
    """The result with perfect detection of the task that gains so much over every control."""
    controls = tuple(
        Control(each.name, 1 - gain, gain, gain - 0.01, gain + 0.01)
        for each in result.tests["task"][EMBED].controls
    )
    task = replace(
        result.tests["task"][EMBED], score=1.0, low=0.97, high=1.0, groups=60, p=0.001, controls=controls
    )
    return replace(result, tests={**result.tests, "task": {**result.tests["task"], EMBED: task}})


def test_baked_in_is_said_where_the_controls_carry_it(result):
    """Perfect detection is called baked in where no control comes near, and not where one reaches it."""
    beyond, not_beyond = words(with_task(result, 0.3)), words(with_task(result, 0.01))
    assert "Task type is BAKED INTO embeddings (100% detection)" in beyond
    assert "BAKED" not in not_beyond
    assert "Task type is NOT shown to be in embeddings: confounded: " in not_beyond
    assert "100% detection; as much, within the margin, from the majority class (99.0%), a bag" in not_beyond


def test_not_in_embeddings_is_said_where_the_operands_are(result):
    """The answer is said not to be there where the same probe finds the operands' sum, and the model answers at all."""
    able = replace(result, unanswered="")
    low = replace(result.answer_absent, score=0.02, low=-0.05, high=0.07, groups=60, growth=None)
    found = replace(low, controls=(Control("operand_sum", 0.99, 0.97, 0.9, 1.0),))
    blind = replace(low, controls=(Control("operand_sum", 0.03, 0.01, -0.1, 0.1),))
    assert "Answer NOT in embeddings (requires computation)" in words(replace(able, answer_absent=found))
    assert "Answer NOT in embeddings" not in words(replace(able, answer_absent=blind))
    assert result.unanswered.startswith(
        "answers 0.00 of the multiply questions, the first 16 of them, asked as "
    )
    assert f"that it is not: not applicable: {result.unanswered}" in words(
        replace(result, answer_absent=found)
    )


def test_text_has_the_published_headings(result):
    """The headings and lines of the published output stand in their order, with interval and control on the line."""
    shown = "\n".join(text(result, judged(result)))
    wanted = [
        "TEST 1: TASK TYPE DETECTION",
        f"Task type from embeddings: {result.tests['task'][EMBED].score:.1%}  [",
        "Task type after L0: ",
        "TEST 2: ANSWER CORRELATION (arithmetic only)",
        f"Answer R2 from embeddings: {result.tests['answer'][EMBED].score:.3f}  [",
        "Answer R2 after L0: ",
        "TEST 3: EMBEDDING SIMILARITY ANALYSIS",
        f"Within arithmetic similarity: {result.cosines['within_arith_sim']:.4f}",
        "Within language similarity: ",
        "Between task similarity: ",
        "INTERPRETATION",
    ]
    places = [shown.index(line) for line in wanted]
    assert places == sorted(places)
    assert "best control: " in shown


def test_the_command_judges_by_the_claims_that_hypotheses_test(result):
    """Where a hypothesis asks the same, the command's claim is that very claim, threshold, margin and hash."""
    known, whole = read_claims(REGISTERED), replace(result, operations=ALL)
    pairs = {
        ("task", EMBED): "task-type-in-embeddings",
        ("task", 0): "task-type-after-layers",
        ("operation", EMBED): "operation-in-embeddings",
        ("operation", 0): "operation-after-layers",
        ("operand", EMBED): "operand-in-embeddings",
        ("operand", 0): "operand-after-layers",
        ("answer", 0): "answer-after-layers",
    }
    assert {claim_of(whole, *asked).hash for asked in pairs} == {known[name].hash for name in pairs.values()}
    assert absence_of(whole) == known["answer-not-in-embeddings"]


def test_other_questions_are_other_claims(result):
    """The registered claims are about products and all four operations; what asks less has ids of its own."""
    known, sums = read_claims(REGISTERED), replace(result, operations=("add",))
    asked = [claim_of(result, "operation", EMBED), claim_of(result, "operation", 0), absence_of(sums)]
    asked += [claim_of(sums, "answer", 0), claim_of(sums, "answer", EMBED)]
    assert not {claim.id for claim in asked} & set(known)


@pytest.mark.slow
def test_nothing_is_found_in_an_untrained_model(tmp_path, capsys):
    """On an untrained model nothing is called baked in, and no test of any place comes out supported."""
    saved = tmp_path / "base.json"
    assert main([*COMMAND, "organism-untrained", "-l", "0", "-o", str(saved)]) == 0
    out = capsys.readouterr().out
    data = json.loads(saved.read_text())
    assert "BAKED INTO" not in out
    assert "is in embeddings" not in out
    assert "NOT in embeddings" not in out
    assert "TEST 4: OPERATION TYPE DETECTION" in out
    assert [key for key, each in data["verdicts"].items() if each["outcome"] == Outcome.SUPPORTED] == []
    assert data["verdicts"]["answer_not_in_embedding"]["outcome"] == Outcome.NOT_APPLICABLE
    assert data["results"]["task_from_embedding"] > 0.7
    assert data["about"]["seed"] == data["seed"] == 0


@pytest.fixture(scope="module")
def adapter(organism, tmp_path_factory):
    """LoRA that changes the bundled model, in a folder called `trained`."""
    folder = tmp_path_factory.mktemp("adapters") / "trained"
    with attached(organism, ["o_proj"], rank=2) as model:
        for layer in model.layers:
            layer.self_attn.o_proj.lora_b = layer.self_attn.o_proj.lora_b + 0.05
        return save_lora_weights(organism, folder, {"model": "organism"})


@pytest.mark.slow
def test_options_change_what_is_asked(result, adapter, capsys):
    """One operation leaves no operation to tell; seed, layers and adapter are those of the numbers."""
    options = ["--operation", "mult", "-l", "1", "--seed", "1", "--adapter", str(adapter), "--json"]
    assert main([*COMMAND, "organism", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["operations"] == ["multiply"]
    assert "operation_from_embedding" in result.by_key
    assert "operation_from_embedding" not in found["results"]
    assert (found["model"], found["layers_analyzed"], found["seed"]) == ("organism+trained", [1], 1)
    templates = task_types(np.random.default_rng(1), 1, ["multiply"])
    assert found["num_arith_prompts"] == (templates.labels == "arithmetic").sum()
    other = task_types(np.random.default_rng(0), 1, ["multiply"])
    assert list(templates.prompts) != list(other.prompts)
    levels = similarity(
        Subject.load("organism", adapter),
        control_models(Subject.load("organism")),
        templates.prompts,
        templates.labels.tolist(),
        templates.groups.tolist(),
        Site("embed"),
    ).details
    assert found["results"]["within_arith_sim"] == pytest.approx(levels["arithmetic and arithmetic"])


def test_the_command_runs_the_study_that_was_asked_for(result, tmp_path, capsys, monkeypatch):
    """The study is given operations, layers and seed, and what it finds is printed and written."""
    calls, saved = [], tmp_path / "mult.json"

    def study(subject, layers, operations, *, seed, progress):
        calls.append((subject.name, list(layers), list(operations), seed))
        return result

    monkeypatch.setattr("lazarus_probe.introspection.studies.embedding.embedding", study)
    options = ["--operation", "mult", "-l", "0,3", "--seed", "2", "-o", str(saved)]
    assert main([*COMMAND, "organism", *options]) == 0
    assert calls == [("organism", [0, 3], ["multiply"], 2)]
    assert "\n".join(text(result, judged(result))) in capsys.readouterr().out
    assert json.loads(saved.read_text())["results"] == result.as_data()["results"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--operation", "power"], "'power' is not an operation"),
        (["--operation", ""], "is not an operation"),
        (["-l", "8"], "there is no layer 8; the model has 0 to 7"),
        (["-o", "/"], "is a folder"),
        (["--adapter", "nowhere"], "nowhere"),
    ],
)
def test_wrong_input_is_one_line(options, message, capsys):
    """What cannot be asked is exit code 2 and one line that says what would be right."""
    assert main([*COMMAND, "organism", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
