"""Who decides that a calculator answers: the classifier signal, and what it has to be better than.

Every router says of a prompt whether the calculator is to answer, and which operation it is to do. What needs to be
fitted is fitted on one side of the mixture and judged on the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.experiments.calculator import solve
from lazarus_probe.experiments.mixture import Asked, is_right
from lazarus_probe.hooks import collect, replay
from lazarus_probe.hooks.replay import require_free_tail
from lazarus_probe.sites import resid_post
from lazarus_probe.statistics import bag_of_tokens
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
    """The prompts that thresholds and probes are fitted on, and those that all routers are measured on."""

    calibrate: tuple[Asked, ...]
    measure: tuple[Asked, ...]


@dataclass(frozen=True, eq=False)
class Reading:
    """What a middle layer shows at the last token of N prompts.

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
class Shown:
    """What a model shows on both sides, and on the second one (N,) whether its own answers are right."""

    calibrate: Reading
    measure: Reading
    right: Bools


@dataclass(frozen=True, eq=False)
class Routing:
    """What a router decides on N prompts, and what is then answered.

    Attributes:
        name: of the router.
        routed: (N,) the share of times that the calculator is asked; 0 or 1 but for a random router.
        operations: (N,) what it is asked to do.
        answered: (N,) the share of right answers, by the calculator where it is asked and can, else by the model.
        threshold: on the router's score, where it has one.
    """

    name: str
    routed: Floats
    operations: tuple[str, ...]
    answered: Floats
    threshold: float | None = None


def show(subject: Subject, sides: Sides, tokens: Mapping[str, int], layer: int) -> Shown:
    """Read a model on both sides, and let it answer the second.

    Raises:
        IndexError: a layer that the model does not have.
    """
    first, second = (_read(subject, side, tokens, layer) for side in (sides.calibrate, sides.measure))
    prompts = [each.prompt for each in sides.measure]
    slices = [prompts[start : start + ROWS] for start in range(0, len(prompts), ROWS)]
    said = [text for part in slices for text in greedy(subject, part, ANSWER_TOKENS)]
    right = [is_right(each, text) for each, text in zip(sides.measure, said, strict=True)]
    return Shown(first, second, np.array(right))


def _read(subject: Subject, asked: Sequence[Asked], tokens: Mapping[str, int], layer: int) -> Reading:
    """One pass: the lens reads the residual streams that are kept."""
    resid = collect(subject, [each.prompt for each in asked], [resid_post(layer)])[resid_post(layer)]
    require_free_tail(subject)
    logits = replay(subject, mx.array(resid[:, None]).astype(getattr(mx, subject.dtype)))[:, 0]
    words = mx.array([tokens[name] for name in NAMES])
    total = mx.logsumexp(logits.astype(mx.float32), axis=-1, keepdims=True)
    log_probs = np.array(logits[:, words].astype(mx.float32) - total, np.float64)
    return Reading(log_probs, resid.reshape(len(asked), -1).astype(np.float64))


def threshold_of(scores: Floats, wanted: Bools) -> float:
    """Above which a score is taken for yes: the cut with the most hits less false alarms (Youden 1950).

    It lies halfway between two scores; of several such cuts it is the one in the widest gap.

    Raises:
        ValueError: all are wanted, or none.
    """
    if wanted.all() or not wanted.any():
        raise ValueError("a threshold needs prompts of both kinds to be set on")
    values = np.unique(scores)
    if len(values) == 1:
        return float(values[0])
    cuts, gaps = (values[1:] + values[:-1]) / 2, np.diff(values)
    hits, alarms = scores[wanted], scores[~wanted]
    youden = [float((hits > cut).mean() - (alarms > cut).mean()) for cut in cuts]
    best = max(range(len(cuts)), key=lambda i: (youden[i], gaps[i]))
    return float(cuts[best])


def by_signal(name: str, shown: Shown, sides: Sides) -> Routing:
    """Route where the class words are more probable than a threshold set on the first side; the likeliest is done."""
    cut = threshold_of(shown.calibrate.signal, _calculable(sides.calibrate))
    operations = tuple(NAMES[i] for i in shown.measure.log_probs.argmax(axis=1))
    return _routing(name, sides, shown.measure.signal > cut, operations, shown.right, cut)


def by_probe(shown: Shown, sides: Sides) -> Routing:
    """Route by a linear probe of the residual stream that the signal is read from."""
    return _by_fit("probe", shown.calibrate.resid, shown.measure.resid, shown.right, sides)


def by_tokens(subject: Subject, shown: Shown, sides: Sides) -> Routing:
    """Route by the same probe of how often each token occurs: what needs no model."""
    ids = [subject.encode(each.prompt) for each in (*sides.calibrate, *sides.measure)]
    counts, count = bag_of_tokens(ids), len(sides.calibrate)
    return _by_fit("bag_of_tokens", counts[:count], counts[count:], shown.right, sides)


def by_regex(shown: Shown, sides: Sides) -> Routing:
    """Route what the phrasings of arithmetic match, spelled out as regular expressions."""
    found = tuple(operation_in(each.prompt) or "" for each in sides.measure)
    return _routing("regex", sides, np.array([bool(name) for name in found]), found, shown.right)


def at_random(signal: Routing, shown: Shown, sides: Sides) -> Routing:
    """Route as many prompts as a router does, whichever they are: the expectation over all such choices."""
    rate = float(signal.routed.mean())
    everything = _routing("random", sides, np.ones(len(shown.right), bool), signal.operations, shown.right)
    answered = rate * everything.answered + (1 - rate) * shown.right
    return Routing("random", np.full(len(answered), rate), signal.operations, answered)


def never(name: str, shown: Shown) -> Routing:
    """The model alone."""
    count = len(shown.right)
    return Routing(name, np.zeros(count), ("",) * count, shown.right.astype(float))


def decided(routing: Routing, sides: Sides) -> Floats:
    """(N,) how often each decision is right: calculable prompts to the calculator, and no others."""
    return np.where(_calculable(sides.measure), routing.routed, 1 - routing.routed)


def _calculable(asked: Sequence[Asked]) -> Bools:
    return np.array([each.calculable for each in asked])


def _by_fit(name: str, seen: Floats, unseen: Floats, right: Bools, sides: Sides) -> Routing:
    """Logistic regression for the operation, or none of them, fitted on the first side."""
    classes = ("", *NAMES)
    codes = np.array([classes.index(each.operation) for each in sides.calibrate])
    with one_thread():
        seen, unseen = in_span(*standardise(seen, unseen))
        likely = fit_logistic(seen, codes, max(STRENGTHS)).scores(unseen).argmax(axis=1)
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
    for each, expert, operation, own in zip(sides.measure, routed, operations, right, strict=True):
        result = solve(each.prompt, operation) if expert else None
        answered.append(bool(own) if result is None else is_right(each, result))
    return Routing(name, routed.astype(float), operations, np.array(answered, float), threshold)
