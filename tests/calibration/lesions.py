"""Models with trained embeddings whose blocks compute nothing: whatever is read after a layer, no layer made it.

The embeddings of a bundled model tell numbers apart by size, and blocks of any weights mix the positions of a prompt,
so that operands, and to a good part their product, are readable at its last token.
"""

from __future__ import annotations

import dataclasses
from functools import cache, lru_cache

import numpy as np
from draws import Draw, claim
from mlx.utils import tree_flatten

from lazarus_probe.hooks.sites import Site, resid_post
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.probing.emergence import emergence, find
from lazarus_probe.introspection.probing.inputs import ProbeInputs, embedding_features, site_of
from lazarus_probe.introspection.probing.layer_scan import Scan
from lazarus_probe.introspection.probing.probe import ProbeDataset, probe
from lazarus_probe.statistics.controls import bag_of_tokens
from lazarus_probe.statistics.folds import halves
from lazarus_probe.subject import Subject
from lazarus_probe.subject.batches import encode_all
from lazarus_probe.subject.control_models import LESIONS, Lesion, control_models
from lazarus_probe.subject.control_models import lesioned as lesion_of
from lazarus_probe.subject.relative_depth import EMBED
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import Fact

LABELS = {
    "product": lambda fact: fact.answer,
    "sum": lambda fact: fact.a + fact.b,
    "first operand": lambda fact: fact.a,
}
# What a probe faced before: embeddings at its own position, and untrained models that share no embedding.
BEFORE = ("mean", "bag_of_tokens", "untrained", "shuffled_labels")
NOW = (*BEFORE, "token_embeddings", *LESIONS)
STORE = ActivationStore()
FEW, MANY = 160, 480  # questions; of the few no reading of the product is sure enough to be credited
SOUGHT = {"threshold": 0.6, "margin": 0.05, "alpha": 0.05}


@cache
def shallow(layers: int = 2) -> Subject:
    """The first blocks of the bundled organism, with its embeddings, final norm and unembedding."""
    organism = Subject.load("organism")
    # The kinds of layers are one for each layer, and blocks are built of them: without that there would be all.
    arguments = dataclasses.replace(organism.model.args, num_hidden_layers=layers, layer_types=None)
    model = type(organism.model)(arguments)
    names = {name for name, _ in tree_flatten(model.parameters())}
    weights = tree_flatten(organism.model.parameters())
    model.load_weights([(name, value) for name, value in weights if name in names])
    subject = Subject.from_model(model, organism.tokenizer, "shallow organism")
    assert subject.num_layers == layers
    return subject


@cache
def asked(seed: int, questions: int = FEW) -> tuple[Fact, ...]:
    """Products to be read at their equals sign."""
    return tuple(prompts.sample_facts("multiply", questions, np.random.default_rng(seed)))


def labelled(seed: int, label: str, questions: int = FEW) -> ProbeDataset:
    """The questions with a number to be read; a split keeps both orders of the operands together."""
    facts = asked(seed, questions)
    return ProbeDataset(
        [fact.prompt() for fact in facts],
        np.array([float(LABELS[label](fact)) for fact in facts]),
        np.array([str(fact.family) for fact in facts]),
    )


def emergence_of_embeddings(seed: int, lesion: Lesion, label: str) -> Draw:
    """What the embeddings say, looked for in the layers of a model whose layers hold nothing learnt."""
    subject = lesioned(lesion, seed)
    found = emergence(
        subject,
        control_models(subject),
        labelled(seed, label),
        threshold=SOUGHT["threshold"],
        margin=SOUGHT["margin"],
        kind="regression",
        store=STORE,
        seed=seed,
    )
    return Draw(claim("emergence", SOUGHT["threshold"], *NOW, "layer_before", margin=SOUGHT["margin"]), found)


def emerges(seed: int, lesion: Lesion, label: str) -> bool:
    """Whether that is supported.

    What the search does not find against the controls that need no other model, it does not find against all of them,
    and what it does not find has p = 1. So the other models are needed only for what is left, at a fifth of the cost.
    """
    return sought(seed, lesion, label) is not None and emergence_of_embeddings(seed, lesion, label).alarms


def sought(seed: int, lesion: Lesion, label: str) -> int | None:
    """The layer that the search of `emergence` finds, were there no control models."""
    asked_for, subject = labelled(seed, label), lesioned(lesion, seed)
    inputs = {layer: alone(subject, asked_for, layer) for layer in range(EMBED, subject.num_layers)}
    first, _ = halves(asked_for.labels, asked_for.groups, asked_for.half_units, seed, "regression")
    return find(Scan(inputs, "regression", seed).take(first), **SOUGHT)


def alone(subject: Subject, asked_for: ProbeDataset, layer: int) -> ProbeInputs:
    """What a probe is fitted to, without control models."""
    sites = [Site("embed"), *map(resid_post, range(subject.num_layers))]
    tokens = encode_all(subject, asked_for.prompts)
    inside = STORE.get(subject, tokens, sites)
    embeddings = embedding_features(subject, tokens, STORE)
    return ProbeInputs(
        asked_for,
        tokens,
        list(asked_for.prompts),
        inside[site_of(layer)],
        {"bag_of_tokens": bag_of_tokens(tokens)},
        () if layer == EMBED else (inside[sites[0]], *embeddings),
    )


@lru_cache(maxsize=4)
def lesioned(lesion: Lesion, seed: int) -> Subject:
    return lesion_of(shallow(), lesion, seed)


def decodability_of_embeddings(seed: int, lesion: Lesion) -> Draw:
    """The product after the first layer of such a model: any block that mixes positions makes it of the embeddings."""
    subject, asked_for = lesioned(lesion, seed), labelled(seed, "product", MANY)
    found = probe(
        subject,
        control_models(subject),
        asked_for,
        resid_post(0),
        kind="regression",
        store=STORE,
        seed=seed,
    )
    return Draw(claim("decodability", 0.5, *NOW, margin=0.05), found)
