"""Does the end of a prompt decide what kind of answer comes?

A number after "=" is what the sign says, and a space is part of the prompt; so the same prompts are asked with other
ends and with the space taken from elsewhere, and an answer after a space counts.
"""

import numpy as np
import pytest

from lazarus_probe.statistics.measurement import some_examples
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.generate import greedy
from lazarus_probe.tasks import language, prompts
from lazarus_probe.tasks.arithmetic import is_answer, parse_number


def numeric(subject, texts):
    """What follows each text, and whether it begins with a number."""
    said = greedy(subject, texts, 4)
    return said, np.array([float(parse_number(text) is not None) for text in said])


def reckoned(subject, evidence, rng):
    """The claim is about models that reckon; one of chance weights may say a number after any sign."""
    facts = prompts.sample_facts("add", evidence.claim.parameters["sums"], rng)
    said = greedy(subject, [fact.prompt("compact") for fact in facts], 4)
    share = np.mean([is_answer(text, fact.answer) for text, fact in zip(said, facts, strict=True)])
    needed = evidence.claim.parameters["answered"]
    evidence.require(share >= needed, f"answers {share:.2f} of the sums; {needed:.2f} needed")


@pytest.mark.claim("equals-sign-asks-for-number")
def test_equals_sign(subject, untrained_models, evidence, rng):
    # Whatever a model that reckons nothing says after one token, it says always: by luck a number.
    facts, needed = prompts.sample_facts("add", 40, rng), evidence.claim.parameters["answered"]
    said = greedy(subject, [fact.prompt() for fact in facts], 4)
    share = np.mean([is_answer(text, fact.answer) for text, fact in zip(said, facts, strict=True)])
    evidence.require(share >= needed, f"answers {share:.2f} of the sums; {needed:.2f} needed")
    sentences = [each.response.rstrip(".") for each in language.english()]
    drawn = [
        sentences[i] for i in rng.choice(len(sentences), evidence.claim.parameters["prompts"], replace=False)
    ]
    asked = [" ".join(sentence.split()[:3]) for sentence in drawn]
    reckoned(subject, evidence, rng)
    said, score = numeric(subject, [f"{text} =" for text in asked])
    controls = {
        "no_suffix": numeric(subject, asked)[1],
        "other_suffix": numeric(subject, [f"{text} :" for text in asked])[1],
        "untrained": [
            numeric(model.build(), [f"{text} =" for text in asked])[1] for model in untrained_models
        ],
    }
    evidence.record(
        rate(
            "rate of numbers",
            score,
            asked,
            controls,
            seed=evidence.seed,
            tokens=sum(len(subject.encode(f"{text} =")) for text in asked),
            examples=some_examples(
                [f"{text} =" for text in asked], ["a number"] * len(asked), said, score > 0
            ),
        )
    )


@pytest.mark.claim("trailing-space-decides-answer")
def test_trailing_space(subject, evidence, rng):
    declared = evidence.claim.parameters
    facts = prompts.sample_facts("subtract", declared["questions"], rng)
    texts = [fact.prompt() for fact in facts]
    ways = {
        "whole": texts,
        "no_space": [t[:-1] for t in texts],
        "other_space": [t.replace(" = ", "= ") for t in texts],
    }
    said = {name: greedy(subject, asked, 4) for name, asked in ways.items()}
    right = {
        name: np.array([is_answer(text, fact.answer) for text, fact in zip(of, facts, strict=True)])
        for name, of in said.items()
    }
    known, needed = np.flatnonzero(right["whole"]), declared["answered"]
    share = right["whole"].mean()
    evidence.require(share >= needed, f"answers {share:.2f} of the differences; {needed:.2f} needed")
    lost = {name: ~right[name][known] for name in ("no_space", "other_space")}
    evidence.record(
        rate(
            "share of the answers lost",
            lost["no_space"],
            [str(facts[i].family) for i in known],
            {"other_space": lost["other_space"]},
            seed=evidence.seed,
            tokens=sum(len(subject.encode(text)) for text in ways["no_space"]),
            examples=some_examples(
                [ways["no_space"][i] for i in known],
                [facts[i].answer for i in known],
                [repr(said["no_space"][i]) for i in known],
                lost["no_space"],
            ),
        )
    )
