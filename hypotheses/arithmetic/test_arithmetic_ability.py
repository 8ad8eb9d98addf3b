"""Does the model answer arithmetic in every form, or only in the forms that are usually tested?

All other claims about arithmetic depend on this. An average over forms hides the one that fails, so each of the 108
combinations of operation, phrasing and size is measured, with more questions where accuracy is low. The simplest form
that fails, or the closest to failing, is then measured on numbers that were not part of the search.
"""

from functools import partial

import numpy as np
import pytest

from lazarus_probe.asking.forms import LONG_RAW
from lazarus_probe.claims.as_needed import as_needed
from lazarus_probe.claims.falsify import Rows, falsify
from lazarus_probe.subject.generate import greedy
from lazarus_probe.tasks.arithmetic import is_answer
from lazarus_probe.tasks.strategies import arithmetic_slices


def answered(subject, questions):
    """Whether the model answers each question."""
    texts, answers = (
        [question.text for question in questions],
        [question.fact.answer for question in questions],
    )
    completions = greedy(subject, texts, LONG_RAW.limit(subject, list(map(str, answers))))
    right = [float(is_answer(*row)) for row in zip(completions, answers, texts, strict=True)]
    families = [question.family for question in questions]
    return Rows(
        questions,
        right,
        families,
        texts,
        answers,
        completions,
        sum(len(subject.encode(text)) for text in texts),
    )


@pytest.mark.claim("arithmetic-in-every-form")
def test_every_form(subject, untrained_models, evidence):
    budget = evidence.claim.parameters["budget"]
    measure = partial(answered, subject)
    search = falsify(evidence.claim, measure, arithmetic_slices(), seed=evidence.seed, budget=budget)

    def untrained():
        return np.array([answered(model.build(), search.rows.items).scores for model in untrained_models])

    def measurement(controls, left_out):
        return search.measurement("accuracy", unmeasured=left_out, **controls)

    evidence.record(as_needed(evidence.settles, measurement, {"untrained": untrained}))
