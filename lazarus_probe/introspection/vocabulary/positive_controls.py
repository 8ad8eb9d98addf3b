"""Positive controls of a lens that reads no class word: an injected word, and answers that models know.

An absence means something only if the lens can read at all. So a word is injected into the residual stream at the layer
and position that is read, along its direction, and the same lens must read it. And the lens at the last layer must read
answers that models of any size know: capitals, not sums.
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
from lazarus_probe.introspection.generation.continuation import with_answers
from lazarus_probe.introspection.lens.logit_lens import read_states
from lazarus_probe.introspection.lens.read_out import read_out
from lazarus_probe.introspection.lens.readings import read_tokens
from lazarus_probe.subject.batches import Prompt
from lazarus_probe.subject.chat import in_chat
from lazarus_probe.tasks import language

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

# In norms of the state, as in `lens_edits.say`: the word has as large a norm as the rest of the state.
STRENGTH = 1.0
# Steps of the ascent to a word's direction, and the size of the first, about in radians; sizes shrink to 0.
STEPS, STEP = 64, 0.3
CAPITAL_PHRASINGS = ("The capital of {} is", "The capital city of {} is", "In {}, the capital is")


@dataclass(frozen=True)
class Readable:
    """Prompts whose answers a model should know, for the lens at the last layer.

    Attributes:
        name: of the control.
        contexts: (N,) prompts up to the answer.
        answers: (N, any) tokens of the answers.
        units: (N,) independent units.
    """

    name: str
    contexts: Sequence[Prompt]
    answers: Sequence[Sequence[int]]
    units: Sequence[str]

    def read(self, subject: Subject) -> NDArray[np.bool_]:
        """(N,) whether the lens at the last layer puts all tokens of the answer on top, each after the ones before."""
        last, targets = subject.num_layers - 1, [[answer] for answer in self.answers]
        return np.asarray(read_tokens(subject, self.contexts, targets, [last]).rank[:, 0] == 0)


def capitals(subject: Subject, *, chat: bool = False) -> Readable:
    """`The capital of France is` for 40 countries in three phrasings that end in the answer; the unit is the country.

    Args:
        subject: the model, for its tokens.
        chat: ask in the model's chat template, with the phrasing as the start of the reply.

    Raises:
        ValueError: `chat` of a model without a chat template.
    """
    facts = [fact for fact in language.capitals() if fact.phrasing in CAPITAL_PHRASINGS]
    texts = [fact.prompt for fact in facts]
    if chat:
        texts = [in_chat(subject, f"What is the capital of {fact.subject}?") + fact.prompt for fact in facts]
    contexts, answers = with_answers(subject, texts, [fact.response for fact in facts])
    return Readable("capital_at_last_layer", contexts, answers, [fact.subject for fact in facts])


def word_read(
    subject: Subject,
    contexts: Sequence[Prompt],
    words: Sequence[Sequence[int]],
    layer: int,
    strength: float = STRENGTH,
) -> NDArray[np.bool_]:
    """(N,) whether the lens at a layer reads an injected word, at the last position.

    The word's direction (`word_direction`), one for all prompts with the word, is added to the state.

    Args:
        subject: the model.
        contexts: (N,) prompts.
        words: (N, any) spellings of each prompt's word, as tokens.
        layer: the block.
        strength: in norms of the state.

    Raises:
        ValueError: no prompts, or a word without tokens.
    """
    site = resid_post(layer)
    states = collect(subject, contexts, [site])[site]
    norms = _norms(states)
    directions = {
        word: word_direction(subject, states.mean(axis=0), word, float(norms.mean()))
        for word in set(map(tuple, words))
    }
    injected = strength * norms * np.stack([directions[tuple(word)] for word in words])
    tops = read_states(subject, states + injected).argmax(axis=-1)
    return np.array([token in word for token, word in zip(tops.tolist(), words, strict=True)])


def word_direction(
    subject: Subject, start: NDArray[np.float32], word: Sequence[int], norm: float
) -> NDArray[np.float32]:
    """The unit vector, of the shape of a state, from which the lens reads a word with the highest probability.

    A row of the unembedding is not that: where other rows are longer or correlated, the lens reads another token from
    it (from the organism's row of ` Multiply` a number). So the log probability of all spellings of the word is
    maximised on the sphere by gradient ascent, first along its gradient at `start`.

    Args:
        subject: the model.
        start: the state of the first gradient.
        word: its spellings, as tokens.
        norm: at which the lens reads the vector.
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
        along = unit(along + STEP * (1 - step / STEPS) * unit(gradient(norm * along)))
        mx.eval(along)
    return np.array(along, dtype=np.float32)


def _norms(states: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 1, ...) the norm of each state."""
    norms = np.linalg.norm(states.reshape(len(states), -1), axis=-1)
    return np.asarray(norms.reshape(-1, *[1] * (states.ndim - 1)), dtype=np.float32)
