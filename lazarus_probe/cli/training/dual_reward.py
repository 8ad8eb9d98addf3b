"""`lazarus introspect dual-reward`: train projections until a middle layer's lens names the operation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lazarus_probe.cli.options import AsJson, Model
from lazarus_probe.cli.output import show_json, text_aside
from lazarus_probe.cli.parsing import check_folder, parse_layers
from lazarus_probe.cli.progress import losses_shown
from lazarus_probe.cli.training.class_tables import held_out_tables, published_table
from lazarus_probe.training.dual_reward_config import DEPTH, LORA_SCALE, DualReward

if TYPE_CHECKING:
    from lazarus_probe.subject.spellings import Spelled
    from lazarus_probe.subject.subject import Subject
    from lazarus_probe.tasks.prompts import Question
    from lazarus_probe.training.class_words import Reading

FILES = (
    "lora_weights.npz",
    "config.json",
    "adapters.safetensors",
    "adapter_model.safetensors",
    "adapter_config.json",
    "model.safetensors",
)


def dual_reward(
    model: Model,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = DualReward.steps,
    classifier_layer: Annotated[
        int | None, typer.Option(help="Layer of the class loss.", show_default=f"{DEPTH:.0%} of the depth")
    ] = DualReward.classifier_layer,
    cls_weight: Annotated[
        float, typer.Option(min=0, max=1, help="Weight of the class loss; the answer loss has the rest.")
    ] = DualReward.cls_weight,
    learning_rate: Annotated[
        float, typer.Option(help="Peak learning rate of AdamW.")
    ] = DualReward.learning_rate,
    num_samples: Annotated[int, typer.Option(help="Number of training questions.")] = 800,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions per step.")] = DualReward.batch_size,
    lora_rank: Annotated[int, typer.Option(min=1, help="LoRA rank.")] = 16,
    lora_scale: Annotated[float, typer.Option(help="LoRA scale, a factor on the update.")] = LORA_SCALE,
    lora_targets: Annotated[str, typer.Option(help="The projections to train.")] = "v_proj,o_proj",
    layers: Annotated[
        str | None,
        typer.Option(
            help="Layers to train, as in 0-3,7, or all.", show_default="from one below the classifier layer"
        ),
    ] = None,
    class_word: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OPERATION:WORD",
            help="Class word for an operation, instead of its name; repeatable. All are spelled alike: as they are "
            "written, with a space before them, or capitalised, whichever first makes each one token.",
        ),
    ] = None,
    held_out: Annotated[int, typer.Option(help="Held-out questions per operation, for evaluation.")] = 100,
    seed: Annotated[
        int, typer.Option(help="Random seed of questions, LoRA initialisation and batches.")
    ] = DualReward.seed,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to save the adapter in.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train V and O so that the logit lens at a middle layer names the operation, and answers stay correct.

    The loss is cls_weight * class + (1 - cls_weight) * answer. With --output, the same command resumes an interrupted
    training.
    """
    words = class_words(class_word or [])
    if output is not None:
        check_output(output)
    from lazarus_probe.training.class_words import held_out_questions, training_questions

    config = DualReward(steps, classifier_layer, cls_weight, learning_rate, batch_size, seed)
    lora = {"targets": names(lora_targets), "rank": lora_rank, "scale": lora_scale, "seed": seed}
    training, evaluation = training_questions(num_samples, seed), held_out_questions(held_out)
    with text_aside(as_json):
        result = _run(Run(model, words, config, lora, layers, training, evaluation, output))
    show_json(result, as_json)


@dataclass(frozen=True, eq=False)
class Run:
    """One call of the command: the model, class words, configuration, training questions and held-out questions."""

    model: str
    words: dict[str, str]
    config: DualReward
    lora: dict[str, Any]
    layers: str | None
    training: Sequence[Question]
    held_out: Sequence[Question]
    output: Path | None


def class_words(pairs: Iterable[str]) -> dict[str, str]:
    """The class word of each operation: its name, or another that is given as `operation:word`.

    Raises:
        ValueError: not of that form, or no operation.
    """
    from lazarus_probe.tasks.arithmetic import OPERATIONS

    words = {name: name for name in OPERATIONS}
    for pair in pairs:
        operation, _, word = pair.partition(":")
        if operation not in words or not word.strip():
            raise ValueError(f"--class-word {pair!r}: give one of {', '.join(words)}, a colon and a word")
        words[operation] = word
    return words


