"""Routers that decide whether a calculator answers: the classifier signal, and the baselines it has to beat.

For each prompt, a router decides whether the calculator answers, and with which operation. Routers are fitted on one
side of the mixture and evaluated on the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.experiments.calculator import solve
from lazarus_probe.experiments.mixture import MixtureExample, is_right
from lazarus_probe.hooks import collect
from lazarus_probe.introspection.lens.logit_lens import read_states
from lazarus_probe.sites import resid_post
from lazarus_probe.statistics.controls import bag_of_tokens
from lazarus_probe.statistics.probes.linear import in_span, standardise
from lazarus_probe.statistics.probes.logistic import fit_logistic
from lazarus_probe.statistics.probes.out_of_fold import STRENGTHS
from lazarus_probe.statistics.threads import one_thread
from lazarus_probe.subject.generate import greedy
from lazarus_probe.tasks.arithmetic import OPERATIONS
from lazarus_probe.training.sft.labels import operation_in

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
NAMES = tuple(OPERATIONS)
ANSWER_TOKENS = 24
ROWS = 64


@dataclass(frozen=True)
class Sides:
    """The prompts that thresholds and probes are fitted on, and those that all routers are evaluated on."""

    calibrate: tuple[MixtureExample, ...]
    measure: tuple[MixtureExample, ...]


@dataclass(frozen=True, eq=False)
class Readout:
    """The readout of a middle layer at the last token of N prompts.

    Attributes:
        log_probs: (N, 4) of each operation's class word, by the lens.
        resid: (N, D) the residual stream.
    """

    log_probs: Floats
    resid: Floats

    @property
    def signal(self) -> Floats:
        """(N,) the log probability of any class word."""
        return np.asarray(np.logaddexp.reduce(self.log_probs, axis=1))


@dataclass(frozen=True, eq=False)
class ModelReadouts:
    """A model's readouts on both sides, and whether its own answers on the measured side are right (N,)."""

    calibrate: Readout
    measure: Readout
    right: Bools


@dataclass(frozen=True, eq=False)
class Routing:
    """A router's decisions on N prompts, and the answers that follow from them.

    Attributes:
        name: of the router.
        routed: (N,) the probability that the calculator is used; 0 or 1 except for a random router.
        operations: (N,) the operation that it would do.
        answered: (N,) the probability of a right answer, by the calculator where it is used and can answer, else by
            the model.
        threshold: on the router's score, where it has one.
    """

    name: str
    routed: Floats
    operations: tuple[str, ...]
    answered: Floats
    threshold: float | None = None


def show(subject: Subject, sides: Sides, tokens: Mapping[str, int], layer: int) -> ModelReadouts:
    """Read the model on both sides, and let it answer the measured one.

    Raises:
        IndexError: a layer that the model does not have.
    """
    calibrate, measure = (_read(subject, side, tokens, layer) for side in (sides.calibrate, sides.measure))
    prompts = [example.prompt for example in sides.measure]
    slices = [prompts[start : start + ROWS] for start in range(0, len(prompts), ROWS)]
    completions = [text for part in slices for text in greedy(subject, part, ANSWER_TOKENS)]
    right = [is_right(example, text) for example, text in zip(sides.measure, completions, strict=True)]
    return ModelReadouts(calibrate, measure, np.array(right))


def _read(
    subject: Subject, examples: Sequence[MixtureExample], tokens: Mapping[str, int], layer: int
) -> Readout:
    """Readouts from one forward pass: the lens is applied to the collected residual streams."""
    resid = collect(subject, [example.prompt for example in examples], [resid_post(layer)])[resid_post(layer)]
    log_probs = read_states(subject, resid)[:, [tokens[name] for name in NAMES]].astype(np.float64)
    return Readout(log_probs, resid.reshape(len(examples), -1).astype(np.float64))


