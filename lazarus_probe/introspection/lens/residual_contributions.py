"""How much attention and the MLP of each block write into the residual stream at a position.

What a part puts out need not be what is added: some models normalise it first, or scale it. So the sum that a block
makes is fitted first (`hooks.additivity`), and a block that makes none is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.additivity import PARTS, Additivity, additivity
from lazarus_probe.hooks.sites import Site

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

FITTED_ON = 12  # positions


@dataclass(frozen=True)
class ResidualContribution:
    """What one block adds to the residual stream at one position; norms in the units of the residual stream.

    Attributes:
        layer_idx: the block.
        attention_norm: of what attention (or the state space or convolution in its place) adds.
        ffn_norm: of what the MLP adds.
        total_norm: of both together: they may point against each other.
        attention_fraction: attention_norm as a share of attention_norm + ffn_norm.
        ffn_fraction: the rest of that.
        resid_norm: of the residual stream that enters the block.
    """

    layer_idx: int
    attention_norm: float
    ffn_norm: float
    total_norm: float
    attention_fraction: float
    ffn_fraction: float
    resid_norm: float


@dataclass(frozen=True, eq=False)
class Decomposition:
    """The sums that the blocks of a model make, and where their terms are read."""

    subject: Subject
    layers: tuple[int, ...]
    sums: tuple[Additivity, ...]

    @property
    def sites(self) -> list[Site]:
        """What `of` needs to be given."""
        chosen = [Site("resid_pre", layer) for layer in self.layers]
        return chosen + [Site(_kind(term), layer) for layer in self.layers for term in self._terms(layer)]

    def of(self, activations: Mapping[Site, NDArray[Any]], row: int) -> list[ResidualContribution]:
        """The contributions at the position that row `row` of the values (N, D) by site was read at."""
        return [self._of_layer(activations, row, layer) for layer in self.layers]

    def _terms(self, layer: int) -> list[str]:
        return [term for term in self.sums[layer].terms if term != "resid_pre"]

    def _of_layer(
        self, activations: Mapping[Site, NDArray[Any]], row: int, layer: int
    ) -> ResidualContribution:
        resid = activations[Site("resid_pre", layer)][row]
        attention, ffn = np.zeros(resid.shape), np.zeros(resid.shape)
        for term in self._terms(layer):
            value = self._added(term, layer, activations[Site(_kind(term), layer)][row])
            if _kind(term) == "mlp_out":
                ffn = ffn + value
            else:
                attention = attention + value
        a, f, both, before = (
            float(np.linalg.norm(vector)) for vector in (attention, ffn, attention + ffn, resid)
        )
        share = a / (a + f) if a + f else 0.0
        return ResidualContribution(layer, a, f, both, share, 1 - share, before)

    def _added(self, term: str, layer: int, value: NDArray[Any]) -> NDArray[Any]:
        """What of a part's output (D,) is added to the stream."""
        if term.startswith("norm("):
            part = next(part for part, kind in PARTS.items() if kind == _kind(term))
            norm = self.subject.anatomy.part(f"{part}_norm", layer)
            value = np.array(norm(mx.array(value)[None, None]).astype(mx.float32))[0, 0]
        return value.astype(np.float64) * self.sums[layer].terms[term]


def decomposition(subject: Subject, layers: Sequence[int]) -> Decomposition:
    """The sums that some blocks make, fitted on a run of a dozen tokens.

    Raises:
        ValueError: a block's output is not the sum of its parts' outputs.
    """
    tokens = (7 * mx.arange(FITTED_ON)[None] + 1) % subject.anatomy.vocab_size
    sums = additivity(subject, tokens)
    for layer in layers:
        if not sums[layer].holds:
            raise ValueError(
                f"what leaves block {layer} of {subject.name} is {sums[layer]}; "
                "leave out the residual decomposition"
            )
    return Decomposition(subject, tuple(layers), tuple(sums))


def _kind(term: str) -> str:
    return term.removeprefix("norm(").removesuffix(")")
