"""Shared by `probe` and `classifier`: classes and groups from the command line, the table of layers, the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lazarus_probe.cli.output import RULE
from lazarus_probe.cli.parsing import checked_text, layer_of, parse_layers, parse_prompts
from lazarus_probe.tables import Column, Table

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.claims.verdict import Verdict
    from lazarus_probe.introspection.probing.class_probe import ClassProbe

Tests = Annotated[str | None, typer.Option("--test", help="Prompts to classify: a|b, or @FILE.")]
CLAIM = "class-probe"
# Below so many groups the text says how little they show.
FEW = 20
BAR = 10


def class_prompts(text: str, option: str) -> tuple[list[str], list[str] | None]:
    """The prompts of `a|b` or `@FILE`, and their groups if the file gives each a category."""
    if not text.startswith("@"):
        return parse_prompts(text, option), None
    from lazarus_probe.circuit.dataset import read_prompts

    prompts = read_prompts(Path(text[1:]))
    categories = [str(category) for category in prompts.categories if category is not None]
    return list(prompts.texts), categories if len(categories) == len(prompts.texts) else None


def classes_of(options: list[str]) -> dict[str, tuple[list[str], list[str] | None]]:
    """The prompts of each label, with their groups."""
    classes: dict[str, tuple[list[str], list[str] | None]] = {}
    for text in options:
        label, colon, prompts = text.partition(":")
        if not colon or not label.strip():
            raise ValueError(f"--classes {text!r} has no label; write it as in 'add:1 + 2 = |3 + 4 = '")
        if label in classes:
            raise ValueError(f"--classes gives the label {label!r} twice; put all its prompts into one")
        classes[label] = class_prompts(prompts, f"--classes {label}")
    return classes


def classes_and_groups(
    by_label: Mapping[str, tuple[list[str], list[str] | None]], groups: str | None
) -> tuple[dict[str, list[str]], list[str] | None]:
    """The prompts of each class, and one group per prompt: those of `--groups`, or the categories of the files."""
    from lazarus_probe.introspection.probing.class_probe import labelled_classes

    classes = {checked_text(label, "the label"): prompts for label, (prompts, _) in by_label.items()}
    units = None if groups is None else parse_prompts(groups, "--groups")
    if units is None:
        without = [label for label, (_, categories) in by_label.items() if categories is None]
        if without and len(without) < len(by_label):
            raise ValueError(
                f"class {without[0]!r} has prompts without a category and another class has them; give all or none"
            )
        if not without:
            units = [category for _, categories in by_label.values() for category in categories or ()]
    labelled_classes(classes, units)
    return classes, units


def layers_asked(model: str, layers: str | None, layer: int | None) -> tuple[list[int] | None, int | None]:
    """The layers of `--layers` and `--layer`, checked against the model's config before the model is loaded."""
    if layers is None and layer is None:
        return None, None
    from lazarus_probe.checkpoints.names import num_layers_of

    count = num_layers_of(model)
    return (
        None if layers is None else parse_layers(layers, count),
        None if layer is None else layer_of(layer, count),
    )


def claim_of(probe: ClassProbe) -> Claim:
    """The claim `class-probe`, with the share of the largest class as its threshold."""
    from lazarus_probe.claims.judging import beyond_largest_class

    return beyond_largest_class(CLAIM, [label for label, prompts in probe.classes.items() for _ in prompts])


def verdict_of(probe: ClassProbe) -> Verdict:
    """The verdict on the claim `class-probe`: the classes are decodable beyond every control."""
    from lazarus_probe.claims.verdict import Outcome, Verdict, judge

    verdict = judge(claim_of(probe), probe.measurement)
    if verdict.outcome is Outcome.REFUTED and "probe" in probe.below_chance():
        return Verdict(
            Outcome.INCONCLUSIVE,
            "a held-out accuracy below chance: the splits separate prompts that belong together",
        )
    if probe.chosen == "in search" and verdict.outcome is Outcome.SUPPORTED:
        return Verdict(
            Outcome.INCONCLUSIVE,
            "a class has 2 groups: too few to choose a layer on some and test it on others",
        )
    return verdict


def data_of(probe: ClassProbe, verdict: Verdict) -> dict[str, Any]:
    """The probe as plain data, with its verdict."""
    from lazarus_probe.claims.judging import verdict_data

    return probe.as_data() | {"verdict": verdict_data(claim_of(probe), verdict)}


