"""Models with trained embeddings whose blocks compute nothing: whatever is read after a layer, no layer made it.

The embeddings of a bundled model tell numbers apart by size, and blocks of any weights mix the positions of a prompt,
so that operands, and to a good part their product, are readable at its last token.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from draws import Draw, claim
from mlx.utils import tree_flatten

from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.emergence import emergence
from lazarus_probe.introspection.probe import Labelled, decode
from lazarus_probe.introspection.readings import Readings, read
from lazarus_probe.introspection.untrained import control_models
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import LESIONS, Lesion
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import Fact

LABELS = {
    "product": lambda fact: fact.answer,
    "sum": lambda fact: fact.a + fact.b,
    "first operand": lambda fact: fact.a,
}
WORLDS = tuple(product(LESIONS, LABELS))
# What a probe faced before: embeddings at its own position, and untrained models that share no embedding.
BEFORE = ("mean", "bag_of_tokens", "untrained", "shuffled_labels")
NOW = (*BEFORE, "token_embeddings", *LESIONS)
STORE = ActivationStore()


@cache
def shallow(layers: int = 2) -> Subject:
    """The first blocks of the bundled organism, with its embeddings, final norm and unembedding."""
    organism = Subject.load("organism")
    model = type(organism.model)(dataclasses.replace(organism.model.args, num_hidden_layers=layers))
    names = {name for name, _ in tree_flatten(model.parameters())}
    weights = tree_flatten(organism.model.parameters())
    model.load_weights([(name, value) for name, value in weights if name in names])
    return Subject.from_model(model, organism.tokenizer, "shallow organism")


@cache
def asked(seed: int, questions: int = 160) -> tuple[Fact, ...]:
    """Products to be read at their equals sign."""
    return tuple(prompts.sample_facts("multiply", questions, np.random.default_rng(seed)))


def labelled(seed: int, label: str) -> Labelled:
    """The questions with a number to be read; a split keeps both orders of the operands together."""
    facts = asked(seed)
    return Labelled(
        [fact.prompt() for fact in facts],
        np.array([float(LABELS[label](fact)) for fact in facts]),
        np.array([str(fact.family) for fact in facts]),
    )


def emergence_of_embeddings(seed: int, lesion: Lesion, label: str) -> Draw:
    """What the embeddings say, looked for in the layers of a model whose layers hold nothing learnt."""
    subject = shallow().lesioned(lesion, seed)
    found = emergence(
        subject,
        control_models(subject),
        labelled(seed, label),
        threshold=0.6,
        margin=0.05,
        kind="regression",
        store=STORE,
        seed=seed,
    )
    return Draw(claim("emergence", 0.6, *NOW, "layer_before", margin=0.05), found)


def emergences_of_embeddings(seeds: Sequence[int]) -> Iterator[Mapping[tuple[Lesion, str], Draw]]:
    """By world, a draw of each seed; those of one seed share their questions, and the models that these are put to."""
    for seed in seeds:
        yield {(lesion, label): emergence_of_embeddings(seed, lesion, label) for lesion, label in WORLDS}


def read_as_before(*arguments: Any) -> dict[Site, Readings]:
    """What probes were given before: the embeddings of the position that is read alone, and no lesioned models."""
    return {
        site: dataclasses.replace(
            readings,
            embeddings=readings.embeddings[:1],
            models={"untrained": readings.models["untrained"]},
        )
        for site, readings in read(*arguments).items()
    }


def decodability_of_embeddings(seed: int, lesion: Lesion) -> Draw:
    """The operation in a phrasing not met, after the first layer of such a model: its embeddings say it too."""
    subject, questions = shallow().lesioned(lesion, seed), prompts.questions(np.random.default_rng(seed), 5)
    asked_for = Labelled(
        [question.text for question in questions],
        np.array([question.fact.operation for question in questions]),
        np.array([question.phrasing for question in questions]),
        np.array([question.family for question in questions]),
    )
    found = decode(subject, control_models(subject), asked_for, Site("resid_post", 0), store=STORE, seed=seed)
    return Draw(claim("decodability", 0.5, "majority", *NOW[1:], margin=0.05), found)
