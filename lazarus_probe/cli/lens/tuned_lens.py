"""`lazarus introspect tuned-lens`: train a tuned lens, and read prompts through it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lazarus_probe.cli.commands import lazy_group
from lazarus_probe.cli.options import Adapter, AsJson, Layers, Model, Output, Prompt, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import (
    check_folder,
    check_output,
    parse_layers,
    parse_position,
    parse_prompt,
    parse_prompts,
)
from lazarus_probe.cli.progress import bar, interrupts_held
from lazarus_probe.cli.watching import watched
from lazarus_probe.tables import Column, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazarus_probe.introspection.lens.logit_lens import LensResult
    from lazarus_probe.introspection.lens.tuned_divergence import HeldOut
    from lazarus_probe.subject.subject import Subject
    from lazarus_probe.training.tuned_lens import LensTraining, TrainedLens

FILES = (
    "tuned_lens.json",  # the last to be put in place: weights without it were left by a process that died
    "config.json",
    "model.safetensors",
    "adapters.safetensors",
    "adapter_model.safetensors",
    "lora_weights.npz",
)

tuned_lens = typer.Typer(
    cls=lazy_group(),
    add_completion=False,
    rich_markup_mode=None,
    help="Train a tuned lens, which maps each layer to the final one, and read prompts through it.",
)


@tuned_lens.command()
def train(
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to save the lens in.")],
    adapter: Adapter = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Texts: FILE.jsonl as for training, or @FILE with one per line.",
            show_default="sampled from the model itself",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 200,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate of AdamW.")] = 1e-3,
    batch_size: Annotated[int, typer.Option(min=1, help="Positions per step, each at all layers.")] = 64,
    held_out: Annotated[float, typer.Option(help="Fraction of the texts held out for evaluation.")] = 0.2,
    samples: Annotated[
        int | None,
        typer.Option(
            min=10,
            help="Number of texts to sample from the model, without --data.",
            show_default="as many as hold 4,096 tokens",
        ),
    ] = None,
    untrained: Annotated[
        bool, typer.Option(help="Also train a lens on an untrained model, as a control.")
    ] = True,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Train a tuned lens: for each layer, an affine map whose prediction is close to the final one.

    Belrose et al. 2023 (arXiv:2303.08112). Each map begins at a least-squares fit. Divergences are measured on held-out
    texts, and compared with the plain logit lens, one constant distribution, and the same on an untrained model.
    """
    check_lens_folder(output)
    texts_of_file = None if data is None else texts_of(data, samples)
    from lazarus_probe.introspection.lens.tuned_lens import write_lens
    from lazarus_probe.subject.subject import Subject
    from lazarus_probe.training.tuned_lens import LensTraining

    how = LensTraining(steps, learning_rate, batch_size, held_out, seed)
    subject = Subject.load(model, adapter)
    texts, source, described = _texts(subject, data, texts_of_file, samples, seed)
    trained = _trained(subject, texts, how, subject.name)
    trained = replace(trained, lens=replace(trained.lens, config={**trained.lens.config, "texts": source}))
    folder = write_lens(output, trained.lens)
    control = (
        _trained(subject.untrained(seed + 1000), texts, how, "untrained").held_out if untrained else None
    )
    result = dict(trained.lens.config) | {
        "output": str(folder),
        "untrained": None if control is None else control.as_data(),
        "about": about(subject, seed),
    }
    text = train_text(subject.name, trained.held_out, control, folder, described)
    deliver(result, text, as_json=as_json)


