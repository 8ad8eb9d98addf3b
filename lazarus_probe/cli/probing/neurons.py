"""`lazarus introspect neurons`: activations of single neurons over prompts, and those that separate labels."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import Adapter, AsJson, KeepOutliers, Model, Output, Prompts, Seed
from lazarus_probe.cli.output import about, deliver
from lazarus_probe.cli.parsing import check_output, layer_of, parse_layers, parse_prompts
from lazarus_probe.cli.probing.neuron_text import claim_of, text_of, verdict_of

if TYPE_CHECKING:
    from lazarus_probe.introspection.directions.direction_file import Direction

TOP = 10


class Site(StrEnum):
    """Where neurons are read."""

    RESID_POST = "resid_post"
    NEURONS = "neurons"


def neurons(
    model: Model,
    prompts: Prompts,
    layer: Annotated[
        int | None, typer.Option("--layer", "-l", help="Layer to read.", show_default="the direction's")
    ] = None,
    layers: Annotated[str | None, typer.Option(help="Several layers, as in 0,4-7, or all.")] = None,
    neurons: Annotated[
        str | None, typer.Option("--neurons", help="Neurons to show, as in 3,17,100-110.")
    ] = None,
    neuron_names: Annotated[str | None, typer.Option(help="Names for the neurons: a|b.")] = None,
    from_direction: Annotated[
        Path | None, typer.Option(help="Show the neurons with the largest weights in this saved direction.")
    ] = None,
    auto_discover: Annotated[
        bool, typer.Option("--auto-discover", help="Search all neurons for those that separate --labels.")
    ] = False,
    labels: Annotated[str | None, typer.Option(help="One label per prompt: a|a|b, or @FILE.")] = None,
    groups: Annotated[
        str | None,
        typer.Option(
            help="With --labels: one group per prompt, g1|g1|g2 or @FILE. Groups are never split between "
            "train and test."
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of neurons with --from-direction or --auto-discover.", show_default="10"
        ),
    ] = None,
    site: Annotated[
        Site,
        typer.Option(
            help="resid_post: coordinates of the residual stream after the layer, which this command calls "
            "neurons; neurons: activations of the layer's MLP, the usual meaning of the word."
        ),
    ] = Site.RESID_POST,
    steer: Annotated[
        str | None, typer.Option(metavar="FILE[:C]", help="Add C times this direction at the last token.")
    ] = None,
    strength: Annotated[
        float | None, typer.Option(help="Steering strength, if --steer has no :C.", show_default="1")
    ] = None,
    keep_outliers: KeepOutliers = False,
    adapter: Adapter = None,
    seed: Seed = 0,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Show activations of single neurons at the last token of each prompt, and find neurons that separate labels.

    A search among thousands of neurons always finds some: p is that of the best of all of them under shuffled labels,
    and the search is tested on held-out prompts, and compared with neurons of untrained and lesioned models and with
    token counts. Coordinates of the residual stream that are large in any prompt are named, and left out of what is
    shown of a direction.
    """
    check_output(output)
    texts = parse_prompts(prompts)
    chosen = None if neurons is None else _indices(neurons)
    label_of_prompt, group_of_prompt = _labels(labels, groups, texts)
    if chosen is None and from_direction is None and not auto_discover:
        raise ValueError("no neurons to read: give --neurons, --from-direction or --auto-discover")
    if auto_discover and chosen is not None:
        raise ValueError("--auto-discover searches all neurons: drop it or --neurons")
    if auto_discover and labels is None:
        raise ValueError("--auto-discover needs --labels, one per prompt, as in 'a|a|b|b'")
    if chosen is not None and top_k is not None:
        raise ValueError("--top-k applies to --from-direction or --auto-discover: drop it or --neurons")
    names = None if neuron_names is None else _names(neuron_names, chosen)
    from lazarus_probe.introspection.directions.direction_file import read_direction

    direction = None if from_direction is None else read_direction(from_direction)
    push = _push(steer, strength)
    numbers = _layers(model, layer, layers, direction)
    from lazarus_probe.introspection.probing.neuron_map import check_push, neuron_map

    if push is not None:
        check_push(push[0], numbers, site.value, len(push[0].vector))
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    result = neuron_map(
        subject,
        texts,
        numbers,
        site.value,
        neurons=chosen,
        names=names,
        direction=direction,
        discover=auto_discover,
        top=top_k or TOP,
        labels=label_of_prompt,
        groups=group_of_prompt,
        push=push,
        keep_outliers=keep_outliers,
        seed=seed,
    )
    from lazarus_probe.claims.judging import verdict_data

    verdict = verdict_of(result)
    data = result.as_data() | {
        "verdict": None if verdict is None else verdict_data(claim_of(result.labels or ()), verdict),
        "about": about(subject, seed),
    }
    deliver(data, text_of(result, verdict), as_json=as_json, output=output)


def _names(text: str, chosen: list[int] | None) -> list[str]:
    names = parse_prompts(text, "--neuron-names")
    if chosen is None:
        raise ValueError("--neuron-names names the neurons of --neurons: give those as well")
    if len(names) != len(chosen):
        raise ValueError(
            f"--neuron-names has {len(names)} names for {len(chosen)} neurons; give one for each"
        )
    return names


def _labels(
    labels: str | None, groups: str | None, prompts: list[str]
) -> tuple[list[str] | None, list[str] | None]:
    from lazarus_probe.introspection.probing.separating_neurons import check_labels

    if labels is None:
        if groups is not None:
            raise ValueError("--groups applies to --labels: give those as well")
        return None, None
    units = None if groups is None else parse_prompts(groups, "--groups")
    names = parse_prompts(labels, "--labels")
    check_labels(prompts, names, units)
    return names, units


def _push(steer: str | None, strength: float | None) -> tuple[Direction, float] | None:
    from lazarus_probe.introspection.directions.direction_file import read_direction, split_spec

    if steer is None:
        if strength is not None:
            raise ValueError("--strength applies to --steer FILE: give that as well")
        return None
    path, coefficient = split_spec(steer)
    if coefficient is not None and strength is not None:
        raise ValueError(f"--steer {steer} and --strength {strength:g} both give a coefficient; drop one")
    return read_direction(path), next((c for c in (coefficient, strength) if c is not None), 1.0)


def _indices(text: str) -> list[int]:
    """The neurons of `3,17,100-110`, in that order."""
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = (first, last if dash else first)
        digits = all(end.isascii() and end.isdigit() and len(end) < 7 for end in ends)
        if not digits or int(ends[0]) > int(ends[1]):
            raise ValueError(
                f"--neurons {text}: {part.strip()!r} is not a neuron or range; write them as in 3,17,100-110"
            )
        numbers += range(int(ends[0]), int(ends[1]) + 1)
    if len(set(numbers)) < len(numbers):
        repeated = Counter(numbers).most_common(1)[0][0]
        raise ValueError(f"--neurons {text}: neuron {repeated} is given twice")
    return numbers


def _layers(model: str, layer: int | None, layers: str | None, direction: Direction | None) -> list[int]:
    from lazarus_probe.checkpoints.names import num_layers_of

    if layer is not None and layers is not None:
        raise ValueError("--layer and --layers are both given: drop one")
    if layer is None and layers is None and direction is None:
        raise ValueError("no layer to read: give --layer N, or --layers as in 0,4-7")
    count = num_layers_of(model)
    if layers is not None:
        return parse_layers(layers, count)
    if layer is not None:
        return [layer_of(layer, count)]
    return [layer_of(direction.layer, count, "--from-direction has layer")] if direction else []
