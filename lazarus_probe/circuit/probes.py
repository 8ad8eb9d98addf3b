"""A battery of probe sets over all layers: which property is readable from where on, beyond its controls.

Stratigraphy, after the layers of a dig. A property emerges at the first layer where the declared claim
`property-emerges` is supported: the whole interval of its held-out accuracy past a threshold and beyond every control,
which are the commonest class, a bag of tokens, the embeddings of all tokens, the same layer of untrained and lesioned
models, and shuffled labels. All layers of all sets are one family (Benjamini & Hochberg 1995).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.circuit.layer_probes import DRAWS, LayerProbe, Models, emergence_of, probe_layers
from lazarus_probe.circuit.sets import ProbeSet
from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.declared import declared
from lazarus_probe.claims.judging import at_threshold, judge_together, q_values
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.display import Cell, table
from lazarus_probe.introspection.probing.inputs import ProbeDataset, read
from lazarus_probe.statistics import bag_of_tokens
from lazarus_probe.statistics.probes.held_out import held_out
from lazarus_probe.subject.batches import encode_all
from lazarus_probe.subject.control_models import control_models

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

CLAIM = "property-emerges"


@dataclass(frozen=True)
class SetProbes:
    """One set at all layers.

    Attributes:
        name: of the set.
        category: of the set.
        classes: its classes.
        layers: by layer, the probe.
        q: the least p of the claim at its layers, corrected for all layers of all sets; None where none was drawn.
        emergence: the first layer at which the claim is supported among all of them, if there is one.
    """

    name: str
    category: str
    classes: tuple[str, ...]
    layers: Mapping[int, LayerProbe]
    q: float | None
    emergence: int | None

    @property
    def best(self) -> LayerProbe:
        """The layer with the highest accuracy."""
        return max(self.layers.values(), key=lambda each: each.accuracy)

    def as_data(self) -> dict[str, Any]:
        """By layer, plain data with the published keys first."""
        return {
            str(layer): {
                "accuracy": each.accuracy,
                "cv_std": each.cv_std,
                "baseline": each.majority,
                "above_chance": each.accuracy - each.majority,
                "n_samples": each.n,
                **each.as_data(),
            }
            for layer, each in self.layers.items()
        }


@dataclass(frozen=True)
class Stratigraphy:
    """A battery of sets.

    Attributes:
        model_id: the model.
        num_layers: of the model.
        threshold: the least accuracy of what emerges: the declared one, or that which was asked for.
        sets: by name.
        full: whether the twin and shuffled labels were there, without which nothing can be said to emerge.
    """

    model_id: str
    num_layers: int
    threshold: float
    sets: Mapping[str, SetProbes]
    full: bool

    def as_data(self) -> dict[str, Any]:
        """Plain data, with the published keys first."""
        data: dict[str, Any] = {
            "model_id": self.model_id,
            "num_layers": self.num_layers,
            "probes": {name: each.as_data() for name, each in self.sets.items()},
            "threshold": self.threshold,
            "claim": CLAIM,
        }
        if self.full:
            data["emergence"] = {
                name: {"layer": each.emergence, "q": each.q, "classes": list(each.classes)}
                for name, each in self.sets.items()
            }
        return data

    def _repr_html_(self) -> str:
        layers = list(next(iter(self.sets.values())).layers)
        rows = [
            [
                name,
                *(Cell(f"{each.layers[n].accuracy:.2f}", shade=each.layers[n].accuracy / 2) for n in layers),
                "-" if each.emergence is None else f"L{each.emergence}",
            ]
            for name, each in self.sets.items()
        ]
        return table(f"Stratigraphy: {self.model_id}", ["set", *(f"L{n}" for n in layers), "emerges"], rows)


def stratigraphy(
    subject: Subject,
    sets: Sequence[ProbeSet],
    layers: Sequence[int] | None = None,
    *,
    threshold: float | None = None,
    full: bool = True,
    draws: int = DRAWS,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Stratigraphy:
    """Probe each set at each layer, at the last position.

    Args:
        subject: the model.
        sets: what to look for.
        layers: where; all layers, if left out.
        threshold: the least held-out accuracy of what is said to emerge, in place of the declared one.
        full: whether to run untrained and lesioned models and shuffle labels; without, nothing is said to emerge.
        draws: shuffles of the labels.
        seed: of folds, shuffles and intervals.
        progress: called with the name of each set before it is probed.

    Raises:
        ValueError: no sets, a layer that the model does not have, a threshold above 1, or with `full` prompts of the
            same words in two groups of a set.
    """
    if not sets:
        raise ValueError("no probe sets; give at least one")
    claim = declared(CLAIM) if threshold is None else at_threshold(CLAIM, threshold)
    wanted = list(range(subject.num_layers)) if layers is None else list(layers)
    store, found = ActivationStore(), {}
    for each in sets:
        progress(each.name)
        labels, groups = np.array(each.labels), np.array(each.groups)
        inputs = (
            _with_controls(subject, each, wanted, store, seed)
            if full
            else _plain(subject, each, wanted, store)
        )
        found[each.name] = probe_layers(
            inputs.features,
            labels,
            groups,
            inputs.known,
            claim,
            models=inputs.models,
            draws=draws if full else 0,
            seed=seed,
        )
    named = _among_all(found, claim) if full else {name: (layers, None) for name, layers in found.items()}
    return Stratigraphy(
        subject.name,
        subject.num_layers,
        claim.threshold,
        {each.name: _described(each, *named[each.name]) for each in sets},
        full,
    )


@dataclass(frozen=True, eq=False)
class _Inputs:
    """What the probes of one set are given, by layer."""

    features: Mapping[int, NDArray[Any]]
    known: Mapping[str, Mapping[int, NDArray[Any]]]
    models: Models


def _plain(subject: Subject, probed: ProbeSet, layers: Sequence[int], store: ActivationStore) -> _Inputs:
    """The residual stream after each layer at the last position; several streams side by side."""
    sites = {layer: resid_post(layer) for layer in layers}
    values = store.get(subject, probed.texts, list(sites.values()))
    features = {layer: values[site].reshape(len(probed.texts), -1) for layer, site in sites.items()}
    bag = bag_of_tokens(encode_all(subject, probed.texts))
    return _Inputs(features, {"bag_of_tokens": dict.fromkeys(layers, bag)}, {})


def _with_controls(
    subject: Subject, probed: ProbeSet, layers: Sequence[int], store: ActivationStore, seed: int
) -> _Inputs:
    """The same, with the embeddings of all tokens, and with untrained and lesioned models."""
    labelled = ProbeDataset(list(probed.texts), np.array(probed.labels), np.array(probed.groups))
    sites = {layer: resid_post(layer) for layer in layers}
    by_site = read(subject, control_models(subject), labelled, list(sites.values()), "classification", store)
    readings = {layer: by_site[site] for layer, site in sites.items()}
    any_layer = next(iter(readings.values()))
    problems = [any_layer.problem(form, "classification", seed) for form in any_layer.embeddings]
    best = max(problems, key=lambda problem: held_out(problem).score).features
    known = {"bag_of_tokens": any_layer.known["bag_of_tokens"], "token_embeddings": best}
    return _Inputs(
        {layer: each.features for layer, each in readings.items()},
        {name: dict.fromkeys(layers, values) for name, values in known.items()},
        {kind: {layer: each.models[kind] for layer, each in readings.items()} for kind in any_layer.models},
    )


def _among_all(
    found: Mapping[str, Mapping[int, LayerProbe]], claim: Claim
) -> dict[str, tuple[dict[int, LayerProbe], float]]:
    """By set, its layers with their verdicts among all layers of all sets, and the least q of them."""
    tests = {
        f"{layer} {name}": (claim, each.measurement)
        for name, layers in found.items()
        for layer, each in layers.items()
    }
    verdicts, q = judge_together(tests), q_values(tests)
    return {
        name: (
            {layer: replace(each, verdict=verdicts[f"{layer} {name}"]) for layer, each in layers.items()},
            min(q[f"{layer} {name}"] for layer in layers),
        )
        for name, layers in found.items()
    }


def _described(probed: ProbeSet, layers: Mapping[int, LayerProbe], q: float | None) -> SetProbes:
    return SetProbes(probed.name, probed.category, tuple(probed.classes), layers, q, emergence_of(layers))
