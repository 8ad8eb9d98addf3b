"""Metrics of the last position's logits, or of the greedy continuation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.forward_pass import log_softmax

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Token = int | str
Tokens = Token | Sequence[Token]
Reading = Callable[[mx.array, mx.array, list[mx.array]], mx.array]


@dataclass(frozen=True, eq=False)
class Metric:
    """A number for each row, from the logits at the last position of the prompt.

    Attributes:
        name: its label in the result.
        read: from logits (R, V) in float32, the unpatched targets' logits (R, V), and the token ids (R,) of each
            argument, to numbers (R,).
        tokens: the arguments: one token, or one per prompt; a word stands for the one token that spells it.
        reads_others: whether `read` looks at logits of other tokens than these. Where no metric of a sweep does, it is
            given the logits (R, U) of all metrics' tokens alone, and the ids are numbers among those.
    """

    name: str
    read: Reading
    tokens: tuple[Tokens, ...] = ()
    reads_others: bool = True


@dataclass(frozen=True)
class Answer:
    """The greedy continuation, as text; see `answer`."""

    name: str
    max_tokens: int
    stop: tuple[str, ...]


def logit_diff(answer: Tokens, other: Tokens, name: str = "logit_diff") -> Metric:
    """Logit of one token minus that of another: linear in the residual stream (Zhang & Nanda 2024, 2309.16042).

    Example:
        >>> from lazarus_probe.sweep import Donors, logit_diff, sweep
        >>> metric = logit_diff("56", "15")
        >>> result = sweep(subject, ["7+8="], ["attn_out.3"], sources={"product": Donors(["7*8="])}, metrics=[metric])
        >>> bool(result.baseline["logit_diff"][0] < 0 < result.donors["logit_diff"][0, 0])
        True
    """

    def read(logits: mx.array, _: mx.array, ids: list[mx.array]) -> mx.array:
        return _taken(logits, ids[0]) - _taken(logits, ids[1])

    return Metric(name, read, (answer, other), reads_others=False)


def probability(token: Tokens, name: str = "probability") -> Metric:
    """Probability of a token.

    Example:
        >>> from lazarus_probe.sites import mlp_out
        >>> from lazarus_probe.sweep import Zero, probability, sweep
        >>> sources, metrics = {"zero": Zero()}, [probability("56")]
        >>> result = sweep(subject, ["7*8="], [mlp_out(0)], sources=sources, metrics=metrics, positions="all")
        >>> bool(result.grid("probability")[0, 0] < result.baseline["probability"][0])
        True
    """
    return Metric(name, lambda logits, _, ids: mx.exp(_taken(log_softmax(logits), ids[0])), (token,))


def kl(name: str = "kl") -> Metric:
    """Divergence KL(unpatched || patched) of the next-token distributions, in nats.

    Example:
        >>> from lazarus_probe.sites import mlp_out
        >>> from lazarus_probe.sweep import Zero, kl, sweep
        >>> sites = [mlp_out(layer) for layer in range(subject.num_layers)]
        >>> result = sweep(subject, ["7*8="], sites, sources={"zero": Zero()}, metrics=[kl()], positions="all")
        >>> int(result.grid("kl").argmax())  # the layer whose MLP matters most
        0
    """

    def read(logits: mx.array, baseline: mx.array, _: list[mx.array]) -> mx.array:
        before, after = log_softmax(baseline), log_softmax(logits)
        return (mx.exp(before) * (before - after)).sum(axis=-1)

    return Metric(name, read)


def rank(token: Tokens, name: str = "rank") -> Metric:
    """How many tokens have a higher logit: 0 for the most likely one.

    Example:
        >>> from lazarus_probe.sites import mlp_out
        >>> from lazarus_probe.sweep import Zero, rank, sweep
        >>> sources, metrics = {"zero": Zero()}, [rank("56")]
        >>> result = sweep(subject, ["7*8="], [mlp_out(0)], sources=sources, metrics=metrics, positions="all")
        >>> result.baseline["rank"].tolist()
        [0.0]
        >>> bool(result.grid("rank")[0, 0] > 0)
        True
    """
    return Metric(
        name, lambda logits, _, ids: (logits > _taken(logits, ids[0])[:, None]).sum(axis=-1), (token,)
    )


def answer(max_tokens: int = 8, stop: str | Sequence[str] = (), name: str = "answer") -> Answer:
    """The greedy continuation, up to a stop string or an end-of-sequence token.

    With positions "all" an ablation acts on generated tokens too; any other cell acts on the prompt. A subject
    without a tokenizer answers with token ids, separated by spaces.

    Raises:
        ValueError: `max_tokens` is below 1.

    Example:
        >>> from lazarus_probe.sweep import Donors, answer, sweep
        >>> metric = answer(max_tokens=4, stop=".")
        >>> result = sweep(subject, ["7+8="], ["resid_post.5"], sources={"product": Donors(["7*8="])}, metrics=[metric])
        >>> result.baseline["answer"].tolist(), result.donors["answer"].tolist()
        (['15'], [['56']])
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens is {max_tokens}; at least 1 is needed")
    return Answer(name, max_tokens, (stop,) if isinstance(stop, str) else tuple(stop))


