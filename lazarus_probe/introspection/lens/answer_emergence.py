"""At which layer an answer emerges, at the token where the model begins to generate it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

import mlx.core as mx
import numpy as np

from lazarus_probe.hooks.interventions import Intervention
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.hooks.trace import hooked
from lazarus_probe.introspection.generation.answer_onset import Completion, complete, onset
from lazarus_probe.introspection.lens.analyzer import ModelAnalyzer
from lazarus_probe.introspection.lens.lens_analysis import evolution_of, tracked_token
from lazarus_probe.introspection.lens.logit_lens import read_states
from lazarus_probe.introspection.lens.predictions import TokenEvolutionResult


@dataclass(frozen=True)
class AnswerEmergence:
    """Where an answer begins in a completion, and what the lens predicts there.

    Attributes:
        expected: the answer to find.
        generated: the greedy completion.
        generated_tokens: that, in tokens.
        onset: the generated token in which the answer begins, from 0; None if it begins in none.
        in_prefix: whether it begins in what the answer was forced to begin with.
        cut: whether it reaches the end of what was generated, so that it might have gone on.
        evolutions: the probability and rank after every layer of each token of the answer, read where it was chosen.
    """

    expected: str
    generated: str
    generated_tokens: tuple[str, ...]
    onset: int | None
    in_prefix: bool
    cut: bool
    evolutions: tuple[TokenEvolutionResult, ...]

    @property
    def evolution(self) -> TokenEvolutionResult | None:
        """That of the token in which the answer begins."""
        return self.evolutions[0] if self.evolutions else None

    @property
    def whole(self) -> TokenEvolutionResult | None:
        """That of the whole answer: after each layer the product over its tokens, and the worst of their ranks."""
        if not self.evolutions:
            return None
        first = self.evolutions[0]
        return TokenEvolutionResult(
            self.expected,
            first.token_id,
            {
                layer: math.prod(token.layer_probabilities[layer] for token in self.evolutions)
                for layer in first.layer_probabilities
            },
            {
                layer: max(token.layer_ranks[layer] for token in self.evolutions)
                for layer in first.layer_ranks
            },
            tuple(token.token for token in self.evolutions),
        )

    def as_data(self) -> dict[str, Any]:
        """As plain data."""
        data = asdict(self) | {"found": self.onset is not None or self.in_prefix}
        for name, evolution in (("evolution", self.evolution), ("whole", self.whole)):
            data[name] = None
            if evolution is not None:
                data[name] = asdict(evolution) | {
                    "emergence_layer": evolution.emergence_layer,
                    "stable_layer": evolution.stable_layer,
                }
        return data


def answer_emergence(
    analyzer: ModelAnalyzer,
    prompt: str,
    expected: str,
    max_tokens: int = 30,
    interventions: Sequence[Intervention] = (),
    prefix: str = "",
) -> AnswerEmergence:
    """Let the model continue a prompt, find the answer by parsing, and read the lens at each of its tokens.

    Args:
        analyzer: of the model.
        prompt: the text.
        expected: the answer; a number is compared by its value, another text as whole words.
        max_tokens: generated at most.
        interventions: edits that the model runs under throughout.
        prefix: the end of the prompt that is the beginning of the answer.

    Raises:
        ValueError: an empty prompt or answer.
    """
    subject = analyzer.subject
    sites = [resid_post(layer) for layer in range(subject.num_layers)]
    with analyzer.edited(interventions), hooked(subject, sites, positions="last") as captures:
        [completion] = complete(subject, [prompt], ["raw"], [None], max_tokens=max_tokens)
    # Looked for in the whole answer: a number may begin in the prefix and go on after it.
    span = onset(prefix + completion.generated_text, expected)
    covering = _covering(completion, None if span is None else (span[0] - len(prefix), span[1] - len(prefix)))
    evolutions = []
    for at in covering:
        # Every call of the model chose one token: what it saw at call `at` is where that token was chosen.
        resid = [np.array(captures.calls(site)[at].astype(mx.float32))[0, 0] for site in sites]
        tracked = tracked_token(subject, completion.tokens[at].token_id)
        evolutions.append(evolution_of(tracked, dict(enumerate(read_states(subject, np.stack(resid))))))
    return AnswerEmergence(
        expected,
        completion.generated_text,
        tuple(token.token for token in completion.tokens),
        covering[0] if covering else None,
        span is not None and not covering,
        span is not None and span[1] == len(prefix + completion.generated_text) and not completion.ended,
        tuple(evolutions),
    )


def _covering(completion: Completion, characters: tuple[int, int] | None) -> list[int]:
    """The generated tokens that some characters of the generated text are in; none if they begin before it."""
    if characters is None or characters[0] < 0:
        return []
    ends = list(accumulate(len(token.token) for token in completion.tokens))
    first = next((index for index, end in enumerate(ends) if end > characters[0]), len(ends))
    last = next((index for index, end in enumerate(ends) if end >= characters[1]), len(ends) - 1)
    return list(range(first, last + 1))
