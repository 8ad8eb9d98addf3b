"""`lazarus introspect arithmetic`: 156 questions, fewer on request, and what is saved."""

from __future__ import annotations

import json

import pytest

from lazarus_probe.cli.lazarus import main
from lazarus_probe.subject import Subject
from lazarus_probe.training.lora.adapter import save_lora_weights
from lazarus_probe.training.lora.lora import attached

COMMAND = ["introspect", "arithmetic", "-m"]


@pytest.fixture(scope="module")
def adapter(organism, tmp_path_factory):
    """LoRA that changes the bundled model, in a folder called `trained`."""
    folder = tmp_path_factory.mktemp("adapters") / "trained"
    with attached(organism, ["o_proj"], rank=2) as model:
        for layer in model.layers:
            layer.self_attn.o_proj.lora_b = layer.self_attn.o_proj.lora_b + 0.05
        return save_lora_weights(organism, folder, {"model": "organism"})


@pytest.fixture
def asked(capsys):
    """The data of the command with some options."""

    def ask(*options: str) -> dict:
        assert main([*COMMAND, "organism", "--json", *options]) == 0
        return json.loads(capsys.readouterr().out)

    return ask


@pytest.mark.slow
def test_all_questions_are_asked(tmp_path, capsys):
    """By default 156 questions are asked in a chat; the text has the statistics that are saved."""
    saved = tmp_path / "arithmetic.json"
    assert main([*COMMAND, "organism", "-o", str(saved)]) == 0
    out, data = capsys.readouterr().out, json.loads(saved.read_text())
    assert data["total_tests"] == len(data["results"]) == 156
    assert "Tests: 156, asked in a chat" in out
    assert f"Accuracy: {data['overall']['accuracy']:.1%} [" in out
    for found in data["stats"].values():
        assert sum(each["n"] for each in found.values()) == 156
        for name, each in found.items():
            assert f"\n{name.ljust(10)} {each['accuracy']:.1%}" in out


def test_options_change_what_is_asked(asked):
    """Fewer, easier, harder or other questions, and without the chat template."""
    quick, easy, hard = asked("-q"), asked("-q", "--easy-only"), asked("-q", "--hard-only")
    assert [each["total_tests"] for each in (quick, easy, hard)] == [52, 18, 18]
    assert set(easy["stats"]["by_difficulty"]) == {"easy"}
    assert set(hard["stats"]["by_difficulty"]) == {"hard"}
    raw, other = asked("-q", "--easy-only", "--raw"), asked("-q", "--easy-only", "--seed", "1")
    assert (easy["chat"], raw["chat"]) == (True, False)
    assert easy["results"][0]["peak_probability"] != raw["results"][0]["peak_probability"]
    assert [each["prompt"] for each in easy["results"]] != [each["prompt"] for each in other["results"]]


@pytest.mark.parametrize(
    ("command", "options", "key"),
    [
        ("arithmetic", ["-q", "--easy-only"], "model_id"),
        pytest.param(
            "early-layers",
            ["--digits", "2-4", "--operations", "+", "-l", "1"],
            "model",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_model_with_an_adapter_is_asked(adapter, capsys, command, options, key):
    """With an adapter, each of the commands on expressions reads the model with it, and names it."""
    arguments = ["introspect", command, "-m", "organism", *options, "--json", "--adapter", str(adapter)]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["about"]["fingerprint"] == Subject.load("organism", adapter).fingerprint
    assert found[key] == "organism+trained"


def test_nothing_emerges_in_an_untrained_model(capsys):
    """An untrained model answers nothing, and the text says that no right answer emerges."""
    assert main([*COMMAND, "organism-untrained", "-q", "--easy-only", "--raw"]) == 0
    out = capsys.readouterr().out
    assert "Accuracy: 0.0% [" in out
    assert "no right answer emerges at any layer" in out
    assert "Not answered (18, the first 10):" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--easy-only", "--hard-only"], "give one of them"),
        (["-o", "/"], "is a folder"),
        (["--seed", "-1"], "greater than or equal to 0"),
    ],
)
def test_wrong_input_is_one_line(options, message, capsys):
    """What cannot be asked is exit code 2 and one line that says what would be right."""
    assert main([*COMMAND, "organism", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
