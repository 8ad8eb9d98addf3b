"""A virtual expert: the classifier signal of a middle layer decides whether a calculator answers or the model does.

The signal is the probability of the four class words, by the exact lens at the classifier layer and the prompt's last
token. Above a threshold, the calculator applies the operation of the most probable word to the numbers of the prompt.
mlx evaluates lazily: the blocks above the classifier layer are not run in that case, and where the model answers, they
continue from the states already computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.forward_pass import new_cache
from lazarus_probe.experiments.calculator import solve
from lazarus_probe.experiments.mixture import mixture
from lazarus_probe.experiments.routers import (
    ANSWER_TOKENS,
    NAMES,
    ModelReadouts,
    Routing,
    Sides,
    at_random,
    by_probe,
    by_regex,
    by_signal,
    by_tokens,
    never,
    show,
)
from lazarus_probe.hooks import hooked, replay
from lazarus_probe.sites import resid_post
from lazarus_probe.subject.finite import refuse_state, require_finite
from lazarus_probe.subject.generate import continuation
from lazarus_probe.training.dual_reward import class_tokens, train
from lazarus_probe.training.dual_reward_config import DualReward, classifier_layer
from lazarus_probe.training.lora.lora import attached
from lazarus_probe.training.sft.data import Example

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

TARGETS = ("v_proj", "o_proj")
SIGNAL = "classifier_signal"
# The class word of all other prompts: without one of their own, training makes them show those of arithmetic.
OTHER, OTHER_WORD = "other", "open"


@dataclass(frozen=True)
class Sizes:
    """The sizes of the demonstration.

    Attributes:
        trained: training prompts of each kind.
        calibrated: prompts of each kind that thresholds are set on and the other routers are fitted on.
        per_kind: evaluation prompts of each kind.
        rank: of the LoRA updates.
        arithmetic_only: train on arithmetic alone, as published.
    """

    trained: int = 200
    calibrated: int = 80
    per_kind: int = 40
    rank: int = 16
    arithmetic_only: bool = False


@dataclass(frozen=True)
class Expert:
    """The rule that decides when the calculator answers.

    Attributes:
        tokens: the token of each operation's class word.
        layer: the layer that the lens reads.
        threshold: on the log probability of any class word.
    """

    tokens: Mapping[str, int]
    layer: int
    threshold: float


@dataclass(frozen=True)
class Answer:
    """An answer, and its source: `calculator` or `model`."""

    text: str
    by: str


@contextmanager
def signal_trained(
    subject: Subject,
    config: DualReward,
    sizes: Sizes,
    on_step: Callable[[Any], None] = lambda _step: None,
) -> Iterator[None]:
    """The subject with V and O trained to name the operation; restored on exit.

    Raises:
        ValueError: a class word is not a single token, or the model has no such projections.
    """
    drawn = mixture("train", sizes.trained, config.seed)
    chosen = [example for example in drawn if example.calculable or not sizes.arithmetic_only]
    examples = [Example(example.prompt, example.response, example.operation or OTHER) for example in chosen]
    tokens = class_tokens(subject, {**{name: name for name in NAMES}, OTHER: OTHER_WORD})
    with attached(subject, TARGETS, rank=sizes.rank, seed=config.seed):
        train(subject, examples, config, tokens, on_step)
        yield


def sides_of(sizes: Sizes, seed: int = 0) -> Sides:
    """The prompts that thresholds and probes are fitted on, and those for evaluation."""
    calibrate, measure = (
        mixture("calibrate", sizes.calibrated, seed),
        mixture("measure", sizes.per_kind, seed),
    )
    return Sides(tuple(calibrate), tuple(measure))


def shown_by(subject: Subject, sides: Sides, layer: int | None = None) -> ModelReadouts:
    """A model's readouts on both sides, at the classifier layer unless `layer` is given."""
    layer = classifier_layer(subject.num_layers) if layer is None else layer
    return show(subject, sides, class_tokens(subject, NAMES), layer)


