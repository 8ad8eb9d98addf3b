"""`lazarus introspect erase-concept`: does a choice rest on a concept that a probe reads?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import ONE_SPELLING, Adapter, AsJson, Layers, Model, Output, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output, parse_layers, parse_prompts
from lazarus_probe.cli.patching.spanned import damage_line
from lazarus_probe.cli.probing.class_reading import classes_and_groups, classes_of

if TYPE_CHECKING:
    from lazarus_probe.introspection.directions.erased_choices import ErasedChoices


def erase_concept(
    model: Model,
    classes: Annotated[
        list[str],
        typer.Option(
            "--classes",
            metavar="LABEL:P1|P2",
            help="A class and its prompts; or LABEL:@FILE. Give two.",
        ),
    ],
    answers: Annotated[
        str | None,
        typer.Option(
            help=f"The token that should follow each class, separated by |. {ONE_SPELLING}",
            show_default="the labels",
        ),
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(
            help="One group per prompt, class after class: g1|g1|g2, or @FILE. Groups are never split "
            "between fit and test."
        ),
    ] = None,
    layers: Layers = None,
    shrinkage: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Shrinkage of the covariance towards a multiple of the identity.",
            show_default="Ledoit and Wolf's",
        ),
    ] = None,
    random: Annotated[
        int, typer.Option(min=1, help="Random subspaces, and shuffles of the labels, to compare with.")
    ] = 7,
    adapter: Adapter = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Erase a concept from the last token's state, and see what a choice between two answers loses.

    LEACE (Belrose et al. 2023, arXiv:2306.03819), fitted on half of the groups. On the other half a probe should find
    nothing; what the choice loses is compared with random subspaces of equal rank and with shuffled labels.
    """
    check_output(output)
    prompts, units = classes_and_groups(classes_of(classes), groups)
    if len(prompts) != 2:
        raise ValueError(f"--classes has {len(prompts)} classes; give two, whose answers are compared")
    words = list(prompts) if answers is None else parse_prompts(answers, "--answers")
    if len(words) != 2 or words[0] == words[1]:
        raise ValueError(f"--answers {answers!r} are no two different words; give one a class")
    from lazarus_probe.checkpoints.names import num_layers_of

    tried = None if layers is None else parse_layers(layers, num_layers_of(model))
    from lazarus_probe.introspection.directions.erase_concept import erase_concept as erase
    from lazarus_probe.introspection.generation.spelled import spelled_after
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    texts = [text for some in prompts.values() for text in some]
    labels = [label for label, some in prompts.items() for _ in some]
    right = [words[list(prompts).index(label)] for label in labels]
    wrong = [words[1 - words.index(word)] for word in right]
    spelled = spelled_after(subject, [*texts, *texts], [*right, *wrong])
    result = erase(
        subject,
        texts,
        labels,
        spelled.tokens[: len(texts)],
        spelled.tokens[len(texts) :],
        units=units,
        layers=tried,
        shrinkage=shrinkage,
        random=random,
        seed=seed,
        progress=True,
    )
    data = {"classes": prompts, "answers": words} | result.as_data() | {"about": about(subject, seed)}
    deliver(data, as_text(subject.name, list(prompts), result), as_json=as_json, output=output)


def as_text(name: str, labels: list[str], result: ErasedChoices) -> str:
    """By layer the probe and the choice, with the concept and without."""
    best = result.lost.best
    lines = [title(f"CONCEPT ERASURE: {name}")]
    lines.append(
        f"{labels[0]} against {labels[1]}, rank {result.rank}; tested on {len(result.units)} prompts of "
        f"{len(set(result.units))} groups that the eraser was not fitted on (seed {result.seed})"
    )
    lines.append(f"Right choices: {(result.gap > 0).mean():.2f}, logit gap {result.gap.mean():+.3f}")
    lines += ["", result.table().text(), ""]
    lines.append(
        "Right: choices that are right with the concept, a random subspace or shuffled labels erased."
    )
    lines.append(f"Most is lost after L{result.layers[best]}")
    lines.append(damage_line(result.damage))
    return "\n".join(lines)
