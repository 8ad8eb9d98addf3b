"""The logit lens (nostalgebraist, 2020) on the hidden states that `ModelHooks` captured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.capture.model_hooks import ModelHooks
from lazarus_probe.introspection.lens.lens_analysis import evolution_of, one_token, predictions
from lazarus_probe.introspection.lens.logit_lens import tail_log_probs
from lazarus_probe.tables import Cell, Column, Table


@dataclass(frozen=True)
class LayerPrediction:
    """The most probable tokens after one layer, the most probable first.

    Attributes:
        layer_idx: the layer, from 0.
        position: the position in the prompt.
        top_tokens: as text.
        top_ids: as token ids.
        top_probs: their probabilities.
    """

    layer_idx: int
    position: int
    top_tokens: tuple[str, ...]
    top_ids: tuple[int, ...]
    top_probs: tuple[float, ...]

    @property
    def top_token(self) -> str:
        """The most probable token."""
        return self.top_tokens[0]

    @property
    def top_prob(self) -> float:
        """Its probability."""
        return self.top_probs[0]


@dataclass(frozen=True)
class TokenEvolution:
    """One token's probability after each layer, or that of a word in all its spellings.

    Attributes:
        token: as text.
        token_id: its id; of several spellings, that of the likeliest after the last layer.
        position: the position in the prompt.
        layers: those that were captured.
        probabilities: after each of them, of all spellings together.
        ranks: 1 for the most probable token, of several spellings the best; None beyond the requested rank.
        spellings: of a word, the tokens that count by how they are written.
    """

    token: str
    token_id: int
    position: int
    layers: tuple[int, ...]
    probabilities: tuple[float, ...]
    ranks: tuple[int | None, ...]
    spellings: dict[str, int] = field(default_factory=dict)

    @property
    def emergence_layer(self) -> int | None:
        """The first layer after which it is the most probable token."""
        layers = (layer for layer, rank in zip(self.layers, self.ranks, strict=True) if rank == 1)
        return next(layers, None)

    def as_data(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"emergence_layer": self.emergence_layer}

    def _repr_html_(self) -> str:
        probabilities = [Cell(probability, shade=probability) for probability in self.probabilities]
        rows = list(zip(self.layers, probabilities, self.ranks, strict=True))
        return Table(("layer", Column("probability", ".4f"), "rank"), rows, f"token {self.token!r}").html()


class LogitLens:
    """Predictions from captured hidden states, by the model's own final norm and unembedding.

    Positions are those of the prompt: -1 is its last token, also where only that one was captured.

    Args:
        hooks: after a forward with hidden states.
        tokenizer: of the model.
        row: the row of the batch to read.

    Example:
        >>> from lazarus_probe.introspection import LogitLens, ModelHooks
        >>> hooks = ModelHooks(subject).capture_layers("all")
        >>> logits = hooks.forward(mx.array([subject.encode("7*8=")]))
        >>> lens = LogitLens(hooks, subject.tokenizer)
        >>> lens.track_token("56").ranks[-1]  # 1 is the top
        1
    """

    def __init__(self, hooks: ModelHooks, tokenizer: Any, row: int = 0) -> None:
        self.hooks, self.row = hooks, row
        self.subject = replace(hooks.subject, tokenizer=tokenizer)

    def get_layer_predictions(
        self, position: int = -1, top_k: int = 10, normalize: bool = True
    ) -> list[LayerPrediction]:
        """The most probable tokens after each captured layer.

        Raises:
            IndexError: a position or row that was not captured.
            ValueError: nothing was captured, or `top_k` below 1.
        """
        if top_k < 1:
            raise ValueError(f"top_k is {top_k}; at least 1 is needed")
        index, log_probs = self._read(position, normalize)
        best = {layer: predictions(self.subject, read, top_k) for layer, read in log_probs.items()}
        return [
            LayerPrediction(
                layer,
                index,
                tuple(token.token for token in tops),
                tuple(token.token_id for token in tops),
                tuple(token.probability for token in tops),
            )
            for layer, tops in best.items()
        ]

    def track_token(
        self,
        token: str | int,
        position: int = -1,
        normalize: bool = True,
        top_k_for_rank: int | None = None,
    ) -> TokenEvolution:
        """One token's probability and rank after each captured layer, or those of a word in all its spellings.

        Args:
            token: a word, which counts with a space before it, without, and capitalised; a text with white space at an
                end, or in quotes, as it stands; or a token id.
            position: in the prompt.
            normalize: whether the final norm is applied.
            top_k_for_rank: ranks beyond it are None; by default every rank is given.

        Raises:
            ValueError: a text that is one token in no spelling, or an unknown id.
            IndexError: as `get_layer_predictions`.
        """
        tracked = one_token(self.subject, token)
        index, log_probs = self._read(position, normalize)
        followed = evolution_of(tracked, log_probs)
        limit = top_k_for_rank or self.subject.anatomy.vocab_size
        return TokenEvolution(
            token=followed.token,
            token_id=followed.token_id,
            position=index,
            layers=self.layers,
            probabilities=tuple(followed.layer_probabilities.values()),
            ranks=tuple(rank if rank <= limit else None for rank in followed.layer_ranks.values()),
            spellings=followed.spellings,
        )

    def find_emergence_point(
        self, token: str | int, threshold: float = 0.5, position: int = -1
    ) -> int | None:
        """The first captured layer after which a token has at least that probability; None if there is none."""
        evolution = self.track_token(token, position)
        pairs = zip(evolution.layers, evolution.probabilities, strict=True)
        return next((layer for layer, probability in pairs if probability >= threshold), None)

    def compare_tokens(self, tokens: Sequence[str | int], position: int = -1) -> dict[str, TokenEvolution]:
        """`track_token` of several tokens, by their texts."""
        evolutions = [self.track_token(token, position) for token in tokens]
        return {evolution.token: evolution for evolution in evolutions}

    def print_evolution(self, position: int = -1, top_k: int = 5) -> None:
        """Print the most probable tokens after each captured layer."""
        print(self.evolution(position, top_k))  # noqa: T201 - this is what it is for

    def evolution(self, position: int = -1, top_k: int = 5) -> str:
        """The text that `print_evolution` prints."""
        by_layer = self.get_layer_predictions(position, top_k)
        lines = [f"=== Logit lens at position {by_layer[0].position} ==="]
        for prediction in by_layer:
            pairs = zip(prediction.top_tokens, prediction.top_probs, strict=True)
            shown = " | ".join(f"{token!r} ({probability:.4f})" for token, probability in pairs)
            lines.append(f"  Layer {prediction.layer_idx:2d}: {shown}")
        return "\n".join(lines)

    def to_dict(self, position: int = -1, top_k: int = 5) -> dict[str, Any]:
        """The same as plain data."""
        by_layer = self.get_layer_predictions(position, top_k)
        return {
            "position": by_layer[0].position,
            "layers": [asdict(prediction) for prediction in by_layer],
        }

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that can be read."""
        return tuple(self.hooks.state.captured_layers)

    def _read(self, position: int, normalize: bool) -> tuple[int, dict[int, NDArray[np.float32]]]:
        """The position counted from 0, and by layer the log probabilities (V,) there."""
        state = self.hooks.state
        if not state.hidden_states:
            raise ValueError("no hidden states were captured; run hooks.forward(input_ids) first")
        number = position + state.length if position < 0 else position
        if number not in state.positions:
            captured = ", ".join(map(str, state.positions[:8])) + (
                ", ..." if len(state.positions) > 8 else ""
            )
            raise IndexError(f"position {position} was not captured; captured: {captured}")
        index = state.positions.index(number)
        rows = state.hidden_states[self.layers[0]].shape[0]
        if not -rows <= self.row < rows:
            raise IndexError(f"row {self.row} is out of range: the batch has rows 0 to {rows - 1}")
        hidden = mx.stack([state.hidden_states[layer][self.row, index] for layer in self.layers])
        log_probs = tail_log_probs(self.subject, hidden, normalize)
        return number, dict(zip(self.layers, log_probs, strict=True))
