"""The neurons of the last block: what they write, what the unembedding reads of it, and what they do to the entropy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.anatomy.plain_weights import plain_weight
from lazarus_probe.hooks.interventions import patch
from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.hooks.replay import replay, require_free_tail
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import hooked
from lazarus_probe.introspection.attribution.frozen_norm import final_norm, frozen_norm, relative_error
from lazarus_probe.introspection.lens.logit_lens import read_states
from lazarus_probe.subject.batches import by_length, encode_all
from lazarus_probe.subject.last_position import finite_last_logits
from lazarus_probe.taps import Tap, tapped

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
SHARE, FEWEST = 0.004, 2  # of the neurons; six of the 1,536 of a model of 576 dimensions
NEAREST = 20  # neurons of nearly one norm
AT_ONCE = 64  # rows of logits
ADDED = 1e-3  # relative, of what halved activations add: rounding of the stream, which is longer
TOLERANCE = (
    1e-2  # of the largest logit, between the model's logits and those through the norm as a linear map
)


@dataclass(frozen=True, eq=False)
class LastNeurons:
    """What the neurons of the last block write, and what the unembedding reads of it.

    Attributes:
        norms: (F,) of what each writes.
        spreads: (F,) standard deviation over the vocabulary of the logits that a unit of it makes.
    """

    norms: Floats
    spreads: Floats

    def chosen(self) -> Ints:
        """The neurons that write most for what the unembedding reads of it."""
        count = max(FEWEST, round(SHARE * len(self.norms)))
        smallest = self.spreads[self.norms > 0].max() * 1e-12
        ratio = self.norms / np.maximum(self.spreads, smallest)
        return np.argsort(-ratio, kind="stable")[:count]

    def of_equal_norm(self, chosen: Ints, rng: np.random.Generator) -> Ints:
        """As many other neurons, each drawn from those whose norms are nearest to that of one chosen."""
        left = np.setdiff1d(np.flatnonzero(self.norms > 0), chosen)
        drawn: list[int] = []
        for neuron in chosen:
            pool = np.setdiff1d(left, drawn)
            nearest = pool[np.argsort(np.abs(self.norms[pool] - self.norms[neuron]), kind="stable")]
            drawn.append(int(rng.choice(nearest[:NEAREST])))
        return np.array(drawn)


class LastBlock:
    """A model on prompts: activations of its last neurons, and what the final norm does to the last stream.

    Raises:
        UnsupportedArchitecture: the last block has no neurons of one MLP, or the final norm is no linear map with its
            scale held.
    """

    def __init__(self, subject: Subject, prompts: Sequence[str]) -> None:
        require_free_tail(subject)
        last = subject.num_layers - 1
        if "neurons" not in kinds_at(subject.anatomy, last):
            raise UnsupportedArchitecture(f"block {last} of {subject.name} has no neurons of one MLP")
        self.subject, self.site, self.end = subject, Site("neurons", last), Site("resid_post", last)
        self.encoded = [list(ids) for ids in encode_all(subject, prompts)]
        plain, self.ends, self.activations = self._ran()
        self.entropies = entropy(plain)
        self.norm = final_norm(subject, mx.array(self.encoded[0])[None])
        frozen = frozen_norm(self.norm, self.ends, getattr(mx, subject.dtype), TOLERANCE)
        if frozen is None:
            raise UnsupportedArchitecture(
                f"the final norm of {subject.name} is no linear map with its scale held"
            )
        self.frozen = frozen
        if relative_error(self._unembedded(frozen.of(self.ends) + frozen.bias), plain) > TOLERANCE:
            raise UnsupportedArchitecture(
                f"logits of {subject.name} are not those of its last residual alone"
            )
        down = np.array(plain_weight(subject.anatomy.part("down_proj", last)).astype(mx.float32))
        self.down: Floats = down.astype(np.float64)
        self.neurons = self._written()
        self.adds = self._adds()

    def moved(self, neurons: Ints) -> tuple[Floats, Floats]:
        """(P,) how far the entropy moves without some neurons: with the norm as it is, and with its scale held."""
        values = self.activations.copy()
        values[:, neurons] = values[:, neurons].mean(axis=0)
        if self.adds:
            ends = self.ends + (values - self.activations) @ self.down.T
            logits = read_states(self.subject, ends.astype(np.float32)).astype(np.float64)
        else:
            logits, ends, _ = self._ran(values)
        held = self._unembedded(self.frozen.of(ends) + self.frozen.bias)
        return np.abs(entropy(logits) - self.entropies), np.abs(entropy(held) - self.entropies)

    def _adds(self) -> bool:
        """Whether what the neurons write is added to the last stream as it is, tried on the first prompt.

        Then no prompt is run again for other activations. Some blocks norm what their MLP returns.
        """
        values = self.activations[:1] / 2
        (_, ends, _), added = self._ran(values), (values - self.activations[:1]) @ self.down.T
        return relative_error(ends - self.ends[:1], added) <= ADDED

    def _ran(self, values: NDArray[Any] | None = None) -> tuple[Floats, Floats, NDArray[np.float32]]:
        """At the last token of P prompts logits (P, V), the last stream (P, D) and the activations (P, F).

        With `values` (P, F) the activations of as many prompts, the first ones, are those.
        """
        runs: list[tuple[list[int], list[NDArray[Any]]]] = []
        encoded = self.encoded if values is None else self.encoded[: len(values)]
        for rows, tokens in by_length(encoded):
            edits = () if values is None else [patch(self.site, mx.array(values[rows])[:, None], "last")]
            with hooked(self.subject, [self.site, self.end], edits, "last") as captured:
                own = finite_last_logits(self.subject, tokens)
            arrays = [own, captured[self.end][:, 0], captured[self.site][:, 0]]
            runs.append((rows, [np.array(array.astype(mx.float32)) for array in arrays]))
        order = np.argsort(np.concatenate([rows for rows, _ in runs]))
        logits, ends, activations = (
            np.concatenate([run[part] for _, run in runs])[order] for part in range(3)
        )
        return logits.astype(np.float64), ends.astype(np.float64), activations

    def _unembedded(self, normed: Floats) -> Floats:
        """Logits (N, V) of rows (N, D) in place of what the final norm returns."""
        dtype, logits = getattr(mx, self.subject.dtype), []
        for start in range(0, len(normed), AT_ONCE):
            rows = mx.array(normed[start : start + AT_ONCE].astype(np.float32)).astype(dtype)[:, None]
            with tapped([Tap(self.norm, after=partial(_instead, rows))]):
                logits.append(np.array(replay(self.subject, mx.ones_like(rows))[:, 0].astype(mx.float32)))
        return np.concatenate(logits).astype(np.float64)

    def _written(self) -> LastNeurons:
        """Norms of the columns of the down projection (D, F), and spreads of the logits of a unit of each."""
        down = self.down
        norms = np.linalg.norm(down, axis=0)
        units = np.divide(down, norms, out=np.zeros_like(down), where=norms > 0).T
        factors = self.frozen.weight.mean(axis=0)  # the scale is one for all, and does not count
        units = (units - units.mean(axis=1, keepdims=True) if self.frozen.centred else units) * factors
        nothing = self._unembedded(np.zeros((1, len(down))))
        starts = range(0, len(units), AT_ONCE)
        spreads = [
            (self._unembedded(units[start : start + AT_ONCE]) - nothing).std(axis=1) for start in starts
        ]
        return LastNeurons(norms, np.concatenate(spreads))


def _instead(rows: mx.array, _: mx.array) -> mx.array:
    return rows


def entropy(logits: Floats) -> Floats:
    """(N,) in nats, of logits, or log probabilities, (N, V)."""
    from scipy.special import log_softmax

    log_p = log_softmax(logits, axis=-1)
    return np.asarray(-(np.exp(log_p) * log_p).sum(axis=-1))
