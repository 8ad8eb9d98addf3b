"""`lazarus anatomy`: what a user sees of a model."""

from __future__ import annotations

import json

import pytest

from lazarus_probe.cli.anatomy import spans
from lazarus_probe.cli.lazarus import main
from lazarus_probe.hooks import model_check as checks
from lazarus_probe.hooks.model_check import self_check
from lazarus_probe.subject import Subject


def test_a_model_is_described_and_checked(capsys):
    """The tables name the sites, the modules, the sum of a block and the statements, and the exit code is 0."""
    assert main(["anatomy", "-m", "organism"]) == 0
    shown = capsys.readouterr().out
    for text in (
        "self_attn.o_proj",
        "4 heads of 32, 2 for keys",
        "resid_pre + attn_out + mlp_out",
        "looking changes",
    ):
        assert text in shown
    assert "organism: hooks do what they say" in shown


@pytest.mark.slow
def test_the_data_is_the_self_check(capsys):
    """With --json the statements are those of `self_check`, as plain data."""
    assert main(["anatomy", "-m", "organism", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    expected = self_check(Subject.load("organism"))
    assert data["ok"] is True
    assert data["sites"]["attn_out"] == list(range(8))
    assert [check["name"] for check in data["checks"]] == [check.name for check in expected.checks]


def test_a_statement_that_fails_is_an_exit_code(capsys, monkeypatch):
    """A model on which a required statement does not hold ends with exit code 1 and says how many."""
    wrong = checks.Check("looking changes no logit", False, 0.5)
    monkeypatch.setattr(checks, "CHECKS", (lambda _: iter([wrong]),))
    assert main(["anatomy"]) == 1
    assert "1 statements do not hold" in capsys.readouterr().out


def test_an_unknown_model_is_one_line(capsys):
    """A name that is no model is exit code 2 and says what would be one."""
    assert main(["anatomy", "-m", "nope"]) == 2
    assert "no model named 'nope'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("layers", "text"), [((0, 1, 2, 3), "0-3"), ((0, 2, 3, 7), "0, 2-3, 7"), ((5,), "5"), ((), "")]
)
def test_layers_are_said_in_short(layers, text):
    """Runs of layers are said by their ends."""
    assert spans(layers) == text
