"""Rewards and prompts from files, with what is wrong with them said in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lazarus_probe.organisms import corpus
from lazarus_probe.tasks.rewards import parse_question
from lazarus_probe.training.grpo.gain import Gain, HeldOutQuestions, held_out_arithmetic
from lazarus_probe.training.grpo.prompts import arithmetic_prompts, read_prompts
from lazarus_probe.training.grpo.rewards import Reward, RewardError, load_reward


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_from_a_file(tmp_path: Path):
    """A file's reward is called with prompt and response, and its prompts are kept in their order."""
    file = write(
        tmp_path,
        "def reward_fn(prompt, response):\n    return len(response) - len(prompt)\n\n"
        "def get_prompts():\n    return ['b', 'a']\n",
    )
    reward = load_reward(file)
    assert reward("ab", "abcd") == 2.0
    assert reward.prompts == ("b", "a")


def test_prompts_are_optional(tmp_path: Path):
    """A file without get_prompts has none."""
    assert load_reward(write(tmp_path, "def reward_fn(prompt, response):\n    return True\n")).prompts is None


def test_arithmetic():
    """The bundled reward goes by its name."""
    assert load_reward("arithmetic")("7*8=", "56") == 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "defines no function reward_fn"),
        ("reward_fn = 3", "defines no function reward_fn"),
        ("def reward_fn(:", "fails when it is run: SyntaxError"),
        ("import nothing_of_that_name", "fails when it is run: ModuleNotFoundError"),
        ("def reward_fn(p, r): return 1\ndef get_prompts(): return 'abc'", "get_prompts returned a str"),
        ("def reward_fn(p, r): return 1\ndef get_prompts(): return ['a', 3]", "returned 3 among its prompts"),
        (
            "def reward_fn(p, r): return 1\ndef get_prompts(): return 1 / 0",
            "get_prompts raised ZeroDivisionError",
        ),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str):
    """A file that does not define what it should is refused by its name."""
    with pytest.raises(RewardError, match=f"mine.py.*{message}"):
        load_reward(write(tmp_path, text))


def test_no_such_file(tmp_path: Path):
    """A file that is not there is named, with what could be meant."""
    with pytest.raises(RewardError, match=r"absent\.py'.*no such file.*'arithmetic'"):
        load_reward(tmp_path / "absent.py")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "returned nan where a finite number"),
        (float("inf"), "returned inf"),
        ("1", "returned a str where a number"),
        (None, "returned None"),
        ([1.0], "returned a list"),
    ],
)
def test_bad_values(value: Any, message: str):
    """What is no finite number is refused, with the prompt and the response that it was for."""
    reward = Reward("mine", lambda _prompt, _response: value)
    with pytest.raises(RewardError, match=f"mine: {message}.*'7 \\* 8 = '.*'56'"):
        reward("7 * 8 = ", "56")


@pytest.mark.parametrize(
    ("value", "expected"), [(True, 1.0), (np.float32(0.5), 0.5), (np.bool_(False), 0.0), (-2, -2.0)]
)
def test_good_values(value: Any, expected: float):
    """Any finite real number is a reward."""
    assert Reward("mine", lambda _prompt, _response: value)("a", "b") == expected


def test_it_raises():
    """What a reward raises is said, with the prompt, shortened if it is long."""
    reward = Reward("mine", lambda _prompt, response: float(response))
    with pytest.raises(
        RewardError, match=r"mine: raised ValueError: could not convert.*'ppp+\.\.\.' and response 'x'"
    ):
        reward("p" * 500, "x")


def test_an_interrupt_is_no_error():
    """An interrupt within a reward stays one."""

    def interrupted(_prompt: str, _response: str) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Reward("mine", interrupted)("a", "b")


def test_prompts_of_a_file(tmp_path: Path):
    """A prompt a line, taken as it stands; other fields and blank lines are passed over."""
    file = write(tmp_path, '{"prompt": "7 * 8 = ", "answer": 56}\n\n{"prompt": "a"}\n', "p.jsonl")
    assert read_prompts(file) == ["7 * 8 = ", "a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "a"}\n{"prompt"', r"p\.jsonl:2: not JSON"),
        ('{"prompt": "a"}\n{"question": "b"}', r"p\.jsonl:2: no prompt"),
        ('["a"]', r"p\.jsonl:1: no prompt"),
        ('{"prompt": ""}', r"p\.jsonl:1: no prompt"),
        ("\n", "has no prompts"),
    ],
)
def test_bad_prompts(tmp_path: Path, text: str, message: str):
    """A line without a prompt is named by file and line, and so is a file without any."""
    with pytest.raises(ValueError, match=message):
        read_prompts(write(tmp_path, text, "p.jsonl"))


def test_bundled_prompts_are_trained_ones():
    """No fact and no phrasing that the bundled models were not shown is among the prompts."""
    trained = {line.prompt for name in corpus.arithmetic.OPERATIONS for line in corpus.split(name).trained}
    prompts = arithmetic_prompts(2000, seed=1)
    assert len(prompts) == 2000
    assert set(prompts) <= trained
    facts = [parse_question(prompt) for prompt in prompts]
    assert not any(corpus.is_held_out(fact) for fact in facts if fact)
    assert {fact.operation for fact in facts if fact} == set(corpus.arithmetic.OPERATIONS)
    assert prompts == arithmetic_prompts(2000, seed=1) != arithmetic_prompts(2000, seed=2)


def test_operations_are_chosen():
    """Only the requested operations are drawn; an unknown one is named."""
    facts = [parse_question(prompt) for prompt in arithmetic_prompts(200, ["add"])]
    assert {fact.operation for fact in facts if fact} == {"add"}
    with pytest.raises(ValueError, match="unknown operation power; give one of multiply"):
        arithmetic_prompts(5, ["power"])


def test_held_out_questions():
    """What the gain is measured on are facts that no prompt asks, in two phrasings, with their families as units."""
    symbolic, verbal = held_out_arithmetic(50)
    for questions in (symbolic, verbal):
        facts = [parse_question(prompt) for prompt in questions.prompts]
        assert len(set(questions.prompts)) == 50
        assert all(fact and corpus.is_held_out(fact) for fact in facts)
        assert list(questions.units) == [str(fact.family) for fact in facts if fact]
    assert held_out_arithmetic(50, ["multiply"]) == []


def test_gain():
    """The gain is the mean paired difference; its interval leaves 0 out where most units gain."""
    questions = HeldOutQuestions("some", tuple("abcdefgh" * 5), tuple(map(str, range(40))))
    before, after = np.zeros(40), np.array([1.0] * 30 + [0.0] * 10)
    gain = Gain(questions, before, after)
    assert gain.difference == 0.75
    assert 0 < gain.interval.low < 0.75 < gain.interval.high < 1
    assert str(gain).startswith("some: 0.000 -> 0.750, +0.750 [+0.")
    assert Gain(questions, after, after).interval.low < 0 < Gain(questions, after, after).interval.high
