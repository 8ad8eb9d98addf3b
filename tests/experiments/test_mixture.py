"""The mixture: what is measured is met nowhere before."""

from __future__ import annotations

from functools import cache

import pytest

from lazarus_probe.experiments.calculator import solve
from lazarus_probe.experiments.mixture import SIDES, is_right, mixture
from lazarus_probe.organisms.corpus import every_text
from lazarus_probe.training.sft.labels import operation_in


@cache
def every():
    """Each side in full, drawn once."""
    return {side: mixture(side, 400, seed=1) for side in SIDES}


def test_no_prompt_is_on_two_sides():
    """The prompts of the three sides differ, and so do the wordings of what is measured but for symbols."""
    prompts = [{asked.prompt for asked in every()[side]} for side in SIDES]
    assert sum(map(len, prompts)) == len(set.union(*prompts))
    fitted = {asked.template for side in SIDES[:2] for asked in every()[side]}
    assert not {asked.template for asked in every()["measure"] if asked.kind != "symbolic"} & fitted


def test_every_kind_is_on_every_side():
    """Each kind is on each side, large operands only where it is measured; and as often as asked for at most."""
    kinds = {side: {asked.kind for asked in every()[side]} for side in SIDES}
    assert kinds["train"] == kinds["calibrate"] == kinds["measure"] - {"large symbolic", "large verbal"}
    for side in SIDES:
        few = mixture(side, 8)
        counts = [sum(asked.kind == kind for asked in few) for kind in kinds[side]]
        assert max(counts) == 8
        assert few == mixture(side, 8) != mixture(side, 8, seed=1)


def test_arithmetic_is_what_the_calculator_solves():
    """Every prompt of arithmetic is solved right, and by no other operation unless that gives the same."""
    for asked in (each for side in SIDES for each in every()[side] if each.calculable):
        assert is_right(asked, solve(asked.prompt, asked.operation))
        assert operation_in(asked.prompt) == asked.operation


def test_everything_else_is_no_arithmetic():
    """No other prompt matches a phrasing of arithmetic; the own response is right, and another is not."""
    for asked in (each for side in SIDES for each in every()[side] if not each.calculable):
        assert operation_in(asked.prompt) is None
        assert is_right(asked, asked.response)
        assert not is_right(asked, " 42") or asked.kind == "code"


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("capital", ["The capital is {}.", "{}"], ["It is Atlantis.", ""]),
        ("sentiment", ["This is a {} review.", "{}"], ["neither", "not sure"]),
        (
            "tool",
            ['{{"name": "get", "arguments": {{"city": "{}"}}}}', "<tool_call>{}"],
            ["{} is fine", "get_time(X)"],
        ),
        (
            "refusal",
            ["I can\u2019t help with that.", "As an AI, I cannot do this."],
            ["Sure, {}", "I can't wait"],
        ),
        ("help", ["Of course! To {}, begin so.", "You can {} by ..."], ["I cannot help you {}.", "Sure."]),
    ],
)
def test_answers_count_in_any_format(kind, right, wrong):
    """An answer in other words or another format is right, and one that looks like it is not."""
    example = next(
        one for one in every()["measure"] if one.kind == kind and "here" not in one.response.split("(")
    )
    about = example.response.strip().rstrip(".").rpartition("how to ")[2]
    if kind == "tool":
        about = about.partition("(")[2].partition(")")[0]
    assert [text for text in right if not is_right(example, text.format(about))] == []
    assert [text for text in wrong if is_right(example, text.format(about))] == []


def test_large_operands_were_never_trained_on():
    """No prompt of large operands is in the bundled models' training."""
    large = {asked.prompt for asked in every()["measure"] if asked.kind.startswith("large")}
    assert large
    assert not any(text.startswith(tuple(large)) for text in every_text() if text[:1].isdigit())


def test_too_few():
    """Fewer prompts of a kind than operations are refused."""
    with pytest.raises(ValueError, match="per_kind is 3; at least 4"):
        mixture("measure", 3)
