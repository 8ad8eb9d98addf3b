"""`lazarus introspect dual-reward`: train projections until a middle layer's lens names the operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lazarus_probe.cli.output import show_json, text_aside
from lazarus_probe.cli.parsing import check_folder, parse_layers
from lazarus_probe.cli.progress import losses_shown
from lazarus_probe.cli.training.class_tables import held_out_tables, published_table
from lazarus_probe.cli.training.settings_options import settings_command
from lazarus_probe.training.dual_reward_config import DEPTH, DualReward, DualRewardConfig

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


def train_dual_reward(settings: DualRewardConfig, as_json: bool) -> None:
    """Train V and O so that the logit lens at a middle layer names the operation, and answers stay correct.

    The loss is cls_weight * class + (1 - cls_weight) * answer. With --output, the same command resumes an interrupted
    training.
    """
    if settings.output is not None:
        check_output(settings.output)
    from lazarus_probe.training.class_words import held_out_questions, training_questions

    training = training_questions(settings.num_samples, settings.seed)
    with text_aside(as_json):
        result = _run(Run(settings, training, held_out_questions(settings.held_out)))
    show_json(result, as_json)


dual_reward = settings_command(
    DualRewardConfig,
    train_dual_reward,
    defaults={
        "classifier_layer": f"{DEPTH:.0%} of the depth",
        "layers": "from one below the classifier layer",
        "class_word": "",
    },
    metavars={"class_word": "OPERATION:WORD"},
    repeatable=("class_word",),
)


@dataclass(frozen=True, eq=False)
class Run:
    """One call of the command: its settings, training questions and held-out questions."""

    settings: DualRewardConfig
    training: Sequence[Question]
    held_out: Sequence[Question]

    @cached_property
    def config(self) -> DualReward:
        """The settings of the algorithm."""
        return self.settings.algorithm


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

    _say(f"Loading model: {run.settings.model}")
    subject = Subject.load(run.settings.model)
    tokens = tokens_of(subject, run.settings.class_word)
    spelled = class_spellings(subject, run.settings.class_word)
    layer = run.config.layer(subject.num_layers)
    layers = layers_of(run.settings.layers, layer, subject.num_layers)
    with attached(subject, **run.settings.lora, layers=layers) as trained:
        _describe(run, subject.num_layers, layer, spelled, trainable_count(trained))
        before = read(subject, run.held_out, tokens, layer)  # new LoRA changes nothing
        _train(run, subject, tokens)
        result = _config(run, layer, tokens, run.config.steps, _evaluate(run, subject, tokens, layer, before))
        result |= {"class_spellings": dict(spelled.spellings), "class_form": spelled.form}
        if run.settings.output is None:
            _say("\nNothing is kept; give --output DIR for the adapter")
        else:
            _save(run.settings.output, run.settings.model, subject, result)
            _say(f"\nCheckpoint saved to: {run.settings.output}")
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
    _say(published_table(subject, published, after, run.settings.class_word))
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
    _say(f"  LoRA rank: {run.settings.lora_rank}")
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
    start = state_step(run.settings.output) if run.settings.output else 0
    if start:
        _say(f"Going on after step {start} of {run.config.steps} in {run.settings.output}")
    _say("Training...")
    try:
        with losses_shown(run.config.steps, ("Total", "Cls Loss", "Ans Loss"), start=start) as show_losses:

            def show(step: Step) -> None:
                show_losses(step.step, step.loss, step.parts["classification"], step.parts["answer"])

            train(subject, examples, run.config, tokens, show, run.settings.output)
    except KeyboardInterrupt:
        if run.settings.output:
            after = state_step(run.settings.output)
            _say(f"interrupted: the same command resumes after step {after} of {run.config.steps}", err=True)
        raise
    except Diverged as error:
        if run.settings.output is None or error.step == 1:
            raise
        layer = run.config.layer(subject.num_layers)
        stopped = {"final_accuracy": None, "stopped": str(error)}
        _save(
            run.settings.output,
            run.settings.model,
            subject,
            _config(run, layer, tokens, error.step - 1, stopped),
        )
        raise FloatingPointError(
            f"{error}; the weights after step {error.step - 1} are in {run.settings.output}"
        ) from None


def _config(
    run: Run, layer: int, tokens: Mapping[str, int], steps: int, result: Mapping[str, Any]
) -> dict[str, Any]:
    """The model, the configuration and the result: the content of config.json."""
    return {
        "model": run.settings.model,
        "classifier_layer": layer,
        "lora_rank": run.settings.lora_rank,
        "cls_weight": run.config.cls_weight,
        "steps": steps,
        **result,
        "learning_rate": run.config.learning_rate,
        "batch_size": run.config.batch_size,
        "num_samples": len(run.training),
        "seed": run.config.seed,
        "class_words": run.settings.class_word,
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
