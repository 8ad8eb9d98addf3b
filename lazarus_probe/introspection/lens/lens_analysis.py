"""From the distributions that the lens reads for one prompt to its analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.lens.analysis import AnalysisResult
from lazarus_probe.introspection.lens.analysis_config import AnalysisConfig
from lazarus_probe.introspection.lens.divergence import entropy, js_divergence, kl_divergence
from lazarus_probe.introspection.lens.predictions import (
    LayerPredictionResult,
    LayerTransition,
    TokenEvolutionResult,
    TokenPrediction,
)
from lazarus_probe.introspection.lens.residual_contributions import ResidualContribution
from lazarus_probe.introspection.lens.spelled_token import spelled_token
from lazarus_probe.subject.spellings import exact, word_of

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True)
class Tracked:
    """A text to follow: the tokens of its spellings, or else its pieces, the first of which is followed."""

    token: str
    token_ids: tuple[int, ...]
    pieces: tuple[str, ...]
    spellings: Mapping[str, int]


def one_token(subject: Subject, text: str | int) -> Tracked:
    """The tokens to follow for a word, in all its spellings of one token; or a token id.

    A text with white space at an end, or in quotes, is that spelling alone (`subject.spellings`).

    Raises:
        ValueError: a text that is one token in no spelling, or an id that the vocabulary does not have.
    """
    if not isinstance(text, str):
        size = subject.anatomy.vocab_size
        if not 0 <= text < size:
            raise ValueError(f"token id {text} is outside the vocabulary, 0 to {size - 1}")
        name = token_text(subject, [int(text)])
        return Tracked(name, (int(text),), (name,), {})
    word = word_of(subject, text)
    return Tracked(text, tuple(word.ids), (subject.decode(word.ids[:1]),), word.tokens)


def tracked_token(subject: Subject, text: str | int) -> Tracked:
    """As `one_token`; of a text of several tokens in every spelling the first is followed.

    Raises:
        ValueError: the text is empty, the tokenizer cannot spell it, or the vocabulary has no such id.
    """
    try:
        return one_token(subject, text)
    except ValueError:
        if not isinstance(text, str) or not text or subject.tokenizer is None:
            raise
    alone = exact(text) or text
    ids = subject.pieces(alone)
    if len(ids) < 2 or subject.decode(ids).strip() != alone.strip():
        raise ValueError(
            f"{text!r} cannot be followed: the tokenizer of {subject.name} cannot spell it"
        ) from None
    return Tracked(text, tuple(ids[:1]), tuple(subject.decode([token]) for token in ids), {})


def predictions(subject: Subject, log_probs: NDArray[Any], top_k: int) -> list[TokenPrediction]:
    """The most probable tokens of a distribution (V,); of equally probable ones, the lower id first."""
    k = min(top_k, len(log_probs))
    at_least = np.partition(log_probs, len(log_probs) - k)[len(log_probs) - k]
    ids = np.flatnonzero(log_probs >= at_least)
    ids = ids[np.argsort(-log_probs[ids], kind="stable")][:k]
    return [
        TokenPrediction(token_text(subject, [token]), token, float(np.exp(log_probs[token])), rank + 1)
        for rank, token in enumerate(ids.tolist())
    ]


def described(
    subject: Subject,
    prompt: str,
    ids: Sequence[int],
    layers: Sequence[int],
    log_probs: Mapping[int, NDArray[Any]],
    tracked: Sequence[Tracked],
    config: AnalysisConfig,
    contributions: list[ResidualContribution],
) -> AnalysisResult:
    """The analysis of one prompt, from log probabilities (V,) by layer: the requested layers and the last."""
    chosen = {layer: log_probs[layer] for layer in layers}
    return AnalysisResult(
        prompt=prompt,
        tokens=[token_text(subject, [token]) for token in ids],
        num_layers=subject.num_layers,
        captured_layers=list(layers),
        final_prediction=predictions(subject, log_probs[subject.num_layers - 1], config.top_k),
        layer_predictions=[_layer(subject, layer, read, config) for layer, read in chosen.items()],
        layer_transitions=[_transition(*pair, chosen) for pair in pairwise(layers)]
        if config.compute_transitions
        else [],
        token_evolutions=[evolution_of(text, chosen) for text in tracked],
        residual_contributions=contributions,
        model_id=subject.name,
    )


def _layer(
    subject: Subject, layer: int, log_probs: NDArray[Any], config: AnalysisConfig
) -> LayerPredictionResult:
    tops = predictions(subject, log_probs, config.top_k)
    if not config.compute_entropy:
        return LayerPredictionResult(layer, tops)
    spread = entropy(log_probs)
    return LayerPredictionResult(layer, tops, spread, spread / float(np.log(len(log_probs))))


def _transition(before: int, after: int, log_probs: Mapping[int, NDArray[Any]]) -> LayerTransition:
    log_p, log_q = log_probs[before], log_probs[after]
    return LayerTransition(
        before,
        after,
        kl_divergence(log_p, log_q),
        js_divergence(log_p, log_q),
        bool(log_p.argmax() != log_q.argmax()),
        entropy(log_q) - entropy(log_p),
    )


def evolution_of(tracked: Tracked, log_probs: Mapping[int, NDArray[Any]]) -> TokenEvolutionResult:
    """A tracked text's probability and rank in the distributions (V,) of layers."""
    followed = {layer: spelled_token(read, tracked.token_ids) for layer, read in log_probs.items()}
    last = list(followed.values())[-1]
    return TokenEvolutionResult(
        tracked.token,
        tracked.token_ids[int(last.likeliest)],
        {layer: float(read.probability) for layer, read in followed.items()},
        {layer: 1 + int(read.rank) for layer, read in followed.items()},
        tracked.pieces,
        dict(tracked.spellings),
    )


def token_text(subject: Subject, ids: Sequence[int]) -> str:
    """Tokens as text; as their ids where the subject has no tokenizer."""
    if subject.tokenizer is None:
        return " ".join(str(int(token)) for token in ids)
    return subject.decode(ids)