@dataclass(frozen=True, eq=False)
class Reader:
    """Metrics with the token ids of every prompt of a sweep: (P,) for each argument."""

    metrics: tuple[Metric, ...]
    ids: tuple[tuple[NDArray[np.int32], ...], ...]

    def tokens(self, prompts: NDArray[np.intp]) -> NDArray[np.int32] | None:
        """The tokens (U,) whose logits are all that is read for prompts (R,); None where others are read too."""
        if not self.metrics or any(metric.reads_others for metric in self.metrics):
            return None
        return np.unique([tokens[prompts] for ids in self.ids for tokens in ids]).astype(np.int32)

    def among(self, tokens: NDArray[np.int32]) -> Reader:
        """The same metrics of logits (R, U) that are of some tokens alone, in ascending order."""
        places = (tuple(np.searchsorted(tokens, row).astype(np.int32) for row in ids) for ids in self.ids)
        return Reader(self.metrics, tuple(places))

    def read(self, logits: mx.array, baseline: mx.array, prompts: NDArray[np.intp]) -> dict[str, mx.array]:
        """By metric its numbers (R,) for logits (R, V), where `prompts` (R,) are indices."""
        logits, baseline = logits.astype(mx.float32), baseline.astype(mx.float32)
        return {
            metric.name: metric.read(logits, baseline, [mx.array(tokens[prompts]) for tokens in ids])
            for metric, ids in zip(self.metrics, self.ids, strict=True)
        }


def reader(subject: Subject, metrics: Sequence[Metric], count: int) -> Reader:
    """Look up the metrics' tokens for `count` prompts.

    Raises:
        ValueError: a token outside the vocabulary, a word that is not one token, or not one token per prompt.
    """
    ids = [tuple(_ids(subject, metric.name, tokens, count) for tokens in metric.tokens) for metric in metrics]
    return Reader(tuple(metrics), tuple(ids))


def check_names(metrics: Sequence[Metric | Answer]) -> None:
    """Whether there are metrics, with different names and at most one answer.

    Raises:
        ValueError: there are none, or two share a name, or two are answers.
    """
    if not metrics:
        raise ValueError("no metrics; give at least one, such as logit_diff(token, other) or kl()")
    names = [metric.name for metric in metrics]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two metrics are named {twice[0]!r}; give one of them another name=")
    if sum(isinstance(metric, Answer) for metric in metrics) > 1:
        raise ValueError("two metrics are answers; give one, with the larger max_tokens")


def _ids(subject: Subject, name: str, tokens: Tokens, count: int) -> NDArray[np.int32]:
    by_prompt = [tokens] * count if isinstance(tokens, int | str | np.integer) else list(tokens)
    if len(by_prompt) != count:
        raise ValueError(
            f"metric {name!r} has {len(by_prompt)} tokens for {count} prompts; give one, or one per prompt"
        )
    words = {word: subject.single_token(word) for word in set(by_prompt) if isinstance(word, str)}
    ids = np.array([words[token] if isinstance(token, str) else int(token) for token in by_prompt], np.int32)
    size = subject.anatomy.vocab_size
    outside = ids[(ids < 0) | (ids >= size)]
    if len(outside):
        raise ValueError(f"metric {name!r}: token {outside[0]} is outside the vocabulary, 0 to {size - 1}")
    return ids


def _taken(rows: mx.array, ids: mx.array) -> mx.array:
    return mx.take_along_axis(rows, ids[:, None], axis=1)[:, 0]
