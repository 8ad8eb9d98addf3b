"""Activations of single neurons over prompts.

"Neuron" is the published word for two things. `resid_post` reads coordinates of the residual stream, whose axes are not
privileged; `neurons` reads the input of an MLP's down projection, the usual meaning of the word.

A few coordinates of a trained model's residual stream are large in any prompt, and so in any direction that is made of
states. These outliers are named, and not shown as what a direction is made of.
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
from lazarus_probe.introspection.directions.class_direction import top_coordinates
from lazarus_probe.introspection.probing.separating_neurons import Separation, separating
from lazarus_probe.statistics.centred import OutlierDimension, outlier_dimensions
from lazarus_probe.subject.control_models import built, control_models, faced
from lazarus_probe.tables import Cell, Column, Table

if TYPE_CHECKING:
    from lazarus_probe.introspection.directions.direction_file import Direction
    from lazarus_probe.subject.subject import Subject

SiteKind = Literal["resid_post", "neurons"]
Layers = Mapping[int, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class NeuronMap:
    """Neurons over prompts at some layers.

    Attributes:
        model: its name.
        site: where neurons are read.
        neurons: K coordinates.
        names: (K,) names of the neurons.
        prompts: N texts.
        labels: (N,) classes, if any.
        activations: (N, K) at the last token, by layer.
        weights: in the direction, by neuron.
        discovered: whether the neurons were searched for.
        separation: of the labels, if any.
        unsteered: (N, K) without steering, by layer; None without steering.
        push: name, layer and coefficient of the direction that was added.
        outliers: the outlier dimensions of the residual stream over the prompts, by layer.
        left_out: those that a direction's neurons would have been, and were left out.
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
    outliers: Mapping[int, Sequence[OutlierDimension]] = field(default_factory=dict)
    left_out: Sequence[int] = ()

    def notes(self) -> list[str]:
        """The outlier dimensions that are shown, and those left out."""
        ratios: dict[int, float] = {}
        for of_layer in self.outliers.values():
            for outlier in of_layer:
                ratios[outlier.dimension] = max(outlier.ratio, ratios.get(outlier.dimension, 0.0))
        return [
            f"{'Left out: ' if neuron in self.left_out else ''}N{neuron} is an outlier dimension, large in any prompt "
            f"({ratio:.0f} x the median dimension)"
            for neuron, ratio in ratios.items()
            if neuron in self.neurons or neuron in self.left_out
        ]

    def stats(self, layer: int) -> list[dict[str, float | None]]:
        """Statistics of each neuron over the prompts, under the published keys.

        `weight` is that in the direction, `separation` that of the labels in pooled standard deviations, and `p` is
        under shuffled labels, corrected for all neurons and layers searched.
        """
        values, separation = self.activations[layer].astype(np.float64), self.separation
        return [
            {
                "neuron_idx": neuron,
                "min_val": float(column.min()),
                "max_val": float(column.max()),
                "mean_val": float(column.mean()),
                "std_val": float(column.std()),
                "weight": self.weights.get(neuron),
                "separation": None if separation is None else float(separation.values[layer][neuron]),
                "p": None if separation is None else float(separation.p[layer][neuron]),
            }
            for neuron, column in zip(self.neurons, values.T, strict=True)
        ]

    def table(self, layer: int) -> Table:
        """Prompts by neurons at a layer; with steering, the value without it in brackets."""
        values = self.activations[layer]
        before = None if self.unsteered is None else self.unsteered[layer]
        top = float(np.abs(values).max()) or 1.0

        def cell(i: int, k: int) -> Cell:
            unsteered = "" if before is None else f" ({before[i, k]:+.3f})"
            return Cell(f"{values[i, k]:+.3f}{unsteered}", shade=float(values[i, k]) / top)

        rows = [
            [
                prompt,
                *([self.labels[i]] if self.labels else []),
                *(cell(i, k) for k in range(len(self.names))),
            ]
            for i, prompt in enumerate(self.prompts)
        ]
        width = max(17 if self.unsteered else 10, *(len(name) + 1 for name in self.names))
        columns = [Column("Prompt"), *([Column("Label", width=6)] if self.labels else [])]
        columns += [Column(name, width=width) for name in self.names]
        return Table(columns, rows, f"{self.model}: L{layer} {self.site}")

    def stats_table(self, layer: int) -> Table:
        """The statistics of each neuron at a layer, with its weight and separation where there are any."""
        stats = self.stats(layer)
        further = [name for name in ("weight", "separation", "p") if stats[0][name] is not None]
        columns = [
            Column("Neuron", width=10),
            *(Column(name, "+.3f", width=10) for name in ("Min", "Max", "Mean")),
            Column("Std", ".3f", width=10),
            *(Column(name if name == "p" else name.capitalize(), ".3f", width=10) for name in further),
        ]
        rows = [
            [name, *(neuron[key] for key in ("min_val", "max_val", "mean_val", "std_val", *further))]
            for name, neuron in zip(self.names, stats, strict=True)
        ]
        return Table(columns, rows)

    def as_data(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "model_id": self.model,
            "layers": list(self.activations),
            "neurons": list(self.neurons),
            "neuron_names": list(self.names),
            "prompts": list(self.prompts),
            "labels": None if self.labels is None else list(self.labels),
            "by_layer": {str(layer): self.stats(layer) for layer in self.activations},
            "neuron_weights": {str(neuron): weight for neuron, weight in self.weights.items()},
            "auto_discovered": self.discovered,
            "site": self.site,
            "activations": _lists(self.activations),
            "outlier_dimensions": {
                str(layer): [{"dimension": outlier.dimension, "ratio": outlier.ratio} for outlier in of_layer]
                for layer, of_layer in self.outliers.items()
            },
            "outliers_left_out": list(self.left_out),
            "null": None if self.separation is None else self.separation.as_data(),
            **({} if self.push is None else {"steer": dict(self.push)}),
            **({} if self.unsteered is None else {"unsteered": _lists(self.unsteered)}),
        }

    def _repr_html_(self) -> str:
        return "".join(self.table(layer).html() for layer in self.activations)


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
    keep_outliers: bool = False,
    seed: int = 0,
) -> NeuronMap:
    """Read neurons at the last token of each prompt, and how well they separate the prompts' labels.

    Args:
        subject: the model.
        prompts: N texts.
        layers: blocks, from 0.
        site: `resid_post` or `neurons`.
        neurons: which to show; by default the `top` ones of the direction, or of a search.
        names: of the neurons.
        direction: whose weights are shown.
        discover: search all neurons for those that separate the labels.
        top: number of neurons to show of a direction or a search.
        labels: (N,) classes of the prompts.
        groups: (N,) what splits and shuffles of the labels keep together.
        push: a direction and its coefficient, added at the last token after its layer.
        keep_outliers: show a direction's largest neurons also where they are outlier dimensions.
        seed: of shuffles, folds and intervals.

    Raises:
        ValueError: a neuron that does not exist, a direction of another width, or as `read_neurons` and `separating`.
    """
    store = ActivationStore()
    unsteered = read_neurons(subject, prompts, layers, site, store)
    values = unsteered if push is None else read_neurons(subject, prompts, layers, site, store, push)
    width = min(at_layer.shape[1] for at_layer in values.values())
    if neurons and max(neurons) >= width:
        raise ValueError(f"there is no neuron {max(neurons)}; there are 0 to {width - 1} here")
    if direction is not None and len(direction.vector) != width:
        raise ValueError(
            f"direction {direction.name!r} has dimension {len(direction.vector)}, and there are {width} neurons here; "
            "give a direction of this model and site"
        )
    chosen = list(neurons or [])
    outliers = {}
    if site == "resid_post":
        outliers = {layer: outlier_dimensions(at_layer) for layer, at_layer in unsteered.items()}
    left_out: list[int] = []
    if direction is not None and neurons is None:
        outlying = {outlier.dimension for of_layer in outliers.values() for outlier in of_layer}
        largest = top_coordinates(direction.vector, top + len(outlying))
        left_out = [] if keep_outliers else [neuron for neuron in largest[:top] if neuron in outlying]
        chosen = [neuron for neuron in largest if neuron not in left_out][:top]
    separation = None
    if labels is not None:
        models = {
            kind: [read_neurons(built(model), prompts, layers, site) for model in of_kind]
            for kind, of_kind in faced(subject, control_models(subject)).items()
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
        activations={layer: at_layer[:, chosen] for layer, at_layer in values.items()},
        weights={} if direction is None else {neuron: float(direction.vector[neuron]) for neuron in chosen},
        discovered=discover,
        separation=separation,
        unsteered=None
        if push is None
        else {layer: at_layer[:, chosen] for layer, at_layer in unsteered.items()},
        push=None
        if push is None
        else {"direction": push[0].name, "layer": push[0].layer, "coefficient": push[1]},
        outliers=outliers,
        left_out=left_out,
    )


def read_neurons(
    subject: Subject,
    prompts: Sequence[str],
    layers: Sequence[int],
    site: SiteKind = "resid_post",
    store: ActivationStore | None = None,
    push: tuple[Direction, float] | None = None,
) -> dict[int, NDArray[np.float32]]:
    """All neurons (N, D) at the last token by layer, from one pass; the arguments are those of `neuron_map`.

    Raises:
        ValueError: a block without such a site, a direction of another width, or only layers before it.
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
    return {layer: values[at].reshape(len(prompts), -1) for layer, at in zip(layers, sites, strict=True)}


def check_push(direction: Direction, layers: Sequence[int], site: SiteKind, width: int) -> None:
    """Refuse a direction of another width, or one that is added after all layers shown.

    Raises:
        ValueError: either.
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


def _lists(values: Layers) -> dict[str, Any]:
    return {str(layer): at_layer.tolist() for layer, at_layer in values.items()}
