"""Interchange interventions on an aligned subspace: is there one that carries a variable, on pairs not trained on?

Distributed alignment search (Geiger et al. 2023, arXiv:2303.02536). A search among all rotations finds something in any
model, so its accuracy on held-out pairs is compared with that of the same search on a relabelled causal model, in which
sources have each other's answers; with a random subspace as large; with the whole state; and with the same search in
untrained models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.hooks.interventions import Intervention
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.generation.damage import Unrelated, damage, unrelated_prompts
from lazarus_probe.introspection.patching.alignment import AlignedSubspace
from lazarus_probe.introspection.patching.encoded_pairs import EncodedPair, encode_pairs, tokens_of
from lazarus_probe.introspection.patching.prompt_pairs import PromptPair
from lazarus_probe.introspection.patching.rotations import (
    STEPS,
    Interchange,
    fitted_basis,
    interchange,
    random_basis,
)
from lazarus_probe.introspection.patching.windows import windows_with
from lazarus_probe.statistics.folds import halves_of_units
from lazarus_probe.statistics.measurement import Damage
from lazarus_probe.statistics.model_spread import FEWEST
from lazarus_probe.subject.control_models import FIRST_SEED

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True, eq=False)
class _Search:
    """Pairs with the answers that are wanted of them, and which of them are trained on and which held out."""

    pairs: Sequence[EncodedPair]
    options: tuple[int, ...]
    wanted: NDArray[np.intp]
    relabelled: NDArray[np.intp]
    training: NDArray[np.intp]
    testing: NDArray[np.intp]
    size: int
    position: int
    steps: int
    seed: int

    def run(self, subject: Subject, layer: int, rows: NDArray[np.intp]) -> Interchange:
        """The interchanges of some pairs at a layer."""
        some = [self.pairs[row] for row in rows]
        sources, targets = [pair.source.ids for pair in some], [pair.target.ids for pair in some]
        return interchange(subject, sources, targets, self.options, layer, self.position)

    def fitted(self, train: Interchange, labels: NDArray[np.intp]) -> NDArray[np.float64]:
        """The basis found for some labels (N,) on the pairs that are trained on."""
        rng = np.random.default_rng((self.seed, train.layer))
        return fitted_basis(train, labels[self.training], self.size, rng, self.steps)

    def hits(
        self, test: Interchange, basis: NDArray[Any] | None, labels: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """(H,) whether the likeliest option of held-out pairs is the one that labels (N,) say."""
        return np.asarray(test.scores(basis).argmax(axis=-1) == labels[self.testing], dtype=np.float64)


def aligned_subspace(
    subject: Subject,
    pairs: Sequence[PromptPair],
    *,
    layers: Sequence[int] | None = None,
    size: int = 1,
    position: int = -1,
    steps: int = STEPS,
    untrained: int = 3,
    unrelated: Unrelated | None = None,
    seed: int = 0,
) -> AlignedSubspace:
    """Search at each layer the subspace whose interchange gives the answers that a causal model says.

    Half of the units of pairs train a rotation, the other half tests it.

    Args:
        subject: the model.
        pairs: N of equal token length. `source_answer` is what the target should be followed by once the variable has
            the value that it has in the source, one token; by default what follows the source. `target_answer` is what
            follows the target as it is. Both may be one: where the variable has one value in both prompts.
        layers: after which states are interchanged; by default all.
        size: dimensions of the subspace.
        position: of the states in both prompts, from the start or, if negative, from the end.
        steps: of the search.
        untrained: models in which the same search is made, at least 3; 0 for none.
        unrelated: prompts for the damage; by default those of all language tasks, none without a tokenizer.
        seed: of halves, first bases and relabelling.

    Raises:
        UnsupportedArchitecture: a model that cannot be run from a block on, or whose residual stream is several.
        ValueError: a size or steps below 1 or above the width, fewer than four units, one answer alone, or as
            `tokens_of`. IndexError: a position that a prompt does not have. NotFinite: states are not finite.

    Example:
        >>> from lazarus_probe.introspection import PromptPair, aligned_subspace
        >>> products = [f"{a}*{b}=" for a, b in zip((3, 5, 7, 9, 4, 8, 6, 2), (4, 6, 8, 3, 7, 9, 5, 9))]
        >>> pairs = [PromptPair(*two) for two in zip(products, products[1:] + products[:1])]
        >>> result = aligned_subspace(subject, pairs, layers=[6], size=2, untrained=0, steps=5)
        >>> result.bases.shape, bool(np.allclose(result.bases[0].T @ result.bases[0], np.eye(2)))
        ((1, 128, 2), True)
    """
    anatomy = subject.anatomy
    if not anatomy.skippable or anatomy.stream_axis is not None:
        raise UnsupportedArchitecture(f"{subject.name} cannot be run from a block on; another model can")
    for name, value, most in (("size", size, anatomy.hidden_size), ("steps", steps, None)):
        if value < 1 or (most is not None and value > most):
            raise ValueError(f"{name} is {value}; give at least 1{f' and at most {most}' if most else ''}")
    if untrained and untrained < FEWEST:
        raise ValueError(
            f"untrained is {untrained}; give at least {FEWEST} for their spread to be known, or 0"
        )
    chosen = [layer for (layer,) in windows_with(subject, "resid_post", layers, 1)]
    encoded = encode_pairs(subject, pairs)
    tokens = tokens_of(subject, encoded, same_answers=True)
    options = tuple(sorted({*tokens.answers, *tokens.others}))
    if len(options) < 2:
        raise ValueError(f"all answers are {subject.decode(options)!r}; give pairs with different answers")
    units = np.array([pair.group or f"pair {number}" for number, pair in enumerate(pairs)])
    training, testing = halves_of_units(units, np.random.default_rng(seed))
    wanted = np.array([options.index(token) for token in tokens.answers])
    search = _Search(
        encoded,
        options,
        wanted,
        _relabelled(encoded, wanted, seed),
        training,
        testing,
        size,
        position,
        steps,
        seed,
    )
    bases, rows = [], []
    for layer in chosen:
        train, test = (search.run(subject, layer, half) for half in (training, testing))
        basis, other = (search.fitted(train, labels) for labels in (wanted, search.relabelled))
        drawn = random_basis(anatomy.hidden_size, size, np.random.default_rng((seed, layer, 1)))
        hits = [search.hits(test, space, wanted) for space in (basis, drawn, None, np.zeros_like(basis))]
        trained = float((train.scores(basis).argmax(axis=-1) == wanted[training]).mean())
        rows.append((hits, search.hits(test, other, search.relabelled), trained))
        bases.append(basis)
    twins = [_held_out(subject.untrained(FIRST_SEED + number), search, chosen) for number in range(untrained)]
    held_out, random, whole, plain = (np.stack([hits[i] for hits, _, _ in rows]) for i in range(4))
    best = int(held_out.mean(axis=1).argmax())
    return AlignedSubspace(
        tuple(chosen),
        np.stack(bases),
        held_out,
        np.stack([hits for _, hits, _ in rows]),
        random,
        whole,
        plain[0],
        np.array([trained for _, _, trained in rows]),
        np.array(twins).reshape(untrained, len(chosen)),
        len(options),
        tuple(units[testing].tolist()),
        _damage(subject, search, chosen[best], bases[best], unrelated),
        position,
        seed,
    )


def _held_out(subject: Subject, search: _Search, layers: Sequence[int]) -> list[float]:
    """The held-out share of the same search in another model, by layer."""
    shares = []
    for layer in layers:
        train, test = (search.run(subject, layer, half) for half in (search.training, search.testing))
        shares.append(float(search.hits(test, search.fitted(train, search.wanted), search.wanted).mean()))
    return shares


def _relabelled(pairs: Sequence[EncodedPair], wanted: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    """(N,) the answers of another causal model: sources have each other's, and pairs of one source have one."""
    by_source = {pair.source.ids: label for pair, label in zip(pairs, wanted.tolist(), strict=True)}
    shuffled = np.random.default_rng((seed, len(by_source))).permutation(list(by_source.values()))
    answers = dict(zip(by_source, shuffled.tolist(), strict=True))
    return np.array([answers[pair.source.ids] for pair in pairs])


def _damage(
    subject: Subject, search: _Search, layer: int, basis: NDArray[np.float64], unrelated: Unrelated | None
) -> Damage | None:
    """What sources' states in the subspace do to unrelated prompts, which get one each, in turn, at the last token."""
    if unrelated is None and subject.tokenizer is None:
        return None
    test = search.run(subject, layer, search.testing)
    states = mx.concatenate(
        [
            own[:, search.position].astype(mx.float32) + moves
            for own, moves in zip(test.own, test.moves, strict=True)
        ]
    )
    turned = mx.array(basis.astype(np.float32))

    def edits(rows: Sequence[int], _length: int) -> list[Intervention]:
        donors = states[mx.array(np.asarray(rows) % len(states))][:, None]

        def put(own: mx.array) -> mx.array:
            moved = ((donors - own.astype(mx.float32)) @ turned) @ turned.T
            return (own.astype(mx.float32) + moved).astype(own.dtype)

        return [Intervention(Site("resid_post", layer), put, "last", "interchange")]

    return damage(subject, edits, unrelated_prompts() if unrelated is None else unrelated, seed=search.seed)
