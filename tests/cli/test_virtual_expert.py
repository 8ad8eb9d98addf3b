"""`lazarus experiment virtual-expert`: its tables, its JSON, and errors in one line."""

from __future__ import annotations

import json

import pytest

from lazarus_probe.cli import lazarus
from lazarus_probe.subject import Subject
from lazarus_probe.training.lora.adapter import save_adapter
from lazarus_probe.training.lora.lora import attached

COMMAND = ["experiment", "virtual-expert", "-m", "organism", "--per-kind", "4"]


def test_trains_routes_and_writes(tmp_path, capsys):
    """A run prints losses, routers, kinds and times, and writes them as JSON."""
    file = tmp_path / "expert.json"
    assert lazarus.main([*COMMAND, "--steps", "2", "--output", str(file)]) == 0
    printed = capsys.readouterr().out
    for text in ("Cls Loss", "classifier_signal", "bag_of_tokens", "large verbal", f"written: {file}"):
        assert text in printed
    found = json.loads(file.read_text())
    assert found["model"] == "organism"
    assert found["training"]["steps"] == 2
    assert found["layer"] == 4
    assert [each["name"] for each in found["routers"]][:3] == [
        "classifier_signal", "model_alone", "tuned_model_alone",
    ]  # fmt: skip
    regex = next(each for each in found["routers"] if each["name"] == "regex")
    assert regex["decisions"]["share"] == 1
    assert set(found["latency"] or {"calculated": 0}) >= {"calculated"}


@pytest.mark.slow
def test_takes_an_adapter(tmp_path, capsys):
    """With an adapter nothing is trained: one that changes nothing answers as the model alone."""
    subject = Subject.load("organism")
    with attached(subject, ["v_proj", "o_proj"], rank=2):
        save_adapter(subject, tmp_path / "adapter", base="organism")
    file = tmp_path / "expert.json"
    assert lazarus.main([*COMMAND, "--adapter", str(tmp_path / "adapter"), "-o", str(file)]) == 0
    assert "Cls Loss" not in capsys.readouterr().out
    found = json.loads(file.read_text())
    assert found["training"] is None
    of = {each["name"]: each for each in found["routers"]}
    assert of["tuned_model_alone"]["answers"] == of["model_alone"]["answers"]
    assert of["classifier_signal"]["routed_by_kind"] == of["untuned_lens"]["routed_by_kind"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--output", "/dev/null/expert.json"],
            "--output /dev/null/expert.json: /dev/null is a file; give another place",
        ),
        (["--layer", "7"], "classifier layer 7 is the last"),
        (["--layer", "8"], "classifier layer 8 is out of range"),
    ],
)
def test_bad_input_is_one_line(capsys, arguments, message):
    """What cannot be done is said before anything is trained, in one line."""
    assert lazarus.main([*COMMAND, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