@tuned_lens.command()
def read(
    model: Model,
    prompt: Prompt,
    lens: Annotated[Path, typer.Option("--lens", help="Folder written by `tuned-lens train`.")],
    adapter: Adapter = None,
    layers: Layers = None,
    position: Annotated[str, typer.Option(help="Token position to read at: last, or a number.")] = "last",
    top: Annotated[int, typer.Option(min=1, help="Tokens to show per layer.")] = 5,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Read prompts through a tuned lens, compared with the plain logit lens.

    A lens belongs to one model: it is refused on another, and on the same one with other weights.
    """
    check_output(output)
    prompts, at = parse_prompt(prompt), parse_position(position)
    if at == "all":
        raise ValueError("the lens does not read --position all; give last or a number")
    from lazarus_probe.checkpoints.names import num_layers_of
    from lazarus_probe.introspection.lens.tuned_lens import read_lens

    wanted = None if layers is None else parse_layers(layers, num_layers_of(model))
    maps = read_lens(lens)
    from lazarus_probe.introspection.lens import tuned_lens as analysis
    from lazarus_probe.introspection.lens.logit_lens import logit_lens
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    tuned = analysis.tuned_lens(subject, prompts, maps, wanted, at)
    plain = logit_lens(subject, prompts, wanted, at)
    rows = readings(subject, prompts, tuned, plain, top)
    deliver(
        {"prompts": rows, "lens": str(lens), "position": at, "about": about(subject)},
        read_text(subject.name, rows),
        as_json=as_json,
        output=output,
    )


def check_lens_folder(folder: Path) -> None:
    """Find out before the training whether a lens can be kept in a folder.

    Raises:
        ValueError: it is a file, cannot be written to, or holds a model, an adapter or a lens.
    """
    check_folder(folder)
    present = [name for name in FILES if (folder / name).exists()]
    if present:
        raise ValueError(f"--output {folder} holds {present[0]}; give a folder of its own")


def texts_of(data: str, samples: int | None) -> list[str]:
    """The texts of a file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no texts, or a number of samples is given as well.
    """
    if samples is not None:
        raise ValueError(
            "--samples is a number of texts of the model's own, and --data gives others; leave one out"
        )
    if data.startswith("@"):
        return parse_prompts(data, "--data")
    from lazarus_probe.training.sft.jsonl import read_jsonl

    return [example.prompt + example.response for example in read_jsonl(Path(data))]


def _texts(
    subject: Subject, data: str | None, texts_of_file: Sequence[str] | None, samples: int | None, seed: int
) -> tuple[Sequence[str] | list[list[int]], dict[str, Any], str]:
    """The texts to train on, where they come from as data, and the same in words."""
    if texts_of_file is not None:
        return texts_of_file, {"source": data, "count": len(texts_of_file)}, f"{len(texts_of_file)} of {data}"
    from lazarus_probe.training.own_texts import own_texts

    with watched("sample texts") as check:
        own = own_texts(subject, samples, seed, check)
    return [list(ids) for ids in own.ids], own.as_data(), str(own)


def _trained(
    subject: Subject, texts: Sequence[str] | list[list[int]], how: LensTraining, label: str
) -> TrainedLens:
    from lazarus_probe.training.loop import Step
    from lazarus_probe.training.tuned_lens import train_lens

    with interrupts_held() as check, bar(how.steps, label=label) as show:

        def on_step(step: Step) -> None:
            show(step.step, step.parts["mean"])
            check()

        return train_lens(subject, texts, how, on_step)


def train_text(name: str, held_out: HeldOut, untrained: HeldOut | None, folder: Path, texts: str) -> str:
    """Divergences by layer: plain and tuned lens, and both on an untrained model."""
    constant = f", untrained {untrained.constant:.3f}" if untrained else ""
    return "\n".join(
        [
            title(f"TUNED LENS: {name}"),
            f"Texts: {texts}",
            f"KL(final || lens) in nats on {held_out.positions} positions of {held_out.texts} texts held out",
            "",
            *held_out.table(untrained).fitted(),
            "",
            f"One constant distribution: {held_out.constant:.3f}{constant}",
            "Compare with the constant and the untrained model: a lens learns there, too.",
            f"Lens saved to: {folder}",
        ]
    )


def readings(
    subject: Subject, prompts: Sequence[str], tuned: LensResult, plain: LensResult, top: int
) -> list[dict[str, Any]]:
    """By prompt and layer, the most probable tokens of both lenses."""
    import numpy as np

    def tokens(result: LensResult, row: int, column: int) -> list[dict[str, Any]]:
        ids = result.top_tokens(top)[row, column].tolist()
        return [
            {
                "token": subject.decode([token]),
                "id": token,
                "probability": float(np.exp(result.log_probs[row, column, token])),
            }
            for token in ids
        ]

    return [
        {
            "prompt": prompt,
            "layers": [
                {"layer": layer, "tuned": tokens(tuned, row, column), "plain": tokens(plain, row, column)}
                for column, layer in enumerate(tuned.layers)
            ],
        }
        for row, prompt in enumerate(prompts)
    ]


def read_text(name: str, rows: Sequence[dict[str, Any]]) -> str:
    """By prompt, one line per layer: the top tokens of both lenses."""
    columns = (Column("Layer"), Column("Tuned lens", width=41), "Plain lens")
    lines = [title(f"TUNED LENS: {name}")]
    for row in rows:
        cells = [
            (f"L{layer['layer']}", _top(layer["tuned"]), _top(layer["plain"])) for layer in row["layers"]
        ]
        lines += [f"Prompt: {row['prompt']!r}", *Table(columns, cells).fitted(), ""]
    return "\n".join(lines).rstrip()


def _top(tokens: Sequence[dict[str, Any]]) -> str:
    return ", ".join(f"{token['token']!r} {token['probability']:.2f}" for token in tokens)