def threshold_of(scores: Floats, wanted: Bools) -> float:
    """The threshold on a score with the largest hit rate minus false-alarm rate (Youden 1950).

    It lies halfway between two scores; among ties it is the one in the widest gap.

    Raises:
        ValueError: all labels are positive, or none is.
    """
    if wanted.all() or not wanted.any():
        raise ValueError("setting a threshold needs prompts of both kinds")
    values = np.unique(scores)
    if len(values) == 1:
        return float(values[0])
    cuts, gaps = (values[1:] + values[:-1]) / 2, np.diff(values)
    hits, alarms = scores[wanted], scores[~wanted]
    youden = [float((hits > cut).mean() - (alarms > cut).mean()) for cut in cuts]
    best = max(range(len(cuts)), key=lambda i: (youden[i], gaps[i]))
    return float(cuts[best])


def by_signal(name: str, shown: ModelReadouts, sides: Sides) -> Routing:
    """Route where the class words are more probable than a calibrated threshold, to the most probable operation."""
    cut = threshold_of(shown.calibrate.signal, _calculable(sides.calibrate))
    operations = tuple(NAMES[i] for i in shown.measure.log_probs.argmax(axis=1))
    return _routing(name, sides, shown.measure.signal > cut, operations, shown.right, cut)


def by_probe(shown: ModelReadouts, sides: Sides) -> Routing:
    """Route by a linear probe of the same residual stream that the signal is read from."""
    return _by_fit("probe", shown.calibrate.resid, shown.measure.resid, shown.right, sides)


def by_tokens(subject: Subject, shown: ModelReadouts, sides: Sides) -> Routing:
    """Route by the same probe on token counts: a baseline without the model."""
    ids = [subject.encode(example.prompt) for example in (*sides.calibrate, *sides.measure)]
    counts, count = bag_of_tokens(ids), len(sides.calibrate)
    return _by_fit("bag_of_tokens", counts[:count], counts[count:], shown.right, sides)


def by_regex(shown: ModelReadouts, sides: Sides) -> Routing:
    """Route the prompts that match regular expressions for the phrasings of arithmetic."""
    operations = tuple(operation_in(question.prompt) or "" for question in sides.measure)
    return _routing("regex", sides, np.array([bool(name) for name in operations]), operations, shown.right)


def at_random(signal: Routing, shown: ModelReadouts, sides: Sides) -> Routing:
    """Route as many prompts as a given router, chosen at random: the expectation over all choices."""
    rate = float(signal.routed.mean())
    everything = _routing("random", sides, np.ones(len(shown.right), bool), signal.operations, shown.right)
    answered = rate * everything.answered + (1 - rate) * shown.right
    return Routing("random", np.full(len(answered), rate), signal.operations, answered)


def never(name: str, shown: ModelReadouts) -> Routing:
    """The model alone."""
    count = len(shown.right)
    return Routing(name, np.zeros(count), ("",) * count, shown.right.astype(float))


def decided(routing: Routing, sides: Sides) -> Floats:
    """(N,) how often each decision is right: the calculator for calculable prompts and for no others."""
    return np.where(_calculable(sides.measure), routing.routed, 1 - routing.routed)


def _calculable(examples: Sequence[MixtureExample]) -> Bools:
    return np.array([example.calculable for example in examples])


def _by_fit(name: str, calibrate: Floats, measure: Floats, right: Bools, sides: Sides) -> Routing:
    """Logistic regression for the operation or none, fitted on the calibration side."""
    classes = ("", *NAMES)
    codes = np.array([classes.index(example.operation) for example in sides.calibrate])
    with one_thread():
        calibrate, measure = in_span(*standardise(calibrate, measure))
        likely = fit_logistic(calibrate, codes, max(STRENGTHS)).scores(measure).argmax(axis=1)
    return _routing(name, sides, likely > 0, tuple(classes[code] for code in likely), right)


def _routing(
    name: str,
    sides: Sides,
    routed: Bools,
    operations: tuple[str, ...],
    right: Bools,
    threshold: float | None = None,
) -> Routing:
    answered = []
    for example, expert, operation, own in zip(sides.measure, routed, operations, right, strict=True):
        result = solve(example.prompt, operation) if expert else None
        answered.append(bool(own) if result is None else is_right(example, result))
    return Routing(name, routed.astype(float), operations, np.array(answered, float), threshold)
