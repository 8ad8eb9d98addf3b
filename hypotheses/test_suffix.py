"""Does the end of a prompt determine the kind of answer?

A number is the natural continuation of "=", and a space is part of the prompt; so the same prompts are tested with
other endings and with a space removed elsewhere, and an answer after a space counts.
"""

import numpy as np
import pytest

from lazarus_probe.statistics.measurement import some_examples
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.generate import greedy
from lazarus_probe.tasks import language, prompts
from lazarus_probe.tasks.arithmetic import is_answer, parse_number


def numeric(subject, texts):
    """The completion of each text, and whether it begins with a number."""
    completions = greedy(subject, texts, 4)
    return completions, np.array([float(parse_number(text) is not None) for text in completions])


def require_sums(subject, evidence, rng):
    """The claim is about models that do arithmetic; a random model may produce a number after any sign."""
    facts = prompts.sample_facts("add", evidence.claim.parameters["sums"], rng)
    completions = greedy(subject, [fact.prompt("compact") for fact in facts], 4)
    share = np.mean([is_answer(text, fact.answer) for text, fact in zip(completions, facts, strict=True)])
    needed = evidence.claim.parameters["answered"]
    evidence.require(share >= needed, f"answers {share:.2f} of the sums; {needed:.2f} needed")


@pytest.mark.claim("equals-sign-asks-for-number")
def test_equals_sign(subject, untrained_models, evidence, rng):
    # A model without arithmetic says the same after one token every time, which may by chance be a number.
    facts, needed = prompts.sample_facts("add", 40, rng), evidence.claim.parameters["answered"]
    completions = greedy(subject, [fact.prompt() for fact in facts], 4)
    share = np.mean([is_answer(text, fact.answer) for text, fact in zip(completions, facts, strict=True)])
    evidence.require(share >= needed, f"answers {share:.2f} of the sums; {needed:.2f} needed")
    sentences = [example.response.rstrip(".") for example in language.english()]
    drawn = [
        sentences[i] for i in rng.choice(len(sentences), evidence.claim.parameters["prompts"], replace=False)
    ]
    beginnings = [" ".join(sentence.split()[:3]) for sentence in drawn]
    require_sums(subject, evidence, rng)
    completions, score = numeric(subject, [f"{text} =" for text in beginnings])
    controls = {
        "no_suffix": numeric(subject, beginnings)[1],
        "other_suffix": numeric(subject, [f"{text} :" for text in beginnings])[1],
        "untrained": [
            numeric(model.build(), [f"{text} =" for text in beginnings])[1] for model in untrained_models
        ],
    }
    evidence.record(
        rate(
            "rate of numbers",
            score,
            beginnings,
            controls,
            seed=evidence.seed,
            tokens=sum(len(subject.encode(f"{text} =")) for text in beginnings),
            examples=some_examples(
                [f"{text} =" for text in beginnings], ["a number"] * len(beginnings), completions, score > 0
            ),
        )
    )


@pytest.mark.claim("trailing-space-decides-answer")
def test_trailing_space(subject, evidence, rng):
    declared = evidence.claim.parameters
    facts = prompts.sample_facts("subtract", declared["questions"], rng)
    texts = [fact.prompt() for fact in facts]
    variants = {
        "whole": texts,
        "no_space": [t[:-1] for t in texts],
        "other_space": [t.replace(" = ", "= ") for t in texts],
    }
    completions = {name: greedy(subject, variant, 4) for name, variant in variants.items()}
    right = {
        name: np.array([is_answer(text, fact.answer) for text, fact in zip(of, facts, strict=True)])
        for name, of in completions.items()
    }
    answered, needed = np.flatnonzero(right["whole"]), declared["answered"]
    share = right["whole"].mean()
    evidence.require(share >= needed, f"answers {share:.2f} of the differences; {needed:.2f} needed")
    lost = {name: ~right[name][answered] for name in ("no_space", "other_space")}
    evidence.record(
        rate(
            "share of the answers lost",
            lost["no_space"],
            [str(facts[i].family) for i in answered],
            {"other_space": lost["other_space"]},
            seed=evidence.seed,
            tokens=sum(len(subject.encode(text)) for text in variants["no_space"]),
            examples=some_examples(
                [variants["no_space"][i] for i in answered],
                [facts[i].answer for i in answered],
                [repr(completions["no_space"][i]) for i in answered],
                lost["no_space"],
            ),
        )
    )
