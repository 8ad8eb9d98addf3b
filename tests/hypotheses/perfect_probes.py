"""For every claim of a probe, what a perfect reading of the claim's own prompts would measure.

The probe is the package's own, with all controls, on planted activations (`planted.py`): the bag of tokens is that of
the very prompts, so material that its words give away can't be supported here either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from perfect import families, hypothesis
from planted import EMBED, Planted, Reader, held, nothing, reader

from lazarus_probe.claims.claim import Claim
from lazarus_probe.hooks.sites import Site, resid_post
from lazarus_probe.introspection.probing.emergence import emergence
from lazarus_probe.introspection.probing.inputs import ProbeDataset, by_phrasing
from lazarus_probe.introspection.probing.probe import probe
from lazarus_probe.introspection.probing.signal_loss import signal_loss
from lazarus_probe.introspection.studies import embedding, operands
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import control_models
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import VERBAL

Generator = np.random.Generator
Draw = Callable[[Claim, Generator, Reader], ProbeDataset]
ABOVE = resid_post(0)
PER_TEMPLATE = hypothesis("embeddings").PER_TEMPLATE


@cache
def organism() -> Subject:
    return Subject.load("organism")


def subject(number: str = r"\d") -> Reader:
    """Whose prompts are read: digits one by one, which give away the most of a number, unless said otherwise.

    One that has read nothing yet: it numbers its words as it meets them, and the claims measured before do not count.
    """
    return reader(organism(), number)


def perfect_probe(draw: Draw, site: Site = ABOVE, number: str = r"\d") -> Any:
    """The claim's probe where a site holds the labels, or nothing."""

    def built(claim: Claim, rng: Generator, perfect: bool) -> list[Measurement]:
        labelled = draw(claim, rng, subject(number))
        measured = _probed(labelled, site, perfect, number)
        return [measured] * (1 if claim.cases == "layers" else claim.cases)

    return built


PROBED: dict[Any, Measurement] = {}  # some claims have their prompts, and so their probe, in common


def _probed(labelled: ProbeDataset, site: Site, perfect: bool, number: str) -> Measurement:
    fields = ("prompts", "labels", "groups", "clusters", "at", "types", "facts")
    key = (
        *(str(np.array(getattr(labelled, name), dtype=object).tolist()) for name in fields),
        site,
        perfect,
        number,
    )
    if key not in PROBED:
        states = {site: held(labelled) if perfect else nothing(labelled)}
        kind = "regression" if np.asarray(labelled.labels).dtype.kind == "f" else "classification"
        read, store = subject(number), Planted(states)
        PROBED[key] = probe(read, control_models(read), labelled, site, kind=kind, store=store)  # type: ignore[arg-type]
    return PROBED[key]


def emerges(claim: Claim, rng: Generator, perfect: bool) -> list[Measurement]:
    """The product after half of the layers and not before; or after none."""
    questions = hypothesis("own_answers").of_all_magnitudes(SimpleNamespace(claim=claim), rng)
    numbers = np.array([float(question.fact.answer) for question in questions])
    labelled = ProbeDataset([question.text for question in questions], numbers, np.array(families(questions)))
    read = subject()
    layers = range(read.num_layers)
    states = {
        resid_post(layer): held(labelled) if perfect and layer >= len(layers) // 2 else nothing(labelled)
        for layer in layers
    }
    return [
        emergence(
            read, control_models(read), labelled, threshold=claim.threshold, margin=claim.margin,
            kind="regression", store=Planted({**states, EMBED: nothing(labelled)}),  # type: ignore[arg-type]
        )
    ]  # fmt: skip


def lost(claim: Claim, rng: Generator, perfect: bool) -> list[Measurement]:
    """The operation in all layers but the last; or in the last as well."""
    labelled = in_words()
    read = subject()
    layers = range(read.num_layers)
    states = {resid_post(layer): held(labelled) for layer in layers}
    if perfect:
        states[resid_post(layers[-1])] = nothing(labelled)
    return [signal_loss(read, labelled, store=Planted(states))]  # type: ignore[arg-type]


