"""A battery of probe sets over all layers: which property is readable from where on, beyond its controls.

Stratigraphy, after the layers of a dig. A property emerges at the first layer whose held-out accuracy is past a
threshold and beyond every control: the commonest class, a bag of tokens, the same layer of an untrained twin, and
shuffled labels. The largest p of these, each corrected for the layers by the max statistic, is corrected for all sets
by Benjamini-Hochberg.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.circuit.layer_probes import ALPHA, DRAWS, LayerProbe, emergence_of, probe_layers
from lazarus_probe.circuit.sets import ProbeSet
from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.display import Cell, table
from lazarus_probe.introspection.untrained import FIRST_SEED
from lazarus_probe.statistics import bag_of_tokens, benjamini_hochberg
from lazarus_probe.subject.batches import encode_all

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

THRESHOLD = 0.75


@dataclass(frozen=True)
class SetProbes:
    """One set at all layers.

    Attributes:
        name: of the set.
        category: of the set.
        classes: its classes.
        layers: by layer, the probe.
        q: the least p of the layers past the threshold, corrected for all sets too; None where none was drawn.
        emergence: the first layer that is past the threshold and beyond its controls, if there is one.
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
        threshold: the least accuracy of what emerges.
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
    threshold: float = THRESHOLD,
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
        threshold: the least held-out accuracy of what is said to emerge.
        full: whether to run the untrained twin and shuffle labels; without, nothing is said to emerge.
        draws: shuffles of the labels.
        seed: of the twin, folds, shuffles and intervals.
        progress: called with the name of each set before it is probed.

    Raises:
        ValueError: no sets, or a layer that the model does not have.
    """
    if not sets:
        raise ValueError("no probe sets; give at least one")
    wanted = list(range(subject.num_layers)) if layers is None else list(layers)
    # One pass over each model: prompts of one length run together, whichever sets they are of.
    texts = [text for each in sets for text in each.texts]
    inside, untrained = _read(subject, texts, wanted), {}
    if full:
        untrained = _read(subject.untrained(FIRST_SEED + seed), texts, wanted)
    found, start = {}, 0
    for each in sets:
        progress(each.name)
        rows = slice(start, start + len(each.texts))
        start += len(each.texts)
        known = {"bag_of_tokens": dict.fromkeys(wanted, bag_of_tokens(encode_all(subject, each.texts)))}
        known |= {"untrained": {n: values[rows] for n, values in untrained.items()}} if full else {}
        found[each.name] = probe_layers(
            {n: values[rows] for n, values in inside.items()},
            np.array(each.labels),
            np.array(each.groups),
            known,
            draws=draws if full else 0,
            seed=seed,
        )
    q: Mapping[str, float] = benjamini_hochberg(_past(found, threshold), list(found)).q if full else {}
    return Stratigraphy(
        subject.name,
        subject.num_layers,
        threshold,
        {each.name: _described(each, found[each.name], threshold, q.get(each.name)) for each in sets},
        full,
    )


def _read(subject: Subject, texts: Sequence[str], layers: Sequence[int]) -> dict[int, NDArray[Any]]:
    """By layer, the residual stream (N, D) after it at the last position; several streams side by side."""
    sites = {layer: resid_post(layer) for layer in layers}
    found = collect(subject, texts, list(sites.values()))
    return {layer: found[site].reshape(len(texts), -1) for layer, site in sites.items()}


def _past(found: Mapping[str, Mapping[int, LayerProbe]], threshold: float) -> dict[str, float | None]:
    """By set, the smallest corrected p of the layers past the threshold; 1 where none is."""
    return {
        name: min([each.worst_p for each in layers.values() if each.accuracy >= threshold] or [1.0])
        for name, layers in found.items()
    }


def _described(
    probed: ProbeSet, layers: Mapping[int, LayerProbe], threshold: float, q: float | None
) -> SetProbes:
    emerged = emergence_of(layers, threshold) if q is not None and q <= ALPHA else None
    return SetProbes(probed.name, probed.category, tuple(probed.classes), layers, q, emerged)
