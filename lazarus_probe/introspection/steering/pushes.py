"""Steering vectors added to the residual stream: many vectors on many prompts, in batches.

Activation addition (Turner et al. 2023, arXiv:2308.10248); from the prompt's end on as in Rimsky et al. 2023
(arXiv:2312.06681), or everywhere as in Arditi et al. 2024 (arXiv:2406.11717).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import mlx.core as mx
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.anatomy.forward_pass import log_softmax
from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.interventions import Intervention
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.hooks.trace import hooked
from lazarus_probe.introspection.directions.direction_file import Direction
from lazarus_probe.introspection.generation.completions import Edits, Generated, generate, started
from lazarus_probe.spelling import one_of
from lazarus_probe.subject.batches import by_length, encode_all
from lazarus_probe.subject.finite import require_finite

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Position = Literal["last", "onward", "all"]
POSITIONS: tuple[Position, ...] = ("last", "onward", "all")
# From log probabilities (R, V) of steered rows and those of their prompts unsteered to numbers, by name, (R,).
Reading = Callable[[mx.array, mx.array, NDArray[np.intp]], dict[str, mx.array]]


@dataclass(frozen=True, eq=False)
class Pushes:
    """Vectors to add after a block.

    Attributes:
        layer: the block.
        vectors: (K, D), in the units of the residual stream.
        position: `last` position of the prompt only; `onward` from there, on every generated token too; `all`.
    """

    layer: int
    vectors: NDArray[np.float32]
    position: Position = "onward"

    def __post_init__(self) -> None:
        if self.position not in POSITIONS:
            raise ValueError(f"position {self.position!r} is unknown; {one_of(self.position, POSITIONS)}")

    def rows(self, prompts: int) -> Edits:
        """Every steering vector on each of some prompts: row p * K + k is prompt p under push k."""
        vectors = np.tile(self.vectors, (prompts, 1))

        def edits(indices: Sequence[int], length: int) -> list[Intervention]:
            added = mx.array(vectors[list(indices)].astype(np.float32))

            def add(value: mx.array) -> mx.array:
                push = added.reshape(added.shape[0], *[1] * (value.ndim - 2), added.shape[1])
                return (value.astype(mx.float32) + push).astype(value.dtype)

            where = {"last": length - 1, "onward": "last", "all": "all"}[self.position]
            return [Intervention(resid_post(self.layer), add, where, "steer")]  # type: ignore[arg-type]

        return edits


def pushed(
    subject: Subject,
    prompts: Sequence[str],
    pushes: Pushes,
    max_tokens: int,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    check: Callable[[], None] = lambda: None,
) -> list[list[Generated]]:
    """Completions (P, K) of each of P prompts under each of K steering vectors.

    Above temperature 0 a prompt has the same random draws under every vector, so that only the vectors differ.

    Raises:
        ValueError: as `generate`, or vectors of another width than the model's.
    """
    count = _checked(subject, pushes)
    found = generate(
        subject,
        [ids for ids in encode_all(subject, prompts) for _ in range(count)],
        max_tokens,
        temperature=temperature,
        seed=seed,
        streams=[prompt for prompt in range(len(prompts)) for _ in range(count)],
        edits=pushes.rows(len(prompts)),
        shared=pushes.position != "all",
        check=check,
    )
    return [found[start : start + count] for start in range(0, len(found), count)]


def readings(
    subject: Subject,
    prompts: Sequence[str],
    pushes: Pushes,
    read: Reading,
    *,
    check: Callable[[], None] = lambda: None,
) -> dict[str, NDArray[np.float64]]:
    """Numbers (P, K) read from the next token's log probabilities under each steering vector, and without any.

    Raises:
        ValueError: no prompts, an empty one, or vectors of another width than the model's.
    """
    count = _checked(subject, pushes)
    encoded = encode_all(subject, prompts)
    before: list[mx.array] = [mx.array(0.0)] * len(encoded)
    for indices, tokens in by_length(encoded):
        for index, row in zip(indices, _next(subject, tokens, *started(subject, tokens, False)), strict=True):
            before[index] = row
    edits = pushes.rows(len(encoded))
    found: dict[str, NDArray[np.float64]] = {}
    for indices, tokens in by_length([ids for ids in encoded for _ in range(count)]):
        cache, left = started(subject, tokens, pushes.position != "all")
        with hooked(subject, interventions=edits(indices, tokens.shape[1])):
            after = _next(subject, tokens, cache, left)
        owners = np.array(indices) // count
        for name, numbers in read(after, mx.stack([before[owner] for owner in owners]), owners).items():
            values = found.setdefault(name, np.empty(len(encoded) * count))
            values[indices] = np.array(numbers, dtype=np.float64)
        check()
    return {name: values.reshape(len(encoded), count) for name, values in found.items()}


def contrast(
    subject: Subject,
    positive: Sequence[str],
    negative: Sequence[str],
    layer: int,
    *,
    name: str = "",
    label_positive: str = "positive",
    label_negative: str = "negative",
) -> Direction:
    """The mean state of some prompts minus that of others, at their last positions after a block, as it is saved.

    Args:
        subject: the model.
        positive: the prompts that the direction points to.
        negative: those that it points away from.
        layer: the block.
        name: of the direction.
        label_positive: what `positive` are.
        label_negative: what `negative` are.

    Raises:
        ValueError: no prompts on a side, equal means, or a model with several residual streams.
    """
    if subject.anatomy.stream_axis is not None:
        raise ValueError(f"{subject.name} has several residual streams; a direction is of one")
    site = resid_post(layer)
    states = collect(subject, [*positive, *negative], [site])[site].astype(np.float64)
    first, second = states[: len(positive)].mean(axis=0), states[len(positive) :].mean(axis=0)
    # The same prompts may differ by rounding, as rows of one batch do: that is no direction.
    same = sorted(map(str, positive)) == sorted(map(str, negative))
    if same or np.allclose(first, second, rtol=0, atol=1e-6 * np.abs(states).max()):
        raise ValueError(
            "the positive and the negative prompts have the same mean state; give prompts that differ"
        )
    vector = (first - second).astype(np.float32)
    norms = [float(np.linalg.norm(each)) for each in (first, second)]
    return Direction(
        vector,
        layer,
        name=name,
        label_positive=label_positive,
        label_negative=label_negative,
        model_id=subject.name,
        method="difference_of_means",
        extra={
            "positive_prompt": positive[0] if len(positive) == 1 else list(positive),
            "negative_prompt": negative[0] if len(negative) == 1 else list(negative),
            "norm": float(np.linalg.norm(vector.astype(np.float64))),
            "cosine_similarity": float(first @ second / (norms[0] * norms[1])),
            "num_positive": len(positive),
            "num_negative": len(negative),
            "state_norm": float(np.linalg.norm(states, axis=1).mean()),
            "fingerprint": subject.fingerprint,
        },
    )


def multiples(vector: ArrayLike, coefficients: Sequence[float]) -> NDArray[np.float32]:
    """(K, D) a vector times each coefficient."""
    return np.outer(np.asarray(coefficients), np.asarray(vector, dtype=np.float64)).astype(np.float32)


def _checked(subject: Subject, pushes: Pushes) -> int:
    """The number of steering vectors, if they fit the model."""
    vectors, width = pushes.vectors, subject.anatomy.hidden_size
    if vectors.ndim != 2 or vectors.shape[1] != width or not len(vectors):
        raise ValueError(
            f"the direction has {vectors.shape[-1]} numbers and {subject.name} has a width of {width}; "
            "give one of this model"
        )
    return len(vectors)


def _next(subject: Subject, tokens: mx.array, cache: list[Any], left: mx.array) -> mx.array:
    """Log probabilities (B, V) of the token after tokens (B, L), in float32, of which some are `left` to run."""
    logits = require_finite(subject, tokens, subject.model(left, cache=cache)[:, -1].astype(mx.float32))
    log_probs = log_softmax(logits)
    mx.eval(log_probs)
    return log_probs
