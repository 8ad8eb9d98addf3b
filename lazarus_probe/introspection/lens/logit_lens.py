"""What the model would predict if it stopped after each layer: the logit lens (nostalgebraist, 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.forward_pass import log_softmax
from lazarus_probe.hooks import collect, resolve
from lazarus_probe.introspection.lens.read_out import read_out
from lazarus_probe.introspection.lens.spelled_token import rank_among
from lazarus_probe.sites import resid_post
from lazarus_probe.subject.batches import Prompt
from lazarus_probe.subject.finite import refuse_state
from lazarus_probe.subject.subject import Subject

LOGITS_PER_BATCH = 2**26


@dataclass(frozen=True, eq=False)
class LensResult:
    """Log probabilities of the next token, read from the residual stream after each of some layers.

    Attributes:
        log_probs: (N, layers, V) in float32, natural logarithm.
        layers: the layers, counted from 0, in the order of the second axis.
    """

    log_probs: np.ndarray
    layers: tuple[int, ...]

    def probability(self, token_id: int | Sequence[int]) -> np.ndarray:
        """Probability (N, layers) of a token, or of one token per prompt."""
        return np.exp(self._of(token_id))

    def rank(self, token_id: int | Sequence[int]) -> np.ndarray:
        """How many tokens (N, layers) are more probable than a token, or than one per prompt; 0 is the top."""
        return rank_among(self.log_probs, self._of(token_id))

    def top_tokens(self, k: int = 1) -> np.ndarray:
        """The ids (N, layers, k) of the k most probable tokens, the most probable first."""
        return np.argsort(-self.log_probs, axis=-1, kind="stable")[..., :k]

    def _of(self, token_id: int | Sequence[int]) -> np.ndarray:
        count, _, vocab_size = self.log_probs.shape
        tokens = np.asarray(token_id)
        if tokens.ndim and tokens.shape != (count,):
            raise ValueError(f"{tokens.size} tokens for {count} prompts; give one token, or one per prompt")
        if tokens.min() < 0 or tokens.max() >= vocab_size:
            raise ValueError(f"token id {token_id} is outside the vocabulary, 0 to {vocab_size - 1}")
        picked: np.ndarray = self.log_probs[np.arange(count), :, np.broadcast_to(tokens, count)]
        return picked


def logit_lens(
    subject: Subject,
    prompts: Sequence[Prompt],
    layers: Sequence[int] | None = None,
    position: int | Sequence[int] | str = "last",
) -> LensResult:
    """Read each prompt's next token from the residual stream after each layer, by the model's own tail.

    Args:
        subject: the model.
        prompts: N texts or token id sequences, of any lengths.
        layers: the layers after which to read; all of them by default. Negative ones count from the last.
        position: "last", one position for all prompts, or one per prompt.

    Raises:
        ValueError: no prompts, no layers, or "mean": a mean of residual streams is the state of no token.
        IndexError: a layer or position that does not exist.

    Example:
        >>> from lazarus_probe import logit_lens
        >>> lens = logit_lens(subject, ["7*8=", "6*9="])
        >>> lens.top_tokens().shape  # (prompts, layers, k)
        (2, 8, 1)
        >>> subject.decode(lens.top_tokens()[0, -1])
        '56'
    """
    resid, read_layers = resid_after(subject, prompts, layers, position)
    count, depth, *width = resid.shape
    log_probs = read_states(subject, resid.reshape(count * depth, *width)).reshape(count, depth, -1)
    return LensResult(log_probs, read_layers)


def resid_after(
    subject: Subject,
    prompts: Sequence[Prompt],
    layers: Sequence[int] | None,
    position: int | Sequence[int] | str,
) -> tuple[np.ndarray, tuple[int, ...]]:
    """What a lens reads: residual streams (N, layers, D) at a position, and the layers, counted from 0.

    Arguments and errors are those of `logit_lens`.
    """
    if position == "mean":
        raise ValueError("the lens reads one position; give 'last', a position, or one position per prompt")
    requested = range(subject.num_layers) if layers is None else layers
    sites = [resolve(resid_post(layer), subject.anatomy) for layer in requested]
    if not sites:
        raise ValueError("no layers to read; leave `layers` out for all of them")
    activations = collect(subject, prompts, sites, at=position)  # type: ignore[arg-type]
    return np.stack([activations[site] for site in sites], axis=1), tuple(site.layer or 0 for site in sites)


def read_states(subject: Subject, states: np.ndarray) -> np.ndarray:
    """Log probabilities (rows, V) of states (rows, D) of the residual stream, or (rows, N, D) where there are N.

    Raises:
        UnsupportedArchitecture: the model's tail reads more than the residual stream.
        NotFinite: a state is not finite, or what the tail makes of it.
    """
    return tail_log_probs(subject, mx.array(states).astype(getattr(mx, subject.dtype)))


def tail_log_probs(subject: Subject, resid: mx.array, normalize: bool = True) -> NDArray[np.float32]:
    """Log probabilities (rows, V) that the model's own tail gives residual streams (rows, ..., D) in its own type.

    Without `normalize` the final norm is passed over.

    Raises:
        UnsupportedArchitecture: the model's tail reads more than the residual stream.
        ValueError: no `normalize`, and no norm was found after the layers.
        NotFinite: a state is not finite, or what the tail makes of it.
    """
    rows = max(1, LOGITS_PER_BATCH // subject.anatomy.vocab_size)
    parts = []
    for start in range(0, len(resid), rows):
        logits = read_out(subject, resid[start : start + rows, None], normalize)[:, 0].astype(mx.float32)
        largest = np.array(logits.max(axis=-1))
        if not np.isfinite(largest).all():
            refuse_state(subject, resid, start + int(np.argmin(np.isfinite(largest))))
        parts.append(np.array(log_softmax(logits)))
    return np.concatenate(parts)
