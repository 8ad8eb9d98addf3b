"""`lazarus introspect function-vector`: whether a few heads carry a task that is shown by examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import Adapter, AsJson, Layers, Model, Output, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output, parse_layers
from lazarus_probe.cli.patching.spanned import damage_line
from lazarus_probe.spelling import one_of

if TYPE_CHECKING:
    from lazarus_probe.introspection.attribution.function_vectors import FunctionVectors
    from lazarus_probe.tasks.in_context import WordTask

LINE_BREAK = r"\n"


def function_vector(
    model: Model,
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Tasks, separated by commas: antonym, capital, plural, past.",
            show_default="all, without --pairs",
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            help='A task of your own: JSON or JSON lines of {"input", "output"}. Its name is that of the file.'
        ),
    ] = None,
    shots: Annotated[int, typer.Option(min=2, help="Examples in a prompt.")] = 5,
    examples: Annotated[
        int, typer.Option(min=1, help="Prompts with examples of each task; as many with shuffled ones.")
    ] = 16,
    searched: Annotated[
        int, typer.Option(min=1, help="Of those with shuffled ones, how many every head is patched in.")
    ] = 4,
    tested: Annotated[int, typer.Option(min=1, help="Most prompts without examples of each task.")] = 24,
    top: Annotated[
        int | None, typer.Option(min=1, help="Heads that are summed.", show_default="one in 25")
    ] = None,
    layers: Layers = None,
    form: Annotated[
        str | None,
        typer.Option(
            help=rf"How an example is written, with {{input}} and {{output}}; {LINE_BREAK} is a line break.",
            show_default=r"Q: {input}\nA: {output}\n\n",
        ),
    ] = None,
    test_form: Annotated[
        str | None,
        typer.Option(help="The form of prompts without examples, if another.", show_default="--form"),
    ] = None,
    adapter: Adapter = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Sum the outputs of a few heads where a task is shown by examples, and add them to prompts without examples.

    Todd et al. 2024 (arXiv:2310.15213). Heads and layer are chosen on half of the pairs, and the vector is tested on
    the others, compared with vectors of shuffled examples, of the outputs alone, of other tasks, and random ones of
    equal norm. It is added to unrelated prompts, too.
    """
    check_output(output)
    chosen = _tasks(tasks, pairs)
    from lazarus_probe.checkpoints.names import num_layers_of

    tried = None if layers is None else parse_layers(layers, num_layers_of(model))
    from lazarus_probe.introspection.attribution.function_vectors import function_vectors
    from lazarus_probe.subject.subject import Subject
    from lazarus_probe.tasks.in_context import FORMS

    subject = Subject.load(model, adapter)
    result = function_vectors(
        subject,
        chosen,
        top=top,
        shots=shots,
        prompts=examples,
        searched=searched,
        tested=tested,
        layers=tried,
        form=FORMS[0] if form is None else form.replace(LINE_BREAK, "\n"),
        test_form=None if test_form is None else test_form.replace(LINE_BREAK, "\n"),
        seed=seed,
        progress=True,
    )
    deliver(
        result.as_data() | {"about": about(subject, seed)},
        as_text(subject.name, result),
        as_json=as_json,
        output=output,
    )


def as_text(name: str, result: FunctionVectors) -> str:
    """The heads, the layer, what each vector does, and the damage."""
    made = result.made
    lines = [title(f"FUNCTION VECTORS: {name}")]
    shares = ", ".join(
        f"{task.name} {share:.2f}" for task, share in zip(result.tasks, made.with_examples, strict=True)
    )
    lines.append(f"Answered with examples: {shares}")
    lines += [
        f"Left out of {task.name}, for their first token is the input's: "
        + ", ".join(word for word, _ in task.left_out)
        for task in result.tasks
        if task.left_out
    ]
    effects = [float(made.effects[:, made.sites.index(site)].mean()) for site in made.heads]
    heads = ", ".join(
        f"L{layer}.H{head} {effect:+.3f}" for (layer, head), effect in zip(result.heads, effects, strict=True)
    )
    lines.append(f"Heads, and what the answer gains with them where examples are shuffled: {heads}")
    by_layer = ", ".join(
        f"L{layer} {value:.3f}" for layer, value in zip(made.layers, made.by_layer.mean(axis=0), strict=True)
    )
    lines.append(
        f"Probability of the answer with the vector, by layer: {by_layer}; tested after L{made.layer}"
    )
    lines += ["", result.table().text(), ""]
    lines.append("Share answered on the other half of the pairs; gains with their 95% interval over words.")
    lines.append(damage_line(result.damage))
    return "\n".join(lines)


def _tasks(names: str | None, pairs: Path | None) -> list[WordTask]:
    """The tasks that the options name.

    Raises:
        OSError: the file cannot be read.
        ValueError: an unknown task, or a file of another form.
    """
    from lazarus_probe.tasks.in_context import WORD_TASKS, read_pairs

    named = [] if names is None else [name.strip() for name in names.split(",")]
    if names is None and pairs is None:
        named = list(WORD_TASKS)
    if unknown := [name for name in named if name not in WORD_TASKS]:
        raise ValueError(f"--tasks {names}: {unknown[0]!r} is unknown; {one_of(unknown[0], WORD_TASKS)}")
    own = [] if pairs is None else [read_pairs(pairs)]
    return [*(WORD_TASKS[name] for name in named), *own]
