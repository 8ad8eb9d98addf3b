"""`lazarus introspect generate`: what a user sees of a model's words and of where the answer begins."""

from __future__ import annotations

import json

import pytest

from lazarus_probe.cli.lazarus import main

COMMAND = ["introspect", "generate", "-m", "organism"]


def data(capsys, *arguments):
    """What the command prints with --json."""
    assert main([*COMMAND, *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_published_command_lines_run(capsys):
    """Both lines of the guide print the output, the onset, the tokens and every format."""
    assert main([*COMMAND, "-p", "2 + 2 =", "--compare-format", "--show-tokens"]) == 0
    shown = capsys.readouterr().out
    for text in (
        "Prompt: '2 + 2 =' (chat template, 9 tokens)",
        "expected 4, begins in token 0",
        "Format comparison:",
    ):
        assert text in shown
    assert shown.count("Tokens (") == 5
    assert main([*COMMAND, "-p", "2 + 2 =", "--raw"]) == 0
    shown = capsys.readouterr().out
    assert "(plain text, 6 tokens)" in shown
    assert "Output: ' 4'\nAnswer: expected 4, begins in token 1 (answer first)" in shown


def test_the_data_has_the_published_keys(capsys, tmp_path):
    """One prompt is one result; its file is what is printed; comparisons are the four formats."""
    found = data(capsys, "-p", "47 * 47 = ", "-c", "-o", str(tmp_path / "out.json"))
    published = ["generated_text", "tokens", "prompt", "expected_answer", "answer_found", "answer_onset"]
    assert list(found)[:8] == [*published, "is_answer_first", "has_trailing_space"]
    assert (found["expected_answer"], found["answer_onset"], found["has_trailing_space"]) == ("2209", 0, True)
    assert found["tokens"] == ["220", "9"]
    formats = [(one["format"], one["has_trailing_space"]) for one in found["comparison_results"]]
    assert formats == [("raw", False), ("raw", True), ("chat", False), ("chat", True)]
    assert json.loads((tmp_path / "out.json").read_text()) == found
    assert found["about"]["model"] == "organism"


def test_every_option_changes_what_comes_out(capsys):
    """Limits, temperatures, seeds, answers and formats all act; several prompts are several results."""
    assert data(capsys, "-p", "47 * 47 = ", "-n", "1")["generated_text"] == "220"
    sampled = [
        data(capsys, "-p", "Once upon|Once upon", "-t", "3", "--seed", seed)["results"] for seed in "01"
    ]
    assert sampled[0] != sampled[1]
    assert main([*COMMAND, "-p", "a", "--seed", "1"]) == 2
    assert "--seed has no effect at temperature 0; leave it out" in capsys.readouterr().err
    assert sampled[0][0]["generated_text"] != sampled[0][1]["generated_text"]
    many = data(capsys, "-p", "2 + 2 = |The capital of France is", "--expected", "5|Paris")["results"]
    assert [one["answer_found"] for one in many] == [False, True]
    assert data(capsys, "-p", "The capital of France is")["answer_found"] is None
    assert [one["format"] for one in data(capsys, "-p", "a", "-c", "--raw")["comparison_results"]] == [
        "raw",
        "raw",
    ]


def test_prompts_come_from_a_file(capsys, tmp_path):
    """Each line is a prompt with its spaces, and how many answers were found is counted."""
    file = tmp_path / "prompts.txt"
    file.write_text("2 + 2 = \n3 + 4 = \nhello\n")
    assert main([*COMMAND, "-p", f"@{file}", "--raw"]) == 0
    assert "Answer found: 2/2   Answer first: 2/2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "a||b"], "prompt 1 is empty"),
        (["-p", "a|b|c", "--expected", "1|2"], "2 answers for 3 prompts"),
        (["-p", "a", "--expected", " "], "an answer is empty"),
        (["-p", "a", "-n", "0"], "--max-tokens"),
        (["-p", "a", "-t", "nan"], "--temperature"),
        (["-p", "a| ", "-c"], "more than spaces"),
        (["-p", "a", "-o", "/dev/null/out.json"], "/dev/null"),
        (["-p", "@/no/file"], "No such file"),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys):
    """What is wrong is named in one line before the model is loaded, and the exit code is 2."""
    assert main([*COMMAND, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
