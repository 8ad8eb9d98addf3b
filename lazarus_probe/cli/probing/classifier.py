"""`lazarus introspect classifier`: are classes of prompts linearly decodable at each layer?"""

from __future__ import annotations

from typing import Annotated

import typer

from lazarus_probe.cli.options import Adapter, AsJson, Layers, Model, Output, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output, parse_prompts
from lazarus_probe.cli.probing.class_reading import (
    Tests,
    classes_and_groups,
    classes_of,
    data_of,
    layers_asked,
    text_of,
    verdict_of,
)


def classifier(
    model: Model,
    classes: Annotated[
        list[str],
        typer.Option(
            "--classes",
            metavar="LABEL:P1|P2",
            help="A class and its prompts; or LABEL:@FILE. Repeat for each class.",
        ),
    ],
    test: Tests = None,
    groups: Annotated[
        str | None,
        typer.Option(
            help="One group per prompt, class after class: g1|g1|g2, or @FILE. Groups are never split "
            "between train and test."
        ),
    ] = None,
    layers: Layers = None,
    adapter: Adapter = None,
    seed: Seed = 0,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Train a linear probe for classes of prompts at every layer, and score it on held-out prompts.

    Controls are a bag of tokens, the token embeddings, untrained models of the same shape and shuffled labels. An
    operator's sign is already in the bag of tokens: only the gain over these controls says something about the model.
    Without --groups, the "category" fields of files are the groups.
    """
    check_output(output)
    prompts, units = classes_and_groups(classes_of(classes), groups)
    tests = [] if test is None else parse_prompts(test, "--test")
    numbers, _ = layers_asked(model, layers, None)
    from lazarus_probe.introspection.probing.class_probe import class_probe
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    probe = class_probe(subject, prompts, layers=numbers, groups=units, tests=tests, seed=seed)
    verdict = verdict_of(probe)
    heading = [
        title("CLASSIFIER PROBE"),
        f"Model: {probe.model}",
        f"Layers: {probe.num_layers}",
        f"Classes: {', '.join(probe.classes)}",
    ]
    best = [f"Best layer: L{probe.best_layer} ({probe.best.accuracy:.1%})"]
    data = data_of(probe, verdict) | {"about": about(subject, seed)}
    deliver(data, text_of(probe, verdict, heading, best=best), as_json=as_json, output=output)
