"""`lazarus introspect tuned-lens`: training, the files it leaves, reading, and what each option changes."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest

from lazarus_probe.cli.lazarus import main

COMMAND = ["introspect", "tuned-lens"]
TRAIN = [*COMMAND, "train", "-m", "organism", "--steps", "3", "--batch-size", "16"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a lens of three steps on prompts of a file."""
    folder = tmp_path_factory.mktemp("lens")
    texts = folder / "texts.txt"
    texts.write_text("\n".join(f"{a} * {b} = {a * b}" for a in range(2, 6) for b in range(3, 7)))
    assert main([*TRAIN, "--data", f"@{texts}", "-o", str(folder / "lens")]) == 0
    return folder / "lens", texts


def run(capsys, *arguments):
    """The data of a run."""
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_training_prints_the_divergences_beside_the_controls(trained, capsys, tmp_path):
    """Each layer has the plain and the tuned lens' with intervals, and both on an untrained model."""
    assert main([*TRAIN, "--data", f"@{trained[1]}", "-o", str(tmp_path / "lens")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "TUNED LENS: organism"
    assert lines[3].startswith("Texts: 16 of @")
    assert lines[6].split() == [
        "Layer", "Plain", "Tuned", "[95%]", "Plain", "-", "tuned", "[95%]", "Untrained:", "plain", "tuned",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[7:15]] == [f"L{layer}" for layer in range(8)]
    assert any(line.startswith("One constant distribution") and "untrained" in line for line in lines)
    assert lines[-1] == f"Lens saved to: {tmp_path / 'lens'}"


def test_options_of_training_change_the_lens(trained, capsys, tmp_path):
    """Steps, rate, batch, split, seed and data are those of the configuration that is saved."""
    lines = tmp_path / "texts.jsonl"
    lines.write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in trained[1].read_text().splitlines())
    )
    options = [
        "--learning-rate",
        "0.002",
        "--held-out",
        "0.4",
        "--seed",
        "1",
        "--no-untrained",
        "--data",
        str(lines),
    ]
    found = run(capsys, *TRAIN, *options, "-o", str(tmp_path / "a"))
    saved = json.loads((tmp_path / "a" / "tuned_lens.json").read_text())
    first = json.loads((trained[0] / "tuned_lens.json").read_text())
    assert found["untrained"] is None
    assert (saved["steps"], saved["learning_rate"], saved["batch_size"], saved["seed"]) == (3, 0.002, 16, 1)
    assert saved["held_out"] == found["held_out"]
    assert saved["held_out"]["texts"] == 6 > first["held_out"]["texts"]
    drawn = run(capsys, *TRAIN, "--samples", "12", "--no-untrained", "-o", str(tmp_path / "b"))
    assert drawn["held_out"]["layers"] != found["held_out"]["layers"]
    assert (drawn["texts"]["source"], drawn["texts"]["count"]) == ("sampled from the model", 12)
    assert json.loads((tmp_path / "b" / "tuned_lens.json").read_text())["texts"] == drawn["texts"]


def test_reading_shows_both_lenses(trained, capsys, tmp_path):
    """Layers, position, tokens and a file of prompts are as asked for; the last layer is exact."""
    read = [*COMMAND, "read", "-m", "organism", "--lens", str(trained[0])]
    assert main([*read, "-p", "12 * 7 = ", "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3] == "Prompt: '12 * 7 = '"
    assert lines[4].split() == ["Layer", "Tuned", "lens", "Plain", "lens"]
    assert lines[-1].split()[1] == "'84'"
    prompts, file = tmp_path / "prompts.txt", tmp_path / "read.json"
    prompts.write_text("12 * 7 = \n12 * 8 = ")
    found = run(capsys, *read, "-p", f"@{prompts}", "--layers", "2,-1", "--top", "3", "-o", str(file))
    assert json.loads(file.read_text()) == found
    assert [row["prompt"] for row in found["prompts"]] == ["12 * 7 = ", "12 * 8 = "]
    assert [one["layer"] for one in found["prompts"][0]["layers"]] == [2, 7]
    assert len(found["prompts"][0]["layers"][0]["tuned"]) == 3
    last = found["prompts"][1]["layers"][1]
    assert last["tuned"][0]["probability"] == pytest.approx(last["plain"][0]["probability"], abs=1e-5)
    elsewhere = run(capsys, *read, "-p", "12 * 7 = ", "--position", "2", "--layers", "2")
    assert elsewhere["prompts"][0]["layers"][0] != found["prompts"][0]["layers"][0]


def test_wrong_input_is_one_line(trained, capsys, tmp_path):
    """Exit code 2 and one line that says what is wrong; nothing is left behind."""
    read, lens = [*COMMAND, "read", "-p", "1 + "], str(trained[0])
    (tmp_path / "config.json").write_text("{}")
    for arguments, message in [
        ([*read, "-m", "organism-early", "--lens", lens], "the lens was trained on organism"),
        ([*read, "-m", "organism", "--lens", str(tmp_path)], "holds no tuned lens"),
        ([*read, "-m", "organism", "--lens", lens, "--position", "all"], "--position all"),
        ([*read, "-m", "organism", "--lens", lens, "--layers", "8"], "there is no layer 8"),
        ([*TRAIN, "-o", str(tmp_path)], "holds config.json"),
        ([*TRAIN, "-o", lens], "holds tuned_lens.json"),
        ([*TRAIN, "-o", str(tmp_path / "x"), "--data", "@y", "--samples", "20"], "leave one out"),
        ([*TRAIN, "-o", str(tmp_path / "config.json")], "is a file"),
        ([*TRAIN, "-o", str(tmp_path / "x"), "--data", "/no/such/file"], "No such file"),
        ([*TRAIN, "-o", str(tmp_path / "x"), "--held-out", "1"], "held_out is 1.0"),
    ]:
        capsys.readouterr()
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_an_interrupt_leaves_no_half_of_a_lens(trained, tmp_path):
    """Interrupted while it trains, the command ends between two steps and leaves nothing."""
    folder = tmp_path / "lens"
    timer = threading.Timer(0.8, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    code = main([*TRAIN, "--steps", "1000", "--data", f"@{trained[1]}", "-o", str(folder)])
    timer.cancel()
    assert code == 130
    assert not folder.exists()
