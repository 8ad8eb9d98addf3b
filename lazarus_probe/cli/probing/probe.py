"""`lazarus introspect probe`: two classes of prompts, the layers that separate them, and a direction between them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lazarus_probe.cli.options import Adapter, AsJson, Model, Output, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output, parse_prompts
from lazarus_probe.cli.probing.class_reading import (
    Tests,
    class_prompts,
    classes_and_groups,
    data_of,
    layers_asked,
    text_of,
    verdict_of,
)

if TYPE_CHECKING:
    from lazarus_probe.introspection.directions.class_direction import ClassDirection
    from lazarus_probe.introspection.directions.class_direction import Method as DirectionMethod
    from lazarus_probe.introspection.directions.direction_file import Direction
    from lazarus_probe.introspection.probing.class_probe import ClassProbe
    from lazarus_probe.subject.subject import Subject


class Method(StrEnum):
    """How the direction is computed."""

    LOGISTIC = "logistic"
    DIFFERENCE = "difference"

    @property
    def engine(self) -> DirectionMethod:
        """The name of the method in `class_direction`."""
        return "logistic" if self is Method.LOGISTIC else "difference_of_means"


def probe(
    model: Model,
    class_a: Annotated[str, typer.Option(help="Prompts of the first class: a|b|c, or @FILE.")],
    class_b: Annotated[str, typer.Option(help="Prompts of the second class: a|b|c, or @FILE.")],
    label_a: Annotated[str, typer.Option(help="Name of the first class.")] = "class_a",
    label_b: Annotated[str, typer.Option(help="Name of the second class.")] = "class_b",
    test: Tests = None,
    layer: Annotated[
        int | None, typer.Option("--layer", "-l", help="The layer to select.", show_default="the best")
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="Layers to probe, as in 0,4-7, or all.", show_default="all")
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(
            help="One group per prompt, class a's first: g1|g1|g2, or @FILE. Groups are never split between "
            "train and test."
        ),
    ] = None,
    method: Annotated[
        Method,
        typer.Option(
            help="How to compute the direction: coefficients of a logistic regression, or the difference of means."
        ),
    ] = Method.LOGISTIC,
    save_direction: Annotated[
        Path | None, typer.Option(help="Save the direction to this .npz or .json file.")
    ] = None,
    adapter: Adapter = None,
    seed: Seed = 0,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Probe every layer for two classes of prompts, and extract a direction between them.

    Accuracies are on held-out prompts, compared with a bag of tokens, the token embeddings, untrained models of the
    same shape and shuffled labels. The direction points from class b to class a. Its norm is the distance of their
    means along it, so that steering by 1 moves one mean to the other. Without --groups, the "category" fields of
    files are the groups.
    """
    check_output(output)
    check_output(save_direction, "--save-direction")
    if save_direction is not None and save_direction.suffix not in (".npz", ".json"):
        raise ValueError(f"--save-direction {save_direction}: give a name that ends in .npz or .json")
    if label_a == label_b:
        raise ValueError(f"--label-a and --label-b are both {label_a!r}; give two names")
    classes, units = classes_and_groups(
        {label_a: class_prompts(class_a, "--class-a"), label_b: class_prompts(class_b, "--class-b")}, groups
    )
    tests = [] if test is None else parse_prompts(test, "--test")
    numbers, selected = layers_asked(model, layers, layer)
    from lazarus_probe.introspection.directions.class_direction import class_direction
    from lazarus_probe.introspection.probing.class_probe import class_probe
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    probed = class_probe(
        subject, classes, layers=numbers, layer=selected, groups=units, tests=tests, seed=seed
    )
    verdict, dataset = verdict_of(probed), probed.labelled
    along = class_direction(probed.features, dataset.labels == label_a, dataset.groups, method.engine, seed)
    if save_direction is not None:
        from lazarus_probe.introspection.directions.direction_file import write_direction

        write_direction(save_direction, _saved(probed, along, subject))
    heading = [title(f"LINEAR PROBE: {' vs '.join(probed.classes)}"), f"Model: {probed.model}"]
    direction = _direction_lines(probed, along)
    direction += [] if save_direction is None else [f"Direction saved to: {save_direction}"]
    data = _data(data_of(probed, verdict), probed, along) | {"about": about(subject, seed)}
    text = text_of(probed, verdict, heading, direction=direction)
    deliver(data, text, as_json=as_json, output=output)


def _saved(probed: ClassProbe, along: ClassDirection, subject: Subject) -> Direction:
    """The direction as it is saved, with the published keys and its held-out accuracy."""
    import numpy as np

    from lazarus_probe.introspection.directions.direction_file import Direction

    if len(along.vector) != subject.anatomy.hidden_size:
        raise ValueError(
            f"{probed.model} has {len(along.vector)} numbers in its residual streams and a width of "
            f"{subject.anatomy.hidden_size}; a direction can be saved of a model with one stream"
        )
    label_a, label_b = probed.classes
    return Direction(
        along.vector.astype(np.float32),
        probed.best_layer,
        f"{label_a} - {label_b}",
        label_a,
        label_b,
        probed.model,
        along.method,
        along.accuracy,
        along.separation,
        {
            "class_a_mean_projection": along.class_a_mean_projection,
            "class_b_mean_projection": along.class_b_mean_projection,
            "norm": along.norm,
            "n": probed.measurement.n,
            "accuracy_low": along.interval.low,
            "accuracy_high": along.interval.high,
            "seed": probed.seed,
            "fingerprint": subject.fingerprint,
        },
    )


def _data(data: dict[str, Any], probed: ClassProbe, along: ClassDirection) -> dict[str, Any]:
    """The published keys, then those of the direction and the rest of the probe's data."""
    label_a, label_b = probed.classes
    return {
        "model_id": data.pop("model"),
        "class_a_label": label_a,
        "class_b_label": label_b,
        "num_class_a": len(probed.classes[label_a]),
        "num_class_b": len(probed.classes[label_b]),
        "best_layer": data.pop("best_layer"),
        "best_accuracy": data.pop("best_accuracy"),
        "layer_results": data.pop("layer_results"),
        "direction_norm": along.norm,
        "top_neurons": [{"neuron_idx": neuron, "weight": weight} for neuron, weight in along.top_neurons()],
        "method": along.method,
        "separation": along.separation,
        "direction_accuracy": along.accuracy,
        "direction_interval": [along.interval.low, along.interval.high],
        "class_a_mean_projection": along.class_a_mean_projection,
        "class_b_mean_projection": along.class_b_mean_projection,
        **data,
    }


def _direction_lines(probed: ClassProbe, along: ClassDirection) -> list[str]:
    from lazarus_probe.statistics.intervals import estimate

    label_a, label_b = probed.classes
    accuracy = estimate(along.accuracy, along.interval.low, along.interval.high)
    apart = "not defined" if along.separation is None else f"{along.separation:.2f} sd"
    neurons = ", ".join(f"{neuron} ({weight:+.3f})" for neuron, weight in along.top_neurons())
    return [
        f"Direction at L{probed.best_layer} ({along.method}), from {label_b} to {label_a}:",
        f"  Norm: {along.norm:.4f}",
        f"  Held-out accuracy: {accuracy}; held-out separation: {apart}",
        f"  Mean projection: {label_a} {along.class_a_mean_projection:+.3f}, "
        f"{label_b} {along.class_b_mean_projection:+.3f} (of the prompts that it was made from)",
        f"  Top neurons: {neurons}",
    ]
