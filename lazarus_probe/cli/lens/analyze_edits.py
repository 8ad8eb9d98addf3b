"""The options of `analyze` that change what the model does: what they mean, checked before the model is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lazarus_probe.cli.parsing import checked_text, layer_of
from lazarus_probe.subject.relative_depth import layer_at

if TYPE_CHECKING:
    from lazarus_probe.hooks.interventions import Intervention
    from lazarus_probe.introspection.lens.analyzer import ModelAnalyzer

DEPTH = 0.8  # of --compute-layer, unless it is given


@dataclass(frozen=True)
class EditedPrompt:
    """A prompt, the text with its arithmetic, and the interventions on it so far."""

    analyzer: ModelAnalyzer
    prompt: str
    question: str
    interventions: Sequence[Intervention]


@dataclass(frozen=True)
class Edit:
    """An edit in words, and the function that makes its intervention on a prompt."""

    text: str
    of_prompt: Callable[[EditedPrompt], Intervention]

    def __str__(self) -> str:
        return self.text


def interventions_of(
    edits: Sequence[Edit], analyzer: ModelAnalyzer, prompt: str, question: str
) -> list[Intervention]:
    """The interventions on one prompt, whose arithmetic is in `question`.

    Raises:
        ValueError: a direction, coordinate or token that the model does not have, or no arithmetic to override.
    """
    interventions: list[Intervention] = []
    for edit in edits:
        interventions.append(edit.of_prompt(EditedPrompt(analyzer, prompt, question, interventions)))
    return interventions


def steer_of(
    spec: str | None, neuron: int | None, layer: int | None, strength: float | None, num_layers: int
) -> Edit | None:
    """What --steer, --steer-neuron, --steer-layer and --strength request together.

    Raises:
        OSError: the file of the direction cannot be read.
        ValueError: options that exclude each other, a file that is not a direction, or a layer the model does not have.
    """
    if spec is None and neuron is None:
        for name, value in (("--steer-layer", layer), ("--strength", strength)):
            if value is not None:
                raise ValueError(f"{name} {value} says how to steer; give --steer or --steer-neuron as well")
        return None
    if spec is not None and neuron is not None:
        raise ValueError("--steer and --steer-neuron are two ways to steer; give one of them")
    if strength is not None and not math.isfinite(strength):
        raise ValueError(f"--strength {strength} is not a finite number")
    if neuron is not None:
        if layer is None:
            raise ValueError(f"--steer-neuron {neuron} needs --steer-layer")
        return _neuron_edit(
            neuron, layer_of(layer, num_layers, "--steer-layer"), 1.0 if strength is None else strength
        )
    return _direction_edit(str(spec), layer, strength, num_layers)


def _neuron_edit(neuron: int, layer: int, strength: float) -> Edit:
    def of_prompt(edited: EditedPrompt) -> Intervention:
        from lazarus_probe.introspection.lens.edits import push_coordinate

        return push_coordinate(edited.analyzer.subject, neuron, layer, strength)

    return Edit(f"{strength:g} times neuron {neuron} added after layer {layer}", of_prompt)


def _direction_edit(spec: str, layer: int | None, strength: float | None, num_layers: int) -> Edit:
    from lazarus_probe.introspection.directions.direction_file import read_direction, split_spec

    path, coefficient = split_spec(spec)
    if coefficient is not None and strength is not None:
        raise ValueError(f"--steer {spec} has its coefficient already; leave out --strength")
    direction = read_direction(path)
    if layer is None and direction.layer >= num_layers:
        raise ValueError(
            f"{path} belongs to layer {direction.layer}; the model has 0 to {num_layers - 1}: give --steer-layer"
        )
    at = direction.layer if layer is None else layer_of(layer, num_layers, "--steer-layer")
    factor = next((number for number in (coefficient, strength) if number is not None), 1.0)

    def of_prompt(edited: EditedPrompt) -> Intervention:
        from lazarus_probe.introspection.lens.edits import push

        return push(edited.analyzer.subject, direction.vector, at, factor)

    return Edit(f"{factor:g} times {path} added after layer {at}", of_prompt)


def inject_of(layer: int | None, token: str | None, blend: float | None, num_layers: int) -> Edit | None:
    """What --inject-layer, --inject-token and --inject-blend request together.

    Raises:
        ValueError: one of them is missing, or the layer is not there.
    """
    if layer is None and token is None:
        if blend is not None:
            raise ValueError(f"--inject-blend {blend:g} needs --inject-token and --inject-layer")
        return None
    if token is None or layer is None:
        raise ValueError("--inject-token and --inject-layer need each other; give both")
    at, share = layer_of(layer, num_layers, "--inject-layer"), 1.0 if blend is None else blend
    text = checked_text(token, "--inject-token")

    def of_prompt(edited: EditedPrompt) -> Intervention:
        from lazarus_probe.introspection.generation.spelled import spelled_after
        from lazarus_probe.introspection.lens.edits import inject_token

        subject = edited.analyzer.subject
        last = len(subject.encode(edited.prompt)) - 1
        [token] = spelled_after(subject, [edited.prompt], [text]).tokens
        return inject_token(subject, token, at, share, last)

    return Edit(f"embedding of {text!r} put in after layer {at} (blend {share:g})", of_prompt)


def override_of(kind: str, layer: int | None, num_layers: int) -> Edit | None:
    """What --compute-override and --compute-layer request together.

    Raises:
        ValueError: a layer without an override, or one that is not there.
    """
    if kind == "none":
        if layer is not None:
            raise ValueError(f"--compute-layer {layer} needs --compute-override arithmetic")
        return None
    at = layer_at(DEPTH, num_layers) if layer is None else layer_of(layer, num_layers, "--compute-layer")

    def of_prompt(edited: EditedPrompt) -> Intervention:
        from lazarus_probe.introspection.lens.edits import answer_token, say

        subject = edited.analyzer.subject
        answer = answer_of(edited.question, "--compute-override arithmetic")
        token = answer_token(subject, edited.prompt, answer)
        with edited.analyzer.edited(edited.interventions):
            return say(subject, edited.prompt, token, at)

    return Edit(f"exact answer put in after layer {at}", of_prompt)


def answer_of(question: str, option: str) -> str:
    """The exact answer of an arithmetic prompt.

    Raises:
        ValueError: it is none.
    """
    from lazarus_probe.introspection.generation.answer_onset import expected_of

    answer = expected_of(question)
    if answer is None:
        raise ValueError(
            f"{option}: {question!r} does not end in arithmetic with one exact answer, as '7 * 8 = '"
        )
    return answer
