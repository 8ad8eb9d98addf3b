"""`lazarus introspect function-vector`: what it prints and saves, and what each option changes."""

from __future__ import annotations

import json

import pytest

from lazarus_probe.cli.lazarus import main

COMMAND = [
    "introspect",
    "function-vector",
    "-m",
    "organism",
    "--shots",
    "2",
    "--examples",
    "4",
    "--searched",
    "1",
]


@pytest.fixture
def pairs(tmp_path):
    """A task of sums, which the organism knows without examples."""
    file = tmp_path / "sums.json"
    file.write_text(json.dumps([{"input": f"{a}+9=", "output": str(a + 9)} for a in range(2, 30)]))
    return file


def test_the_text_has_heads_vectors_and_damage(capsys, pairs):
    """A row for each vector, the heads with their effects, and what the vector does to unrelated prompts."""
    assert main([*COMMAND, "--pairs", str(pairs), "--form", r"{input}{output}\n", "--tested", "6"]) == 0
    text = capsys.readouterr().out
    assert "Answered with examples: sums" in text
    for name in ("function vector", "zero shot", "shuffled labels", "output set", "random direction"):
        assert f"\n{name}" in text
    assert "Damage: next-token probability moved on unrelated prompts" in text


def test_every_option_changes_what_comes_out(capsys, tmp_path, pairs):
    """Tasks, heads, layers, forms and seed are those of the data, which the file holds as well."""
    file = tmp_path / "out.json"
    options = ["--tasks", "capital", "--pairs", str(pairs), "--top", "3", "--layers", "2,4", "--seed", "4"]
    forms = ["--form", "{input} {output};", "--test-form", "{input}: {output};", "--tested", "5"]
    assert main([*COMMAND, *options, *forms, "--json", "-o", str(file)]) == 0
    data = json.loads(capsys.readouterr().out)
    assert json.loads(file.read_text()) == data
    assert [task["name"] for task in data["tasks"]] == ["capital", "sums"]
    assert (len(data["heads"]), data["layers"], data["seed"], data["n"]) == (3, [2, 4], 4, 10)
    assert "other_task" in data["right"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tasks", "capitol"], "--tasks capitol: 'capitol' is unknown; did you mean capital?"),
        (["--pairs", "nowhere.json"], "nowhere.json"),
        (["--tasks", "capital", "--form", "{output}"], "form '{output}' shows no example"),
        (["--tasks", "capital", "--top", "99"], "99 heads to sum"),
        (["--tasks", "capital", "--layers", "9"], "--layers 9: there is no layer 9"),
    ],
)
def test_wrong_input_is_one_line(capsys, options, message):
    """Exit code 2 and one line that says what is wrong."""
    assert main([*COMMAND, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