def names(text: str) -> list[str]:
    """The names in `v_proj,o_proj`."""
    return [name.strip() for name in text.split(",") if name.strip()]


def layers_of(text: str | None, layer: int, num_layers: int) -> Sequence[int]:
    """The layers that `--layers` means for a classifier layer.

    Raises:
        ValueError: not of its form, a layer that the model does not have, or none up to the classifier layer.
    """
    from lazarus_probe.training.dual_reward import lora_layers

    if text is None:
        return lora_layers(layer, num_layers)
    layers = parse_layers(text, num_layers)
    if layers[0] > layer:
        raise ValueError(f"--layers {text}: all lie above classifier layer {layer}, and cannot change it")
    return layers


def check_output(folder: Path) -> None:
    """Find out before the training whether its result can be kept.

    Raises:
        ValueError: it is a file, cannot be written, or holds an adapter or a model.
    """
    from lazarus_probe.training.state import has_state

    check_folder(folder)
    if has_state(folder):  # a training was interrupted, maybe while its result was being written
        return
    present = [name for name in FILES if (folder / name).exists()]
    if present:
        raise ValueError(f"--output {folder} holds {present[0]} already; give another folder, or remove it")


def tokens_of(subject: Subject, words: Mapping[str, str]) -> dict[str, int]:
    """The token of each operation's class word.

    Raises:
        ValueError: a word is not a single token; the message names one that is.
    """
    from lazarus_probe.training.dual_reward import class_tokens

    try:
        return class_tokens(subject, words)
    except ValueError as error:
        raise ValueError(f"class word {error}{_advice(subject, words)}") from None


def _advice(subject: Subject, words: Mapping[str, str]) -> str:
    """Words that are single tokens, for the operations whose class words are not."""
    from lazarus_probe.tasks.arithmetic import OPERATIONS

    advice = []
    for name, word in words.items():
        if _works(subject, word):
            continue
        operation = OPERATIONS[name]
        others = (name, name.capitalize(), operation.noun, operation.infix, operation.symbol)
        advice += [f"--class-word '{name}:{other}'" for other in others if _works(subject, other)][:1]
    return f"; for this model: {' '.join(advice)}" if advice else ""


def _works(subject: Subject, word: str) -> bool:
    from lazarus_probe.training.dual_reward import class_tokens

    try:
        return bool(class_tokens(subject, [word]))
    except ValueError:
        return False


def _run(run: Run) -> dict[str, Any]:
    """Train, evaluate and save; the content of config.json."""
    from lazarus_probe.subject.subject import Subject
    from lazarus_probe.training.class_words import read
    from lazarus_probe.training.dual_reward import class_spellings
    from lazarus_probe.training.lora.lora import attached, trainable_count

    _say(f"Loading model: {run.model}")
    subject = Subject.load(run.model)
    tokens = tokens_of(subject, run.words)
    spelled = class_spellings(subject, run.words)
    layer = run.config.layer(subject.num_layers)
    with attached(subject, **run.lora, layers=layers_of(run.layers, layer, subject.num_layers)) as trained:
        _describe(run, subject.num_layers, layer, spelled, trainable_count(trained))
        before = read(subject, run.held_out, tokens, layer)  # new LoRA changes nothing
        _train(run, subject, tokens)
        result = _config(run, layer, tokens, run.config.steps, _evaluate(run, subject, tokens, layer, before))
        result |= {"class_spellings": dict(spelled.spellings), "class_form": spelled.form}
        if run.output is None:
            _say("\nNothing is kept; give --output DIR for the adapter")
        else:
            _save(run.output, run.model, subject, result)
            _say(f"\nCheckpoint saved to: {run.output}")
        return result