def absent(claim: Claim, rng: Generator, perfect: bool) -> list[Measurement]:
    """Both operands in the embeddings, and nothing else; or their product too."""
    questions, units = embedding.answer_questions(rng, hypothesis("embeddings").QUESTIONS)
    pairs = np.array([[q.fact.a, q.fact.b] for q in questions])
    numbers = np.eye(pairs.max() + 1)[pairs].sum(axis=1)
    labels = {
        "product": np.array([embedding.beyond_operands(q.fact) for q in questions]),
        "sum": np.array([float(q.fact.a + q.fact.b) for q in questions]),
    }
    texts = [question.text for question in questions]
    datasets = {name: ProbeDataset(texts, values, units, at="mean") for name, values in labels.items()}
    products = held(datasets["product"]) * (not perfect)
    store = Planted(
        {EMBED: np.concatenate([numbers, pairs.sum(axis=1, keepdims=True) / 50, products], axis=1)}
    )
    read = subject()
    probed = [
        probe(read, control_models(read), labelled, EMBED, kind="regression", store=store)  # type: ignore[arg-type]
        for labelled in datasets.values()
    ]
    return [embedding.absent(*probed)]


def in_words(at: str = "last") -> ProbeDataset:
    """The questions that all claims about the operation in words share."""
    return by_phrasing(hypothesis("conftest").questions_in_words(0), at=at)


def answers(_: Claim, rng: Generator, __: Reader) -> ProbeDataset:
    """Products, where they are to begin."""
    questions, units = embedding.answer_questions(rng, hypothesis("embeddings").QUESTIONS)
    numbers = np.array([float(question.fact.answer) for question in questions])
    return ProbeDataset([question.text for question in questions], numbers, units)


def errors(claim: Claim, rng: Generator, _: Reader) -> ProbeDataset:
    """As many questions in words answered right as wrong, which ones being chance."""
    questions = prompts.questions(rng, int(claim.parameters["per_cell"]), VERBAL)
    kept = int(claim.parameters["kept"])
    balanced = [questions[row] for row in rng.choice(len(questions), size=2 * kept, replace=False)]
    return ProbeDataset(
        [question.text for question in balanced], ["right", "wrong"] * kept, groups=families(balanced)
    )


def worded(claim: Claim, rng: Generator, _: Reader) -> ProbeDataset:
    """The operation of questions in words."""
    return in_words()


def by_truth(denied: bool) -> Draw:
    """Statements by whether they are true."""
    return lambda _, rng, __: hypothesis("statements").by_topic(rng, denied)


PROBES: Mapping[str, Any] = {
    "truth-read-across-topics": perfect_probe(by_truth(False)),
    "truth-read-through-negation": perfect_probe(by_truth(True)),
    "sentiment-in-hidden-space": perfect_probe(
        lambda _, rng, __: hypothesis("beyond_arithmetic").reviews(rng)
    ),
    "code-in-hidden-space": perfect_probe(lambda *_: hypothesis("beyond_arithmetic").lines()),
    "chat-form-readable-early": perfect_probe(lambda _, __, asked: hypothesis("chat_template").forms(asked)),
    "task-type-in-embeddings": perfect_probe(
        lambda _, rng, __: embedding.task_types(rng, PER_TEMPLATE), EMBED
    ),
    "task-type-after-layers": perfect_probe(lambda _, rng, __: embedding.task_types(rng, PER_TEMPLATE)),
    "operation-in-embeddings": perfect_probe(lambda *_: in_words("mean"), EMBED),
    "operation-after-layers": perfect_probe(lambda *_: in_words("mean")),
    "operand-in-embeddings": perfect_probe(
        lambda _, rng, read: operands.first_operands(read, rng), EMBED, r"\d+"
    ),
    "operand-after-layers": perfect_probe(
        lambda _, rng, read: operands.first_operands(read, rng), ABOVE, r"\d+"
    ),
    "answer-not-in-embeddings": absent,
    "answer-after-layers": perfect_probe(answers),
    "operation-in-hidden-space": perfect_probe(
        lambda _, rng, __: hypothesis("operation_classifiers").in_one_phrasing(rng)
    ),
    "operation-across-phrasings": perfect_probe(lambda *_: in_words()),
    "operation-in-words": perfect_probe(worded),
    "operation-in-words-partly": perfect_probe(worded),
    "operation-in-words-lost-late": lost,
    "product-emerges": emerges,
    "error-readable-before-answer": perfect_probe(errors),
    "refusal-readable-early": perfect_probe(lambda _, rng, __: hypothesis("steering").requests(rng)),
    "tool-call-in-embeddings": perfect_probe(
        lambda claim, rng, _: hypothesis("tool_calls").requests(SimpleNamespace(claim=claim), rng), EMBED
    ),
    "tool-call-after-layers": perfect_probe(
        lambda claim, rng, _: hypothesis("tool_calls").requests(SimpleNamespace(claim=claim), rng)
    ),
}
