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


@pytest.mark.parametrize("width", range(20, 60))
def test_a_token_in_quotes_is_not_broken(width):
    """Wherever a line ends, a token that begins with a space, or is one, stays whole."""
    sentence = "most to ' of' at 3 (0.17), ' capital' at 2, ' ' at 1 and 'The' at 0, it's (' is' too)"
    lines = wrapped(sentence, width).splitlines()
    assert max(map(len, lines)) <= width
    for token in ("' of'", "' capital'", "' '", "'The'", "it's", "(' is'"):
        assert sum(token in line for line in lines) == 1
    assert " ".join(line.strip() for line in lines) == sentence
