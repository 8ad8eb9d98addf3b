"""What a command prints fits the terminal, and a file gets lines as they are."""

from __future__ import annotations

import shlex

import pytest

from lazarus_probe.cli.lazarus import main
from lazarus_probe.cli.output import wrapped

LINES = {
    "analyze": 'introspect analyze -m organism --all-layers -t 56 -p "7 * 8 = "',
    "patch": "introspect patch -m organism --source 7*8= --target 7+8=",
    "logit-lens": 'introspect logit-lens -m organism -t multiply -t add -p "7 * 8 = |23 + 45 = "',
    "hooks": 'introspect hooks -m organism --capture-attention -p "The capital of France is"',
    "claims": "claims sentiment",
}


@pytest.mark.parametrize("name", LINES)
def test_no_line_is_longer_than_the_terminal(name, monkeypatch, capsys):
    """At 80 columns and at 200 each line fits; at 200 there are no more lines than at 80."""
    counts = []
    for columns in (80, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert main(shlex.split(LINES[name])) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line for line in lines if len(line) > columns] == []
        counts.append(len(lines))
    assert counts[1] <= counts[0]


def test_sentences_are_broken_between_words_and_rows_stay():
    """A long sentence keeps its indent and its words; a row of a table, and a word without end, are not touched."""
    sentence = "  " + "some words of it " * 9
    lines = wrapped(f"{sentence}\nrow  {'1  ' * 60}\n{'x' * 99}\n", 40).splitlines()
    assert " ".join(line.strip() for line in lines[:-2]) == sentence.strip()
    assert max(map(len, lines[:-2])) <= 40
    assert all(line.startswith("  ") for line in lines[:-2])
    assert lines[-2:] == [f"row  {'1  ' * 60}", "x" * 99]
    assert wrapped(sentence, None) == sentence
