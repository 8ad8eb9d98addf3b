"""`lazarus introspect logit-attribution`: what it prints and saves, and what each option changes."""

from __future__ import annotations

import json

import pytest

from lazarus_probe.cli.lazarus import main

COMMAND = ["introspect", "logit-attribution", "-m", "organism", "-p", "12 * 7 = "]


def run(capsys, *options):
    """The data of a run."""
    assert main([*COMMAND, "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_text_has_every_part_and_the_sum(capsys):
    """Parts stand in order, the sum beside the model's own logit, and the error is said."""
    assert main(COMMAND) == 0
    text = capsys.readouterr().out
    assert "Prompt: '12 * 7 = '\nLogit of '84'\n" in text
    lines = [
        line.split()[0] for line in text.splitlines() if line.startswith(("embed", "attn", "mlp", "bias"))
    ]
    assert lines == ["embed", *(f"{kind}_out.{i}" for i in range(8) for kind in ("attn", "mlp")), "bias"]
    total = next(line for line in text.splitlines() if line.startswith("Sum"))
    assert total.split()[4].rstrip(";") == total.split()[-1]
    assert "Largest error of a sum: " in text


def test_every_option_changes_what_comes_out(capsys, tmp_path):
    """Tokens, heads, many prompts from a file and the file of the data."""
    plain = run(capsys)
    assert plain["answer"] == ["84"]
    assert plain["other"] is None
    assert run(capsys, "--answer", "96")["total"][0] < plain["total"][0]
    file, prompts = tmp_path / "parts.json", tmp_path / "prompts.txt"
    heads = run(capsys, "--other", "96", "--heads", "-o", str(file))
    assert heads == json.loads(file.read_text())
    assert sum(part["part"].startswith("head_out") for part in heads["parts"]) == 32
    assert heads["total"][0] != plain["total"][0]
    prompts.write_text("12 * 7 = \n12 * 8 = \n")
    many = run(capsys, "-p", f"@{prompts}")
    assert many["prompts"] == ["12 * 7 = ", "12 * 8 = "]
    assert many["parts"][0]["low"] is not None
    assert main([*COMMAND, "--top", "3", "-p", f"@{prompts}"]) == 0
    text = capsys.readouterr().out
    assert "2 prompts: means over them" in text
    assert text.count("_out.") == 3


def test_words_are_taken_in_one_spelling(capsys):
    """`Paris` and `Oslo` are the tokens with their spaces, which the output says, as if these had been given."""
    prompt = ["-p", "The capital of France is"]
    assert main([*COMMAND, *prompt, "--answer", "Paris", "--other", "Oslo"]) == 0
    assert "Logit of ' Paris' minus logit of ' Oslo'" in capsys.readouterr().out
    words, spaced = (
        run(capsys, *prompt, "--answer", f"{space}Paris", "--other", f"{space}Oslo") for space in ("", " ")
    )
    assert words == spaced
    only = run(capsys, *prompt, "--other", "Oslo")
    assert only["total"] == pytest.approx(spaced["total"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-p", ""], "--prompt is empty"),
        (["--answer", "no such word"], "is not one token"),
        (["--top", "0"], "--top"),
        (["-p", "@/no/such/file"], "No such file"),
    ],
)
def test_wrong_input_is_one_line(capsys, options, message):
    """Exit code 2 and one line that says what is wrong."""
    assert main([*COMMAND, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
