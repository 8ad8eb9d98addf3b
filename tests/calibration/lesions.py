"""Models with trained embeddings whose blocks compute nothing: whatever is read after a layer, no layer made it.

The embeddings of a bundled model tell numbers apart by size, and blocks of any weights mix the positions of a prompt,
so that operands, and to a good part their product, are readable at its last token.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from itertools import product

import numpy as np
from draws import Draw, claim
from mlx.utils import tree_flatten

from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.emergence import emergence
from lazarus_probe.introspection.probe import Labelled
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
BEFORE = ("mean", "bag_of_tokens", "untrained", "shuffled_labels", "layer_before")
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


@cache
def emergence_of_embeddings(seed: int, lesion: Lesion, label: str, layer: int | None = None) -> Draw:
    """What the embeddings say, looked for in the layers of a model whose layers hold nothing learnt, or in one."""
    subject, facts = shallow().lesioned(lesion, seed), asked(seed)
    labelled = Labelled(
        [fact.prompt() for fact in facts],
        np.array([float(LABELS[label](fact)) for fact in facts]),
        np.array([str(fact.family) for fact in facts]),
    )
    found = emergence(
        subject,
        control_models(subject),
        labelled,
        threshold=0.6,
        margin=0.05,
        layer=layer,
        kind="regression",
        store=STORE,
        seed=seed,
    )
    return Draw(claim("emergence", 0.6, *NOW, margin=0.05), found)