def text_of(
    probe: ClassProbe,
    verdict: Verdict,
    heading: Sequence[str],
    best: Sequence[str] = (),
    direction: Sequence[str] = (),
) -> str:
    """The probe as text, with the lines that a command adds on the best layer or on a direction."""
    lines = [
        *heading,
        *(f"  {label}: {len(prompts)} prompts" for label, prompts in probe.classes.items()),
        "",
    ]
    lines += [*_layer_lines(probe), *best, "", *_control_lines(probe), ""]
    lines += [*direction, ""] if direction else []
    lines += [*_prediction_lines(probe), ""] if probe.predictions else []
    return "\n".join([*lines, *verdict_lines(probe, verdict)])


def _layer_lines(probe: ClassProbe) -> list[str]:
    """A line for the embedding and each layer, with a bar; the best is marked."""
    table, rule = probe.table, "-" * len(RULE)
    rows = [
        [
            *row,
            "#" * round(BAR * score.accuracy),
            "<- SELECTED" if score.layer == probe.best_layer else "",
        ]
        for row, score in zip(table.rows, probe.scores, strict=True)
    ]
    heading, *lines = Table([*table.columns, Column("", width=BAR), Column("")], rows).lines()
    return [heading, rule, *lines, rule]


def _control_lines(probe: ClassProbe) -> list[str]:
    """The score of the chosen layer, and its gains over the controls."""
    from lazarus_probe.statistics.intervals import estimate

    measured = probe.measurement
    choice = {
        "nested": "the layer chosen on each training side",
        "given": f"at L{probe.best_layer}",
        "in search": f"at L{probe.best_layer}, the best of those searched, so too high",
    }[probe.chosen]
    score = estimate(measured.score, measured.low, measured.high)
    columns = [Column("Control", width=18), Column("Score", ".3f", width=6), Column("Gain over it")]
    rows = [
        [f"  {control.name}", control.score, estimate(control.gain, control.low, control.high)]
        for control in measured.controls
    ]
    return [
        f"Held-out accuracy, {choice}: {score}, n = {measured.n}",
        *Table(columns, rows).lines(gap=1),
        f"  p under shuffled labels, over all layers searched: {measured.p:.3f}",
    ]


def verdict_lines(probe: ClassProbe, verdict: Verdict) -> Iterator[str]:
    """What the numbers show and what they do not, with the verdict."""
    from lazarus_probe.statistics.intervals import shown, wilson

    groups = probe.measurement.groups
    if probe.matched:
        yield (
            f"{probe.matched} prompts are matched across classes, as they differ in few words: each is kept with its "
            f"match on one side of every split, which leaves {groups} groups. --groups gives others."
        )
    elif probe.independent:
        yield (
            f"{groups} distinct prompts are taken as independent; "
            "give --groups where several are made from one template or share operands."
        )
    else:
        yield f"{groups} groups, each kept on one side of every split."
    if groups < FEW:
        yield (
            f"So few tell little: all {groups} of {groups} right would still only mean an accuracy "
            f"of at least {wilson(groups, groups).low:.2f}."
        )
    if below := probe.below_chance():
        from lazarus_probe.cli.probing.probe_text import WORDS

        named = ", ".join("the probe" if name == "probe" else WORDS.get(name, name) for name in below)
        yield (
            f"Below chance ({1 / len(probe.classes):.2f}) on held-out prompts: {named}. So it is where a prompt and "
            "its counterpart of another class lie on different sides of a split, and gains over such controls mean "
            "little. Give --groups that keep them together."
        )
    controls = {control.name: control for control in probe.measurement.controls}
    for name, model in (
        ("bag_of_tokens", "a bag of tokens, which needs no model"),
        ("untrained", "an untrained model of this shape"),
        ("new_blocks", "a model with these embeddings and new blocks"),
        ("permuted_blocks", "a model with these embeddings and permuted blocks"),
    ):
        if controls[name].low < claim_of(probe).margin:
            yield f"Not shown to be beyond {model}: {shown(controls[name].score)}."
    if verdict.outcome == "supported":
        yield f"The classes are linearly readable at L{probe.best_layer}, beyond every control."
    yield f"Verdict: {verdict}"


def _prediction_lines(probe: ClassProbe) -> Iterator[str]:
    """The class of each test prompt, with its probability."""
    yield f"Test prompts, by the probe of L{probe.best_layer} on all prompts:"
    for test in probe.predictions:
        probabilities = ", ".join(f"{label} {value:.3f}" for label, value in test.probabilities.items())
        note = "  (one that it was fitted on)" if test.fitted_on else ""
        yield f"  {test.prompt!r:<22} -> {test.predicted}  ({probabilities}){note}"