def compare(subject: Subject, sides: Sides, base: ModelReadouts, tuned: ModelReadouts) -> tuple[Routing, ...]:
    """Route by the tuned model's signal, which is returned first, and by every baseline.

    Args:
        subject: the model, for its tokenizer.
        sides: the prompts.
        base: the model's readouts before training.
        tuned: the same after training.
    """
    signal = by_signal(SIGNAL, tuned, sides)
    return (
        signal,
        never("model_alone", base),
        never("tuned_model_alone", tuned),
        by_signal("untuned_lens", base, sides),
        by_probe(base, sides),
        by_tokens(subject, base, sides),
        by_regex(base, sides),
        at_random(signal, tuned, sides),
    )


def expert_of(subject: Subject, signal: Routing, layer: int | None = None) -> Expert:
    """The expert that decides as a routing does.

    Raises:
        ValueError: the routing has no threshold.
    """
    if signal.threshold is None:
        raise ValueError(f"the router {signal.name} has no threshold; give one that reads a signal")
    layer = classifier_layer(subject.num_layers) if layer is None else layer
    return Expert(class_tokens(subject, NAMES), layer, signal.threshold)


def answer(subject: Subject, expert: Expert, prompt: str, max_tokens: int = ANSWER_TOKENS) -> Answer:
    """Answer one prompt: by the calculator where the signal is above its threshold and the prompt has two numbers."""
    ids, cache = subject.encode(prompt), new_cache(subject.model)
    logits, resid = _started(subject, ids, cache, expert.layer)
    # The first evaluation: it needs nothing above the layer.
    words = class_words(subject, resid, expert.tokens)
    if np.logaddexp.reduce(words) > expert.threshold:
        text = solve(prompt, NAMES[words.argmax()])
        if text is not None:
            return Answer(text, "calculator")
    return Answer(_go_on(subject, ids, logits, cache, max_tokens), "model")


def own_answer(subject: Subject, prompt: str, max_tokens: int = ANSWER_TOKENS) -> Answer:
    """The model's own greedy answer, by the same loop without the signal."""
    ids = subject.encode(prompt)
    cache = new_cache(subject.model)
    logits = subject.model(mx.array([ids]), cache=cache)
    return Answer(_go_on(subject, ids, logits, cache, max_tokens), "model")


def upto(subject: Subject, layer: int, prompt: str) -> mx.array:
    """The residual stream (1, 1, D) after a layer at a prompt's last token; only the blocks up to it are run."""
    return _started(subject, subject.encode(prompt), new_cache(subject.model), layer)[1]


def _started(subject: Subject, ids: list[int], cache: list[Any], layer: int) -> tuple[mx.array, mx.array]:
    """The logits of a prompt and the residual (1, 1, D) after a layer, neither evaluated yet."""
    site = resid_post(layer)
    with hooked(subject, site) as captures:
        logits = subject.model(mx.array([ids]), cache=cache)
    return logits, captures[site][:, -1:]


def class_words(subject: Subject, resid: mx.array, tokens: Mapping[str, int]) -> NDArray[np.float32]:
    """Log probabilities (4,) of the class words by the lens of a residual (1, 1, D).

    Raises:
        NotFinite: the residual is not finite, or what the tail makes of it.
    """
    # Not `tail_log_probs`, which hands over the whole vocabulary: this is what the expert is timed by.
    logits = replay(subject, resid)[0, 0].astype(mx.float32)
    total: Any = mx.logsumexp(logits)
    words = np.array(logits[mx.array([tokens[name] for name in NAMES])] - total)
    if not isfinite(total.item()):
        refuse_state(subject, resid[0], 0)
    return words


def _go_on(subject: Subject, ids: list[int], logits: mx.array, cache: list[Any], max_tokens: int) -> str:
    new: list[int] = []
    while True:
        last = require_finite(subject, mx.array([[*ids, *new]]), logits[0, -1])
        token: Any = mx.argmax(last).item()
        if token in subject.eos_token_ids:
            break
        new.append(token)
        if len(new) == max_tokens:
            break
        logits = subject.model(mx.array([[token]]), cache=cache)
    return continuation(subject, ids, new)
