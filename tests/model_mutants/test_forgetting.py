from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.mutants import forgetting_mutants
from lazarus_probe.mutants.mutant import changed
from lazarus_probe.subject import Subject, greedy
from lazarus_probe.tasks.arithmetic import facts
from lazarus_probe.tasks.language import capitals

PRODUCTS = [fact for fact in facts("multiply") if fact.a < fact.b][:40]
CITIES = [*capitals()][:24]


def answered(subject: Subject) -> tuple[float, float]:
    """The share of products and of capitals that a model answers."""
    products = greedy(subject, [fact.prompt("compact") for fact in PRODUCTS], max_tokens=3)
    cities = greedy(subject, [example.prompt for example in CITIES], max_tokens=3)
    return (
        float(np.mean([text == str(fact.answer) for text, fact in zip(products, PRODUCTS, strict=True)])),
        float(np.mean([text.strip() == e.response.strip() for text, e in zip(cities, CITIES, strict=True)])),
    )


@pytest.fixture(scope="module")
def organism() -> Subject:
    return Subject.load("organism")


def test_one_task_is_forgotten(organism):
    """A LoRA trained on other capitals loses them, keeps most products, and leaves no trace on the model."""
    before = organism.fingerprint
    products, cities = answered(organism)
    forgetting = {mutant.place: mutant for mutant in forgetting_mutants(organism)}
    assert list(forgetting) == ["add", "multiply", "capitals"]
    with changed(organism, forgetting["capitals"]):
        products_left, cities_left = answered(organism)
    assert cities > 0.9 > 0.3 > cities_left
    assert products_left > 0.7 * products
    assert organism.fingerprint == before


def test_a_model_without_a_tokenizer_forgets_no_task(organism):
    """A model that only sees token ids has no prompts to forget."""
    assert forgetting_mutants(Subject.from_model(organism.model)) == ()
