"""Positive controls of a lens that says no class word: a word put there by hand, and answers that models have.

An absence is worth what the instrument can find. A word is put into the residual stream at the very layer and position
that is read, along the direction that its unembedding gives it, and the same lens must read it. And the lens at the
last layer must read answers that models of any size have: capitals, not sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.generation.continuation import before_answers
from lazarus_probe.introspection.lens.logit_lens import logit_lens, read_states
from lazarus_probe.introspection.lens.read_out import read_out
from lazarus_probe.subject.batches import Prompt
from lazarus_probe.subject.chat import in_chat
from lazarus_probe.tasks import language

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

# In lengths of the state, as `lens_edits.say` puts a token in: the word weighs as much there as all else together.
STRENGTH = 1.0
# Of the ascent to a word's direction, and the first of its steps, which shrink to 0: radians, nearly, on the sphere.
STEPS, STEP = 64, 0.3
CAPITAL_PHRASINGS = ("The capital of {} is", "The capital city of {} is", "In {}, the capital is")


@dataclass(frozen=True)
class Readable:
    """Prompts whose answers a model may be expected to have, for the lens to read at the last layer.

    Attributes:
        name: of the control.
        contexts: (N,) prompts up to where the answer begins.
        firsts: (N,) the token that it begins with.
        units: (N,) the independent unit of each.
    """

    name: str
    contexts: Sequence[Prompt]
    firsts: Sequence[int]
    units: Sequence[str]

    def read(self, subject: Subject) -> NDArray[np.bool_]:
        """(N,) whether the lens puts the answer's first token on top at the last layer."""
        tops = logit_lens(subject, self.contexts, [subject.num_layers - 1]).top_tokens()[:, 0, 0]
        return np.asarray(tops == np.asarray(self.firsts))


def capitals(subject: Subject, *, chat: bool = False) -> Readable:
    """`The capital of France is` for 40 countries in three phrasings that the answer ends; the unit is the country.

    Args:
        subject: the model, for its tokens.
        chat: whether they are asked through the model's chat template, and the answer begun in the model's place.

    Raises:
        ValueError: `chat` of a model without a chat template.
    """
    facts = [fact for fact in language.capitals() if fact.phrasing in CAPITAL_PHRASINGS]
    texts = [fact.prompt for fact in facts]
    if chat:
        texts = [in_chat(subject, f"What is the capital of {fact.subject}?") + fact.prompt for fact in facts]
    contexts, firsts = before_answers(subject, texts, [fact.response for fact in facts])
    return Readable("capital_at_last_layer", contexts, firsts, [fact.subject for fact in facts])


def word_read(
    subject: Subject,
    contexts: Sequence[Prompt],
    words: Sequence[Sequence[int]],
    layer: int,
    strength: float = STRENGTH,
) -> NDArray[np.bool_]:
    """(N,) whether the lens at a layer says a word that was put there, at the last position.

    What is put there is the word's direction (`word_direction`), one for all prompts that have the word, `strength`
    times as long as the state that it is added to.

    Args:
        subject: the model.
        contexts: (N,) prompts.
        words: (N, any) the tokens that are spellings of each prompt's word.
        layer: where, after the block.
        strength: in lengths of the state.

    Raises:
        ValueError: no prompts, or a word without tokens.
    """
    site = resid_post(layer)
    states = collect(subject, contexts, [site])[site]
    size = float(_lengths(states).mean())
    along = {
        word: word_direction(subject, states.mean(axis=0), word, size) for word in set(map(tuple, words))
    }
    put_in = np.stack([along[tuple(word)] for word in words])
    tops = read_states(subject, states + strength * _lengths(states) * put_in).argmax(axis=-1)
    return np.array([token in word for token, word in zip(tops.tolist(), words, strict=True)])


def word_direction(
    subject: Subject, start: NDArray[np.float32], word: Sequence[int], size: float
) -> NDArray[np.float32]:
    """The unit vector, of the shape of a state, from which alone the lens reads a word best.

    A row of the unembedding is not that: where rows are longer or lie together, the lens reads another token from it
    (from the organism's row of ` Multiply` a number). So the log probability of all spellings of the word is climbed on
    the sphere, first along its gradient at `start`: the word's rows less the mean row, as the final norm lets them
    through.

    Args:
        subject: the model.
        start: the state at which the first gradient is taken.
        word: the tokens that are its spellings.
        size: the length at which the lens reads the vector.
    """
    tokens, dtype = mx.array(list(word)), getattr(mx, subject.dtype)

    def log_probability(state: mx.array) -> mx.array:
        logits = read_out(subject, state[None, None].astype(dtype))[0, 0].astype(mx.float32)
        return mx.logsumexp(logits[tokens]) - mx.logsumexp(logits)

    def unit(vector: mx.array) -> mx.array:
        return vector / mx.maximum(mx.sqrt((vector * vector).sum()), 1e-20)

    gradient = mx.grad(log_probability)
    along = unit(gradient(mx.array(start)))
    for step in range(STEPS):
        along = unit(along + STEP * (1 - step / STEPS) * unit(gradient(size * along)))
        mx.eval(along)
    return np.array(along, dtype=np.float32)


def _lengths(states: NDArray[np.float32]) -> NDArray[np.float32]:
    """The length of each of N states, of a shape that divides them."""
    lengths = np.linalg.norm(states.reshape(len(states), -1), axis=-1)
    return np.asarray(lengths.reshape(-1, *[1] * (states.ndim - 1)), dtype=np.float32)
