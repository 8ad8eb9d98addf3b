"""What the logit lens predicts for a prompt, layer by layer and token by token."""

from __future__ import annotations

from dataclasses import dataclass, field

CONFIDENT = 0.3  # normalised entropy below which a layer is called confident
SIGNIFICANT = 0.1  # Jensen-Shannon divergence, in nats, above which a transition is called significant


@dataclass(frozen=True)
class TokenPrediction:
    """A token, its probability, and its rank among all tokens; 1 is the top."""

    token: str
    token_id: int
    probability: float
    rank: int


@dataclass(frozen=True)
class LayerPredictionResult:
    """What the lens predicts after a layer.

    Attributes:
        layer_idx: the layer, from 0.
        predictions: the most probable tokens, the most probable first.
        entropy: of the whole next-token distribution, in nats; None if it was not requested.
        entropy_normalized: entropy over its largest possible value, from 0 to 1.
    """

    layer_idx: int
    predictions: list[TokenPrediction]
    entropy: float | None = None
    entropy_normalized: float | None = None

    @property
    def top_token(self) -> str:
        """The most probable token."""
        return self.predictions[0].token

    @property
    def top_probability(self) -> float:
        """Its probability."""
        return self.predictions[0].probability

    @property
    def is_sharp(self) -> bool:
        """Whether normalised entropy is below 0.3, whatever the token on top."""
        return self.entropy_normalized is not None and self.entropy_normalized < CONFIDENT

    @property
    def is_confident(self) -> bool:
        """Whether normalised entropy is below 0.3, with more than a space or punctuation on top.

        In the middle of a real model the lens puts a space or a full stop on top of most prompts, with a probability
        near 1: that is the frequency of these tokens, and nothing that the model decided about the prompt.
        """
        return self.is_sharp and holds_a_word(self.top_token)


def holds_a_word(token: str) -> bool:
    """Whether a token has a letter or a digit, or is a part of a character, rather than spaces and signs alone."""
    return any(char.isalnum() or char == "\ufffd" for char in token)


@dataclass(frozen=True)
class LayerTransition:
    """How far the lens's distribution moves from one captured layer to the next.

    Attributes:
        from_layer: the earlier.
        to_layer: the later.
        kl_divergence: KL(from || to) in nats.
        js_divergence: Jensen-Shannon divergence in nats, at most log 2.
        top_token_changed: whether another token is on top.
        entropy_delta: entropy after minus before, in nats.
    """

    from_layer: int
    to_layer: int
    kl_divergence: float
    js_divergence: float
    top_token_changed: bool
    entropy_delta: float

    @property
    def is_significant(self) -> bool:
        """Whether the Jensen-Shannon divergence is above 0.1 nats; a threshold, not a test."""
        return self.js_divergence > SIGNIFICANT


@dataclass(frozen=True)
class TokenEvolutionResult:
    """A tracked text's probability and rank, layer by layer.

    Attributes:
        token: the requested text.
        token_id: the token that was followed; of several spellings, the likeliest after the last captured layer.
        layer_probabilities: its probability by captured layer; of several spellings, that of all together.
        layer_ranks: by captured layer, its exact rank among all tokens, of several spellings the best; 1 is the top.
        pieces: the tokens that the text is; the first of them was followed.
        spellings: the tokens that were followed, by how they are written, where the text is a word in any spelling.
    """

    token: str
    token_id: int
    layer_probabilities: dict[int, float]
    layer_ranks: dict[int, int]
    pieces: tuple[str, ...] = ()
    spellings: dict[str, int] = field(default_factory=dict)

    @property
    def spelling(self) -> str | None:
        """The likeliest spelling after the last captured layer, if the text is a word."""
        return next((text for text, token in self.spellings.items() if token == self.token_id), None)

    @property
    def emergence_layer(self) -> int | None:
        """The first captured layer, possibly 0, at which it is the top token; None if it never is."""
        return next((layer for layer, rank in self.layer_ranks.items() if rank == 1), None)

    @property
    def stable_layer(self) -> int | None:
        """The captured layer from which on it is the top token up to the last captured one."""
        stable = None
        for layer, rank in reversed(self.layer_ranks.items()):
            if rank != 1:
                break
            stable = layer
        return stable
