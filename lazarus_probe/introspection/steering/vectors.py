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
from lazarus_probe.hooks.interventions import Intervention
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.hooks.trace import hooked
from lazarus_probe.introspection.generation.completions import Edits, Generated, generate, started
from lazarus_probe.spelling import one_of
from lazarus_probe.subject.batches import Prompt, by_length, encode_all
from lazarus_probe.subject.finite import require_finite
from lazarus_probe.subject.last_position import last_logits

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Position = Literal["last", "onward", "all"]
POSITIONS: tuple[Position, ...] = ("last", "onward", "all")
# Rows whose next token is read together. Log probabilities of all tokens are held of each, in several forms: 700 rows
# of SmolLM2 took 3.7 GB.
AT_ONCE = 64
# From log probabilities (R, V) of steered rows and those of their prompts unsteered to numbers (R,) by name.
NextTokenMetrics = Callable[[mx.array, mx.array], dict[str, mx.array]]


@dataclass(frozen=True, eq=False)
class SteeringVectors:
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

    def edits(self, prompts: int) -> Edits:
        """Every steering vector on each of some prompts: row p * K + k is prompt p under vector k."""
        vectors = np.tile(self.vectors, (prompts, 1))

        def of_batch(rows: Sequence[int], length: int) -> list[Intervention]:
            added = mx.array(vectors[list(rows)].astype(np.float32))

            def add(value: mx.array) -> mx.array:
                by_row = added.reshape(added.shape[0], *[1] * (value.ndim - 2), added.shape[1])
                return (value.astype(mx.float32) + by_row).astype(value.dtype)

            positions = {"last": length - 1, "onward": "last", "all": "all"}[self.position]
            return [Intervention(resid_post(self.layer), add, positions, "steer")]  # type: ignore[arg-type]

        return of_batch


def steered_completions(
    subject: Subject,
    prompts: Sequence[str],
    steering: SteeringVectors,
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
    count = _checked(subject, steering)
    completions = generate(
        subject,
        [ids for ids in encode_all(subject, prompts) for _ in range(count)],
        max_tokens,
        temperature=temperature,
        seed=seed,
        streams=[prompt for prompt in range(len(prompts)) for _ in range(count)],
        edits=steering.edits(len(prompts)),
        shared=steering.position != "all",
        check=check,
    )
    return [completions[start : start + count] for start in range(0, len(completions), count)]


def steered_next_tokens(
    subject: Subject,
    prompts: Sequence[Prompt],
    steering: SteeringVectors,
    metrics: NextTokenMetrics,
    *,
    check: Callable[[], None] = lambda: None,
) -> dict[str, NDArray[np.float64]]:
    """Metrics (P, K) of the next token's log probabilities under each steering vector, compared with those without any.

    Raises:
        ValueError: no prompts, an empty one, or vectors of another width than the model's.
    """
    count = _checked(subject, steering)
    encoded = encode_all(subject, prompts)
    before: list[mx.array] = [mx.array(0.0)] * len(encoded)
    for indices, tokens in by_length(encoded):
        for index, row in zip(indices, _next(subject, tokens, *started(subject, tokens, False)), strict=True):
            before[index] = row
    edits = steering.edits(len(encoded))
    by_name: dict[str, NDArray[np.float64]] = {}
    for indices, tokens in by_length([ids for ids in encoded for _ in range(count)], most=AT_ONCE):
        cache, left = started(subject, tokens, steering.position != "all")
        with hooked(subject, interventions=edits(indices, tokens.shape[1])):
            after = _next(subject, tokens, cache, left)
        unsteered = mx.stack([before[index // count] for index in indices])
        for name, numbers in metrics(after, unsteered).items():
            values = by_name.setdefault(name, np.empty(len(encoded) * count))
            values[indices] = np.array(numbers, dtype=np.float64)
        check()
    return {name: values.reshape(len(encoded), count) for name, values in by_name.items()}


def multiples(vector: ArrayLike, coefficients: Sequence[float]) -> NDArray[np.float32]:
    """(K, D) a vector times each coefficient."""
    return np.outer(np.asarray(coefficients), np.asarray(vector, dtype=np.float64)).astype(np.float32)


def signed(coefficient: float) -> str:
    """A coefficient with its sign: `+1.0`, or with more digits where that would round it."""
    short = f"{coefficient:+.1f}"
    return short if float(short) == coefficient else f"{coefficient:+g}"


def _checked(subject: Subject, steering: SteeringVectors) -> int:
    """The number of steering vectors, if they fit the model."""
    vectors, width = steering.vectors, subject.anatomy.hidden_size
    if vectors.ndim != 2 or vectors.shape[1] != width or not len(vectors):
        raise ValueError(
            f"the direction has {vectors.shape[-1]} numbers and {subject.name} has a width of {width}; "
            "give one of this model"
        )
    return len(vectors)


def _next(subject: Subject, tokens: mx.array, cache: list[Any], left: mx.array) -> mx.array:
    """Log probabilities (B, V) of the token after tokens (B, L), in float32, of which some are `left` to run."""
    logits = require_finite(subject, tokens, last_logits(subject, left, cache).astype(mx.float32))
    log_probs = log_softmax(logits)
    mx.eval(log_probs)
    return log_probs
