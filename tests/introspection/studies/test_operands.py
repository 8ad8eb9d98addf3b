"""Operands that a claim can be about: numbers of one token, at the token that is theirs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lazarus_probe.introspection.patching.prompt_pairs import PromptPair
from lazarus_probe.introspection.studies import embedding as study
from lazarus_probe.introspection.studies.operands import (
    MOST,
    NUMBERS,
    first_operands,
    numbers_of_one_token,
    why_no_operands,
)
from lazarus_probe.statistics.probes.held_out import Problem, held_out
from lazarus_probe.subject import Subject
from lazarus_probe.tasks import prompts
from tests.subject.small_tokenizers import SPACE, byte_level

PATCHING = Path(__file__).parents[3] / "hypotheses" / "arithmetic" / "test_patching.py"


@pytest.fixture(scope="module")
def model(make_llama):
    """A Llama with a row for every token of any of the tokenizers."""
    return make_llama(vocab_size=2600)


def subject_of(model: Any, pieces: list[str]) -> Subject:
    """A random model whose tokenizer has these pieces beside the bytes."""
    return Subject.from_model(model, byte_level(pieces), "small")


def test_numbers_of_one_token_are_read_at_it(organism):
    """The organism's operands are 1 to 200, drawn as ever, each read at the one token that spells it."""
    operands = first_operands(organism, np.random.default_rng(0))
    numbers = np.arange(1, NUMBERS + 1)
    drawn = prompts.cyclic(numbers, np.random.default_rng(0))
    assert list(operands.prompts) == [f"{a} * {b} = " for a, b in zip(numbers, drawn, strict=True)]
    np.testing.assert_array_equal(operands.labels, numbers)
    for text, at, number in zip(operands.prompts, operands.at, numbers, strict=True):
        ids = organism.encode(text)
        assert organism.decode([ids[at]]) == str(number)
        assert at == len(organism.encode(str(number))) - 1


def test_gaps_in_a_vocabulary_are_filled(model):
    """Where some numbers are several tokens, later ones take their place."""
    own = [str(number) for number in range(1, 300) if number % 10 != 7]
    subject = subject_of(model, own)
    numbers = numbers_of_one_token(subject)
    # Merges from the left make some more numbers one token; one that is several is never among them.
    assert len(numbers) == NUMBERS
    assert all(len(subject.pieces(str(number))) == 1 for number in numbers)
    assert first_operands(subject, np.random.default_rng(0)).labels.tolist() == numbers.tolist()


def test_numbers_of_several_tokens_are_refused(model):
    """With a token a digit nothing can be claimed, and the reason says so with its numbers."""
    subject = subject_of(model, [])
    assert numbers_of_one_token(subject).tolist() == list(range(1, 10))
    reason = why_no_operands(subject)
    assert reason is not None
    assert reason.startswith(f"9 of the numbers below {MOST} are one token, {NUMBERS} needed")
    with pytest.raises(ValueError, match="9 of the numbers below 1000 are one token"):
        first_operands(subject, np.random.default_rng(0))


def test_the_reason_holds():
    """Random embeddings of digits, side by side by place value, give the size of numbers never met, exactly."""
    numbers, rng = np.arange(1, NUMBERS + 1), np.random.default_rng(0)
    table = np.concatenate([rng.normal(size=(10, 32)), np.zeros((1, 32))])
    digits = [[int(digit) for digit in str(number)] for number in numbers]
    padded = np.array([[10] * (3 - len(some)) + some for some in digits])
    by_place, mean = (
        table[padded].reshape(len(numbers), -1),
        np.stack([table[some].mean(0) for some in digits]),
    )
    scores = [
        held_out(Problem.of(features, numbers.astype(float), numbers, "regression", 0)).score
        for features in (by_place, mean, table[padded[:, -1]])
    ]
    assert scores[0] > 0.99
    assert max(scores[1:]) < 0.9


def test_the_study_leaves_them_out(model, few_models):
    """The analysis of a model with a token a digit has every other test, and says why it has not this one."""
    subject = subject_of(model, [])
    sizes = study.Sizes(per_template=1, per_cell=1, answers=24)
    result = study.embedding(subject, [], ("multiply", "add"), sizes=sizes)
    assert "operand" not in result.tests
    assert result.as_data()["left_out"] == {"operand": why_no_operands(subject)}
    from lazarus_probe.cli.studies.embedding import judged, text

    shown = "\n".join(text(result, judged(result)))
    assert "Not applicable: 9 of the numbers below 1000 are one token" in shown


class Evidence:
    """What a claim requires, as it is noted."""

    def __init__(self) -> None:
        self.holds: bool | None = None

    def require(self, holds: bool, precondition: str) -> None:
        """Note it."""
        self.holds = holds
        assert f"{'' if holds else 'not '}tokens of their own" in precondition


@pytest.mark.parametrize(
    ("pieces", "pair", "positions"),
    [
        ([], ("7*8=", "7+8="), ([1, 3], 2, 4)),
        ([], ("12*345=", "12+345="), ([1, 2, 4, 5, 6], 3, 7)),
        (["12"], ("12*345=", "12+345="), ([1, 3, 4, 5], 2, 6)),
        (["*8"], ("7*8=", "7+8="), None),
        (["8="], ("7*8=", "7+8="), None),
        ([f"8{SPACE}"], ("7*8=", "7+8="), ([1, 3], 2, 4)),
    ],
)
def test_patched_operands_are_spans(model, pieces, pair, positions):
    """Operands of several tokens are all of these; one that shares its token makes the claim not applicable."""
    spec = importlib.util.spec_from_file_location("claims_about_patching", PATCHING)
    assert spec is not None
    assert spec.loader is not None
    claims = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(claims)
    subject, evidence = subject_of(model, pieces), Evidence()
    source, target = pair
    if positions is None:
        with pytest.raises(ValueError, match="not enough values to unpack"):
            claims.operand_positions(subject, evidence, PromptPair(source, target))
        assert evidence.holds is False
        return
    assert claims.operand_positions(subject, evidence, PromptPair(source, target)) == positions
    assert evidence.holds is True
