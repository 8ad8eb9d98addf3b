"""Does the end of a prompt determine the kind of answer?

A number is the natural continuation of "=", and a space is part of the prompt; so the same prompts are tested with
other endings and with a space removed elsewhere, and an answer after a space counts.
"""

import numpy as np
import pytest

from lazarus_probe.asking.exams import question_exam
from lazarus_probe.statistics.measurement import some_examples
from lazarus_probe.statistics.rates import rate
from lazarus_probe.statistics.sequential.until_known import rate_until_known
from lazarus_probe.subject.generate import greedy
from lazarus_probe.tasks import language, prompts
from lazarus_probe.tasks.arithmetic import answers_at_once, parse_number


def numeric(subject, texts):
    """The completion of each text, and whether it begins with a number."""
    completions = greedy(subject, texts, 4)
    return completions, np.array([float(parse_number(text) is not None) for text in completions])


def require_sums(ability, count, phrasing, rng):
    """The claim is about models that do arithmetic; a random model may produce a number after any sign."""
    facts = prompts.sample_facts("add", count, rng)
    exam = question_exam([prompts.Question(fact.prompt(phrasing), fact, phrasing) for fact in facts])
    return ability(exam, f"the sums as in {exam.prompts[0]!r}")


@pytest.mark.claim("equals-sign-asks-for-number")
def test_equals_sign(subject, untrained_models, evidence, rng, ability):
    # A model without arithmetic says the same after one token every time, which may by chance be a number.
    require_sums(ability, 40, "spaced", rng)
    sentences = [example.response.rstrip(".") for example in language.english()]
    drawn = [
        sentences[i] for i in rng.choice(len(sentences), evidence.claim.parameters["prompts"], replace=False)
    ]
    beginnings = [" ".join(sentence.split()[:3]) for sentence in drawn]
    answers = require_sums(ability, evidence.claim.parameters["sums"], "compact", rng)
    completions = {}

    def numbers_after(model, rows, ending=""):
        """The completions of some beginnings, and whether each begins with a number."""
        return numeric(model, [f"{beginnings[row]}{ending}" for row in rows])

    def measure(rows):
        texts, score = numbers_after(subject, rows, " =")
        completions.update(zip(rows.tolist(), texts, strict=True))
        controls = {"no_suffix": "", "other_suffix": " :"}
        return score, {name: numbers_after(subject, rows, ending)[1] for name, ending in controls.items()}

    def untrained(rows):
        return [numbers_after(model.build(), rows, " =")[1] for model in untrained_models]

    def describe(rows):
        texts, outputs = [f"{beginnings[row]} =" for row in rows], [completions[row] for row in rows.tolist()]
        counted = [parse_number(output) is not None for output in outputs]
        return {
            "tokens": sum(len(subject.encode(text)) for text in texts),
            "examples": some_examples(texts, ["a number"] * len(texts), outputs, counted),
        }

    measurement = rate_until_known(
        "rate of numbers",
        beginnings,
        measure,
        evidence.known,
        costly={"untrained": untrained},
        describe=describe,
        seed=evidence.seed,
    )
    evidence.record(answers.noted(measurement))


@pytest.mark.claim("trailing-space-decides-answer")
def test_trailing_space(subject, evidence, rng, ability):
    facts = prompts.sample_facts("subtract", evidence.claim.parameters["questions"], rng)
    exam = question_exam([prompts.Question(fact.prompt(), fact, "spaced") for fact in facts], at_once=True)
    answers = ability(exam, "the differences")
    answered = [facts[row] for row in answers.rows[answers.right]]
    texts = [fact.prompt() for fact in answered]
    # The examples before a question, if any, keep their spaces: what changes is the question alone.
    variants = {
        "no_space": [answers.written(text[:-1]) for text in texts],
        "other_space": [answers.written(text.replace(" = ", "= ")) for text in texts],
    }
    completions = {name: greedy(subject, variant, answers.max_tokens) for name, variant in variants.items()}
    lost = {
        name: np.array(
            [not answers_at_once(text, fact.answer) for text, fact in zip(of, answered, strict=True)]
        )
        for name, of in completions.items()
    }
    measurement = rate(
        "share of the answers lost",
        lost["no_space"],
        [str(fact.family) for fact in answered],
        {"other_space": lost["other_space"]},
        seed=evidence.seed,
        tokens=sum(len(subject.encode(text)) for text in variants["no_space"]),
        examples=some_examples(
            variants["no_space"],
            [fact.answer for fact in answered],
            [repr(text) for text in completions["no_space"]],
            lost["no_space"],
        ),
    )
    evidence.record(answers.noted(measurement))
