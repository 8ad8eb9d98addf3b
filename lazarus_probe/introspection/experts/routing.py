"""Which experts a mixture chooses, position by position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import trace
from lazarus_probe.subject.batches import Prompt, by_length, encode_all

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Ints = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Routes:
    """The experts chosen at every position of some prompts; a row is a position, prompt after prompt.

    The beginning-of-sequence token is left out: its experts are the same in every prompt.

    Attributes:
        encoded: token ids of each prompt.
        prompts: (R,) the number of the prompt that a row is of.
        positions: (R,) of each row in its prompt, 0 the first after the beginning-of-sequence token.
        tokens: (R,) the token at each row.
        experts: by layer, how many experts it has.
        chosen: by layer, (R, k) the experts chosen, the one with the largest logit first.
    """

    encoded: tuple[tuple[int, ...], ...]
    prompts: Ints
    positions: Ints
    tokens: Ints
    experts: dict[int, int]
    chosen: dict[int, Ints]

    def __len__(self) -> int:
        return len(self.tokens)

    def uses(self, layer: int) -> NDArray[np.bool_]:
        """(R, E) whether each position uses each expert of a layer."""
        used = np.zeros((len(self), self.experts[layer]), bool)
        np.put_along_axis(used, self.chosen[layer], True, axis=1)
        return used


def routed_layers(subject: Subject) -> tuple[int, ...]:
    """The layers that are mixtures of experts with a router that can be read; none in a dense model."""
    layers = range(subject.num_layers)
    return tuple(i for i in layers if {"router_logits", "expert_out"} <= set(kinds_at(subject.anatomy, i)))


def routes(subject: Subject, prompts: Sequence[Prompt], layers: Sequence[int] | None = None) -> Routes:
    """The experts chosen on prompts: those with the k largest router logits.

    Models that add a bias to the logits to choose by (DeepSeek-V3) may choose others of near-equal logits.

    Args:
        subject: a mixture of experts.
        prompts: texts or token ids.
        layers: to read; all that route by default.

    Raises:
        ValueError: no prompts, or no layer that routes.
    """
    routed = tuple(routed_layers(subject) if layers is None else layers)
    if not routed:
        raise ValueError(f"{subject.name} has no layer with experts; give a mixture of experts")
    encoded = encode_all(subject, prompts)
    count = {layer: _chosen_at_once(subject, encoded[0], layer) for layer in routed}
    sites = {layer: Site("router_logits", layer) for layer in routed}
    logits: dict[int, list[Any]] = {layer: [None] * len(encoded) for layer in routed}
    for indices, tokens in by_length(encoded):
        traced = trace(subject, tokens, list(sites.values()))
        for layer, site in sites.items():
            values = np.array(traced[site].astype(mx.float32))
            for index, rows in zip(indices, values, strict=True):
                logits[layer][index] = rows
    return _rows(subject, encoded, logits, count)


def _chosen_at_once(subject: Subject, tokens: Sequence[int], layer: int) -> int:
    """How many experts are chosen at one position."""
    return int(trace(subject, list(tokens[:2]), Site("expert_out", layer))[f"expert_out.{layer}"].shape[2])


def _rows(
    subject: Subject, encoded: list[list[int]], logits: dict[int, list[Any]], count: dict[int, int]
) -> Routes:
    starts = [_start(subject, ids) for ids in encoded]
    lengths = [len(ids) - start for ids, start in zip(encoded, starts, strict=True)]
    by_layer = {
        layer: np.concatenate([rows[start:] for rows, start in zip(of_layer, starts, strict=True)])
        for layer, of_layer in logits.items()
    }
    return Routes(
        tuple(map(tuple, encoded)),
        np.repeat(np.arange(len(encoded)), lengths),
        np.concatenate([np.arange(length) for length in lengths]),
        np.concatenate([ids[start:] for ids, start in zip(encoded, starts, strict=True)]).astype(np.intp),
        {layer: values.shape[-1] for layer, values in by_layer.items()},
        {
            layer: np.argsort(-values, axis=1, kind="stable")[:, : count[layer]]
            for layer, values in by_layer.items()
        },
    )


def _start(subject: Subject, ids: Sequence[int]) -> int:
    bos = getattr(subject.tokenizer, "bos_token_id", None)
    return 1 if bos is not None and len(ids) > 1 and ids[0] == bos else 0
