"""The options of `analyze` that change what the model does: what they mean, checked before the model is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lazarus_probe.cli.parsing import checked_text, layer_of
from lazarus_probe.subject.relative_depth import layer_at

if TYPE_CHECKING:
    from lazarus_probe.hooks.interventions import Intervention
    from lazarus_probe.introspection.directions.direction_file import Direction
    from lazarus_probe.introspection.lens.analyzer import ModelAnalyzer

DEPTH = 0.8  # of --compute-layer, unless it is given


@dataclass(frozen=True)
class Steer:
    """A push along a saved direction, or along one coordinate, after a layer."""

    source: str
    layer: int
    coefficient: float
    direction: Direction | None = None
    neuron: int = 0

    def __str__(self) -> str:
        return f"{self.coefficient:g} times {self.source} added after layer {self.layer}"


@dataclass(frozen=True)
class Inject:
    """A token's embedding put in after a layer at the last position of the prompt."""

    token: str
    layer: int
    blend: float

    def __str__(self) -> str:
        return f"embedding of {self.token!r} put in after layer {self.layer} (blend {self.blend:g})"


@dataclass(frozen=True)
class Override:
    """The exact answer of an arithmetic prompt put in after a layer at its last position."""

    layer: int

    def __str__(self) -> str:
        return f"exact answer put in after layer {self.layer}"


@dataclass(frozen=True)
class Edits:
    """All that is to be done to the model while it runs."""

    steer: Steer | None = None
    inject: Inject | None = None
    override: Override | None = None

    def __bool__(self) -> bool:
        return bool(self.steer or self.inject or self.override)

    @property
    def lines(self) -> list[str]:
        """Each of them in words."""
        return [str(edit) for edit in (self.steer, self.inject, self.override) if edit]

    def of_prompt(self, analyzer: ModelAnalyzer, prompt: str, question: str) -> list[Intervention]:
        """The interventions on one prompt, whose arithmetic stands in `question`.

        Raises:
            ValueError: a direction, coordinate or token that the model does not have, or no arithmetic to override.
        """
        from lazarus_probe.introspection.lens.edits import answer_token, push, push_coordinate, put_in, say

        subject, interventions = analyzer.subject, []
        if self.steer and self.steer.direction is not None:
            direction = self.steer.direction
            interventions.append(push(subject, direction.vector, self.steer.layer, self.steer.coefficient))
        elif self.steer:
            interventions.append(
                push_coordinate(subject, self.steer.neuron, self.steer.layer, self.steer.coefficient)
            )
        if self.inject:
            token, last = subject.single_token(self.inject.token), len(subject.encode(prompt)) - 1
            interventions.append(put_in(subject, token, self.inject.layer, self.inject.blend, last))
        if self.override:
            token = answer_token(subject, prompt, answer_of(question, "--compute-override arithmetic"))
            with analyzer.edited(interventions):
                pushed = say(subject, prompt, token, self.override.layer)
            interventions.append(pushed)
        return interventions


def steer_of(
    spec: str | None, neuron: int | None, layer: int | None, strength: float | None, num_layers: int
) -> Steer | None:
    """What --steer, --steer-neuron, --steer-layer and --strength ask for together.

    Raises:
        OSError: the file of the direction cannot be read.
        ValueError: options that do not go together, a file that is no direction, or a layer that is not there.
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
        at = layer_of(layer, num_layers, "--steer-layer")
        return Steer(f"neuron {neuron}", at, 1.0 if strength is None else strength, neuron=neuron)
    return _from_file(str(spec), layer, strength, num_layers)


def _from_file(spec: str, layer: int | None, strength: float | None, num_layers: int) -> Steer:
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
    if coefficient is None:
        coefficient = 1.0 if strength is None else strength
    return Steer(str(path), at, coefficient, direction)


def inject_of(layer: int | None, token: str | None, blend: float | None, num_layers: int) -> Inject | None:
    """What --inject-layer, --inject-token and --inject-blend ask for together.

    Raises:
        ValueError: one of them is missing, or the layer is not there.
    """
    if layer is None and token is None:
        if blend is not None:
            raise ValueError(f"--inject-blend {blend:g} needs --inject-token and --inject-layer")
        return None
    if token is None or layer is None:
        raise ValueError("--inject-token and --inject-layer need each other; give both")
    at = layer_of(layer, num_layers, "--inject-layer")
    return Inject(checked_text(token, "--inject-token"), at, 1.0 if blend is None else blend)


def override_of(kind: str, layer: int | None, num_layers: int) -> Override | None:
    """What --compute-override and --compute-layer ask for together.

    Raises:
        ValueError: a layer without an override, or one that is not there.
    """
    if kind == "none":
        if layer is not None:
            raise ValueError(f"--compute-layer {layer} needs --compute-override arithmetic")
        return None
    if layer is None:
        return Override(layer_at(DEPTH, num_layers))
    return Override(layer_of(layer, num_layers, "--compute-layer"))


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
