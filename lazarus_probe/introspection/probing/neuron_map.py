"""What single coordinates do over prompts: of the residual stream after a block, or of an MLP's activations.

"Neuron" is the published word for both. `resid_post` reads coordinates of the residual stream, whose axes no model has
to use; `neurons` reads what an MLP's down projection reads, which is what the word means elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.interventions import steer
from lazarus_probe.hooks.sites import Site, resid_post
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.hooks.trace import hooked
from lazarus_probe.introspection.display import Cell, table
from lazarus_probe.introspection.probing.separating_neurons import Separation, separating
from lazarus_probe.subject.control_models import built, control_models, faced

if TYPE_CHECKING:
    from lazarus_probe.introspection.directions.direction_file import Direction
    from lazarus_probe.subject.subject import Subject

SiteKind = Literal["resid_post", "neurons"]
SITES: tuple[SiteKind, ...] = ("resid_post", "neurons")
Layers = Mapping[int, NDArray[np.float32]]


@dataclass(frozen=True)
class NeuronStats:
    """One neuron over the prompts.

    Attributes:
        neuron_idx: its coordinate.
        min_val: over the prompts.
        max_val: over the prompts.
        mean_val: over the prompts.
        std_val: over the prompts, of the population.
        weight: in the direction that was given.
        separation: of the labels, in pooled standard deviations.
        p: of that separation under shuffled labels, corrected for all neurons and layers searched.
    """

    neuron_idx: int
    min_val: float
    max_val: float
    mean_val: float
    std_val: float
    weight: float | None = None
    separation: float | None = None
    p: float | None = None


@dataclass(frozen=True, eq=False)
class NeuronMap:
    """Neurons over prompts at some layers.

    Attributes:
        model: its name.
        site: what a neuron is.
        neurons: K coordinates.
        names: (K,) what they are called.
        prompts: N texts.
        labels: (N,) their classes, if there are.
        activations: by layer, (N, K) at the last token.
        weights: by neuron, in the direction that was given.
        discovered: whether the neurons were searched for.
        separation: of the labels, if there are.
        unsteered: by layer, (N, K) without steering; None where there was none.
        push: name, layer and coefficient of the direction that was added.
    """

    model: str
    site: SiteKind
    neurons: Sequence[int]
    names: Sequence[str]
    prompts: Sequence[str]
    labels: Sequence[str] | None
    activations: Layers
    weights: Mapping[int, float] = field(default_factory=dict)
    discovered: bool = False
    separation: Separation | None = None
    unsteered: Layers | None = None
    push: Mapping[str, Any] | None = None

    def stats(self, layer: int) -> list[NeuronStats]:
        """Of each neuron at a layer."""
        values, separation = self.activations[layer].astype(np.float64), self.separation
        return [
            NeuronStats(
                neuron,
                float(column.min()),
                float(column.max()),
                float(column.mean()),
                float(column.std()),
                self.weights.get(neuron),
                None if separation is None else float(separation.values[layer][neuron]),
                None if separation is None else float(separation.p[layer][neuron]),
            )
            for neuron, column in zip(self.neurons, values.T, strict=True)
        ]

    def as_data(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "model_id": self.model,
            "layers": list(self.activations),
            "neurons": list(self.neurons),
            "neuron_names": list(self.names),
            "prompts": list(self.prompts),
            "labels": None if self.labels is None else list(self.labels),
            "by_layer": {
                str(layer): [vars(each) for each in self.stats(layer)] for layer in self.activations
            },
            "neuron_weights": {str(neuron): weight for neuron, weight in self.weights.items()},
            "auto_discovered": self.discovered,
            "site": self.site,
            "activations": _lists(self.activations),
            "null": None if self.separation is None else self.separation.as_data(),
            **({} if self.push is None else {"steer": dict(self.push)}),
            **({} if self.unsteered is None else {"unsteered": _lists(self.unsteered)}),
        }

    def _repr_html_(self) -> str:
        parts = []
        for layer, values in self.activations.items():
            top = float(np.abs(values).max()) or 1.0
            rows = [
                [prompt, *(Cell(f"{value:+.3f}", shade=float(value) / top) for value in row)]
                for prompt, row in zip(self.prompts, values, strict=True)
            ]
            parts.append(table(f"{self.model}: L{layer} {self.site}", ["prompt", *self.names], rows))
        return "".join(parts)


def neuron_map(
    subject: Subject,
    prompts: Sequence[str],
    layers: Sequence[int],
    site: SiteKind = "resid_post",
    *,
    neurons: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    direction: Direction | None = None,
    discover: bool = False,
    top: int = 10,
    labels: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    push: tuple[Direction, float] | None = None,
    seed: int = 0,
) -> NeuronMap:
    """What some neurons do at the last token of each prompt, and how well they separate the prompts' labels.

    Args:
        subject: the model.
        prompts: N texts.
        layers: blocks, from 0.
        site: `resid_post` or `neurons`.
        neurons: which to show; without them the `top` ones of the direction, or of a search.
        names: what the neurons are called.
        direction: whose weights are shown.
        discover: whether to search all neurons for those that separate the labels.
        top: how many neurons to show of a direction or a search.
        labels: (N,) classes of the prompts, to be separated.
        groups: (N,) what splits and shuffles of the labels keep together.
        push: a direction and how often it is added, at the last token after its layer.
        seed: of shuffles, folds and intervals.

    Raises:
        ValueError: a neuron that does not exist, a direction of another width, or as `read_neurons` and `separating`.
    """
    store = ActivationStore()
    unsteered = read_neurons(subject, prompts, layers, site, store)
    values = unsteered if push is None else read_neurons(subject, prompts, layers, site, store, push)
    width = min(each.shape[1] for each in values.values())
    if neurons and max(neurons) >= width:
        raise ValueError(f"there is no neuron {max(neurons)}; there are 0 to {width - 1} here")
    if direction is not None and len(direction.vector) != width:
        raise ValueError(
            f"direction {direction.name!r} has dimension {len(direction.vector)}, and there are {width} neurons here; "
            "give a direction of this model and site"
        )
    chosen = list(neurons or []) if direction is None or neurons is not None else top_weights(direction, top)
    separation = None
    if labels is not None:
        models = {
            kind: [read_neurons(built(model), prompts, layers, site) for model in several]
            for kind, several in faced(subject, control_models(subject)).items()
        }
        only = None if discover else chosen
        separation = separating(subject, prompts, labels, values, models, seed, only, groups)
    if discover and separation is not None:
        chosen = separation.top(top)
    return NeuronMap(
        model=subject.name,
        site=site,
        neurons=chosen,
        names=names or [f"N{neuron}" for neuron in chosen],
        prompts=prompts,
        labels=labels,
        activations={layer: each[:, chosen] for layer, each in values.items()},
        weights={} if direction is None else {neuron: float(direction.vector[neuron]) for neuron in chosen},
        discovered=discover,
        separation=separation,
        unsteered=None if push is None else {layer: each[:, chosen] for layer, each in unsteered.items()},
        push=None
        if push is None
        else {"direction": push[0].name, "layer": push[0].layer, "coefficient": push[1]},
    )


def read_neurons(
    subject: Subject,
    prompts: Sequence[str],
    layers: Sequence[int],
    site: SiteKind = "resid_post",
    store: ActivationStore | None = None,
    push: tuple[Direction, float] | None = None,
) -> dict[int, NDArray[np.float32]]:
    """All neurons (N, D) of some layers at the last token, from one pass.

    Args:
        subject: the model.
        prompts: N texts.
        layers: blocks, from 0.
        site: `resid_post` or `neurons`.
        store: activations shared with other analyses.
        push: a direction and how often it is added, at the last token after its layer.

    Raises:
        ValueError: a block without such a site, a direction of another width, or layers that all lie before it.
    """
    sites, store = [Site(site, layer) for layer in layers], store or ActivationStore()
    if push is None:
        values = store.get(subject, prompts, sites)
    else:
        direction, coefficient = push
        check_push(direction, layers, site, subject.anatomy.hidden_size)
        edit = steer(resid_post(direction.layer), direction.vector, coefficient, positions="last")
        with hooked(subject, interventions=[edit]):
            values = store.get(subject, prompts, sites)
    return {each.layer: values[each].reshape(len(prompts), -1) for each in sites if each.layer is not None}


def check_push(direction: Direction, layers: Sequence[int], site: SiteKind, width: int) -> None:
    """Refuse a direction of another width, or one added after every layer shown.

    Raises:
        ValueError: it is of another width, or all layers lie before it.
    """
    if len(direction.vector) != width:
        raise ValueError(
            f"direction {direction.name!r} has dimension {len(direction.vector)}; the model's width is {width}"
        )
    first = direction.layer + (site == "neurons")
    if max(layers) < first:
        raise ValueError(
            f"direction {direction.name!r} is added after layer {direction.layer}, and layer {max(layers)} lies "
            f"before it: give a layer from {first} on"
        )


def top_weights(direction: Direction, count: int) -> list[int]:
    """The coordinates of a direction's largest weights, either sign."""
    order = np.argsort(-np.abs(direction.vector), kind="stable")
    return [int(neuron) for neuron in order[:count]]


def _lists(values: Layers) -> dict[str, Any]:
    return {str(layer): each.tolist() for layer, each in values.items()}
