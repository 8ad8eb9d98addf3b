"""`lazarus introspect early-layers`: options, words that need their controls, wrong input."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lazarus_probe.claims.verdict import Outcome
from lazarus_probe.cli.lazarus import main
from lazarus_probe.cli.studies.early_layers import (
    EXTRACTABLE,
    default_layers,
    interpretation,
    judged,
    parse_numbers,
    text,
)
from lazarus_probe.introspection.studies.early_layers import EarlyLayersResult, early_layers

COMMAND = ["introspect", "early-layers", "-m"]
WORDS = ("extractable after", "mostly complete")


@pytest.fixture(scope="module")
def result(two_blocks, few_models) -> EarlyLayersResult:
    """Few products and sums."""
    return early_layers(two_blocks, [1], ["multiply", "add"], [2, 3, 4], positions=True)


def with_answer(result: EarlyLayersResult, layer: int, gain: float, alike: float) -> EarlyLayersResult:
    """The result with an answer read almost exactly after a layer, gaining so much over every control."""
    found = result.probes[layer]["answer"]
    controls = tuple(replace(each, gain=gain, low=gain - 0.005, high=gain + 0.005) for each in found.controls)
    answer = replace(found, score=0.99, low=0.98, high=1.0, groups=28, p=0.001, controls=controls)
    probes = {**result.probes, layer: {**result.probes[layer], "answer": answer}}
    return replace(result, probes=probes, mean_cosines={**result.mean_cosines, layer: (alike, alike)})


def words(result: EarlyLayersResult) -> str:
    """The interpretation of a result."""
    return "\n".join(interpretation(result, judged(result, EXTRACTABLE)))


def test_words_need_the_gain_over_controls(result):
    """An answer read to 0.99 is extractable, and the computation mostly complete, only beyond the controls."""
    beyond = words(with_answer(result, 1, gain=0.1, alike=0.97))
    assert "Answer extractable after L1 (R2 0.990)" in beyond
    assert "Computation mostly complete by L1" in beyond
    assert "Mean raw cosine of all expressions after L1: 0.970; in an untrained model 0.970" in beyond
    explained = words(with_answer(result, 1, gain=0.0, alike=0.97))
    assert not any(word in explained for word in WORDS)
    assert "Answer not shown to be computed" in explained


def test_text_has_every_part(result):
    """Similarities, probes by layer with interval and control, and with positions a row for each token and layer."""
    shown = "\n".join(text(result, judged(result, EXTRACTABLE)))
    assert "PART 1: REPRESENTATION SIMILARITY" in shown
    assert f"  Answer R2: {result.probes[1]['answer'].score:.3f}  [" in shown
    assert "the same, untrained" in shown
    assert "Cosines are centred on the other prompts of the run" in shown
    assert "second operand  L1" in shown


@pytest.mark.slow
def test_nothing_is_found_in_an_untrained_model(tmp_path, capsys):
    """On an untrained model no answer is extractable, though a probe reaches a high R2."""
    saved = tmp_path / "early.json"
    assert main([*COMMAND, "organism-untrained", "-l", "0,1", "-o", str(saved)]) == 0
    out, data = capsys.readouterr().out, json.loads(saved.read_text())
    assert not any(word in out for word in WORDS)
    assert data["num_prompts"] == 147
    assert data["probe_results"]["1"]["answer_r2"] > 0.8
    assert all(each["outcome"] != Outcome.SUPPORTED for each in data["verdicts"].values())


def test_operations_digits_and_layers_are_read(capsys):
    """Few expressions and one layer are those of the numbers."""
    options = ["--digits", "2-4", "-l", "0", "--operations", "+", "--json"]
    assert main([*COMMAND, "organism", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["operations"], found["digits"], found["num_prompts"]) == (["+"], [2, 3, 4], 9)
    assert list(found["probe_results"]) == ["0"]


@pytest.mark.slow
def test_options_change_what_is_asked(capsys):
    """Operations, digits, layers, positions and seed are those of the numbers."""

    def asked(*options: str) -> dict:
        assert main([*COMMAND, "organism", "--json", "--digits", "2-4", *options]) == 0
        return json.loads(capsys.readouterr().out)

    plain = asked("-l", "0", "--operations", "+")
    other = asked("-l", "0", "--operations", "+", "--seed", "1")
    divided = asked("-l", "-1", "--operations", "*,/", "--analyze-positions")
    assert (plain["operations"], plain["digits"], plain["num_prompts"]) == (["+"], [2, 3, 4], 9)
    assert plain["probe_results"] != other["probe_results"]
    assert (divided["layers"], divided["operations"]) == ([7], ["*", "/"])
    assert "position_results" in divided
    assert "position_results" not in plain


@pytest.mark.parametrize(
    ("depth", "layers"), [(3, [0, 1, 2]), (8, [0, 1, 2, 4, 7]), (24, [0, 1, 2, 4, 8]), (1, [0])]
)
def test_default_layers_exist(depth, layers):
    """By default only layers that the model has are read."""
    assert default_layers(depth) == layers


def test_numbers_are_ranges_and_lists():
    """Ranges and lists of numbers, in order and each once."""
    assert parse_numbers("7,2-4,3") == [2, 3, 4, 7]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--digits", "8-2"], "is not a number from 1 to 999"),
        (["--digits", "0-4"], "is not a number from 1 to 999"),
        (["--digits", "2-3"], "at least 3"),
        (["--digits", "1-99"], "at most 1500"),
        (["--operations", "%"], "'%' is not an operation"),
        (["-l", "0-8"], "there is no layer 8"),
        (["-o", "/"], "is a folder"),
    ],
)
def test_wrong_input_is_one_line(options, message, capsys):
    """What cannot be asked is exit code 2 and one line that says what would be right."""
    assert main([*COMMAND, "organism", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