def _evaluate(
    run: Run, subject: Subject, tokens: Mapping[str, int], layer: int, before: Reading
) -> dict[str, Any]:
    """Print what the published prompts and the held-out ones show, and return it as plain values."""
    from lazarus_probe.training.class_words import compare, published_questions, read

    _say("\nEvaluating classifier after training...\n")
    published = published_questions()
    after = read(subject, published, tokens, layer)
    right = int(after.named.sum())
    _say(published_table(subject, published, after, run.words))
    _say(f"\nAccuracy: {right}/{len(published)} ({right / len(published):.0%})")
    _say("Predicted is the top token of the whole vocabulary; none of these operands was trained on.\n")
    rows = compare(run.held_out, before, read(subject, run.held_out, tokens, layer))
    _say("Held-out operands, with 95% intervals over operand families:\n")
    _say(held_out_tables(rows))
    return {"final_accuracy": right / len(published), "held_out": [row.as_dict() for row in rows]}


def _describe(run: Run, num_layers: int, layer: int, spelled: Spelled, trainable: int) -> None:
    _say(f"  Layers: {num_layers}")
    _say(f"  Classifier layer: L{layer} ({layer / num_layers:.0%} depth)")
    _say(f"  Class tokens: {dict(spelled.tokens)}, {spelled.convention}")
    _say(f"  LoRA rank: {run.lora['rank']}")
    _say(f"  Trainable params: {trainable:,}\n")
    _say(f"  Training samples: {len(run.training)}")
    _say(f"  Classification weight: {run.config.cls_weight}")
    _say(f"  Learning rate: {run.config.learning_rate}")
    _say(f"  Steps: {run.config.steps}\n")


def _train(run: Run, subject: Subject, tokens: Mapping[str, int]) -> None:
    """Train with the table of losses; what was reached is kept where it is interrupted or diverges."""
    from lazarus_probe.training.dual_reward import train
    from lazarus_probe.training.loop import Diverged, Step
    from lazarus_probe.training.sft.data import Example
    from lazarus_probe.training.state import state_step

    examples = [Example(q.text, q.fact.response(q.phrasing), q.fact.operation) for q in run.training]
    start = state_step(run.output) if run.output else 0
    if start:
        _say(f"Going on after step {start} of {run.config.steps} in {run.output}")
    _say("Training...")
    try:
        with losses_shown(run.config.steps, ("Total", "Cls Loss", "Ans Loss"), start=start) as show_losses:

            def show(step: Step) -> None:
                show_losses(step.step, step.loss, step.parts["classification"], step.parts["answer"])

            train(subject, examples, run.config, tokens, show, run.output)
    except KeyboardInterrupt:
        if run.output:
            after = state_step(run.output)
            _say(f"interrupted: the same command resumes after step {after} of {run.config.steps}", err=True)
        raise
    except Diverged as error:
        if run.output is None or error.step == 1:
            raise
        layer = run.config.layer(subject.num_layers)
        stopped = {"final_accuracy": None, "stopped": str(error)}
        _save(run.output, run.model, subject, _config(run, layer, tokens, error.step - 1, stopped))
        raise FloatingPointError(
            f"{error}; the weights after step {error.step - 1} are in {run.output}"
        ) from None


def _config(
    run: Run, layer: int, tokens: Mapping[str, int], steps: int, result: Mapping[str, Any]
) -> dict[str, Any]:
    """The model, the configuration and the result: the content of config.json."""
    return {
        "model": run.model,
        "classifier_layer": layer,
        "lora_rank": run.lora["rank"],
        "cls_weight": run.config.cls_weight,
        "steps": steps,
        **result,
        "learning_rate": run.config.learning_rate,
        "batch_size": run.config.batch_size,
        "num_samples": len(run.training),
        "seed": run.config.seed,
        "class_words": run.words,
        "class_tokens": dict(tokens),
    }


def _save(folder: Path, base: str, subject: Subject, config: dict[str, Any]) -> None:
    """Both formats of the adapter; the state, which is of no use any more, goes."""
    from lazarus_probe.training.lora.adapter import save_adapter, save_lora_weights
    from lazarus_probe.training.state import FILE

    save_adapter(subject, folder, base=base)
    save_lora_weights(subject, folder, config)
    (folder / FILE).unlink(missing_ok=True)


def _say(text: str, err: bool = False) -> None:
    typer.echo(text.rstrip(" "), err=err)
