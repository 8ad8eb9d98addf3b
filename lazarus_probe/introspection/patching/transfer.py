"""How often a patch transfers the source's answer, with controls and a sweep over all layers and positions.

The prompts of a pair have equally many tokens, so a position means the same in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.interventions import patch
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.generation.completions import greedy_completions
from lazarus_probe.introspection.generation.damage import Unrelated, damage_of_patch
from lazarus_probe.introspection.patching.activation_patching import PatchEffects, patch_residual
from lazarus_probe.introspection.patching.answers import classify, shown
from lazarus_probe.introspection.patching.encoded_pairs import EncodedPair, encode_pairs
from lazarus_probe.introspection.patching.prompt_pairs import PromptPair
from lazarus_probe.statistics.measurement import Measurement, some_examples
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.batches import by_length
from lazarus_probe.sweep import Donors

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


def patch_pairs(
    subject: Subject,
    pairs: Sequence[EncodedPair],
    layers: Sequence[int],
    positions: Sequence[int],
    *,
    donors: Sequence[int] | None = None,
    max_tokens: int = 4,
) -> PatchEffects:
    """Patch each pair's target with its source at each layer and position.

    Args:
        subject: the model.
        pairs: N pairs.
        layers: blocks whose output is patched.
        positions: of the prompt, negative from its end.
        donors: which pair's source each pair takes its patch from; by default its own. For a control.
        max_tokens: generated at most.

    Raises:
        ValueError: no pairs, or a source and a target with different token lengths.
    """
    sources = pairs if donors is None else [pairs[donor] for donor in donors]
    by_name = {"source": Donors([pair.source.ids for pair in sources])}
    return patch_residual(subject, pairs, layers, positions, by_name, max_tokens=max_tokens)["source"]


def transfer(
    subject: Subject,
    pairs: Sequence[PromptPair],
    layer: int,
    position: int,
    families: Sequence[str],
    *,
    parts: Mapping[str, Sequence[int]] | None = None,
    unrelated: Unrelated | None = None,
    seed: int = 0,
    max_tokens: int = 4,
) -> Measurement:
    """The rate at which one patch transfers the source's answer, with a sweep over all layers and positions.

    Controls: `random_position`, the same layer at another position drawn for each pair; `other_pair`, the same patch
    from another pair's source, which must not give this source's answer; and for each of `parts` the same layer at all
    of its positions at once, as the operands alone may determine the answer.

    Args:
        subject: the model.
        pairs: N pairs whose prompts all have equally many tokens.
        layer: patched, after the block.
        position: patched, from the start.
        families: (N,) the operand family of each pair.
        parts: by control, positions that are patched together, such as those of the operands.
        unrelated: prompts to measure the damage on; by default those of all language tasks.
        seed: of the drawn positions and donors.
        max_tokens: of a completion; a number that the limit cuts off is none.

    Raises:
        ValueError: a part without positions, or with the position that is claimed about.
    """
    parts = {} if parts is None else parts
    for name, part in parts.items():
        if not part or position in part:
            raise ValueError(
                f"part {name!r} is patched at {list(part)}: give other positions than {position}"
            )
    rng, encoded = np.random.default_rng(seed), encode_pairs(subject, pairs)
    tokens = encoded[0].target.ids
    positions = range(_in_common(encoded), len(tokens))
    swept = patch_pairs(subject, encoded, range(subject.num_layers), positions, max_tokens=max_tokens)
    transferred = swept.transferred(layer, position)
    others = rng.choice([other for other in positions if other != position], size=len(pairs))
    donors = np.roll(rng.permutation(len(pairs)), 1).tolist()
    foreign = patch_pairs(subject, encoded, [layer], [position], donors=donors, max_tokens=max_tokens)
    controls = {
        "random_position": np.array([swept.transferred(layer, other)[i] for i, other in enumerate(others)]),
        "other_pair": foreign.transferred(layer, position),
    }
    return rate(
        "rate of full transfer",
        transferred,
        families,
        controls
        | {name: patched_together(subject, encoded, layer, part, max_tokens) for name, part in parts.items()},
        seed=seed,
        details={
            "layer": layer,
            "position": position,
            "effects": swept.counts(layer, position),
        },
        tokens=2 * len(tokens) * len(pairs),
        examples=some_examples(
            [f"{pair.target} (with {pair.source})" for pair in pairs],
            [shown(pair.source_answer) for pair in pairs],
            swept.completions_at(layer, position),
            transferred,
        ),
        grids=(swept.grid([f"{at} {subject.decode([tokens[at]])!r}" for at in positions]),),
        damage=damage_of_patch(
            subject,
            [pair.source.ids for pair in encoded],
            resid_post(layer),
            position - len(tokens),
            unrelated,
            seed,
        ),
    )


def _in_common(pairs: Sequence[EncodedPair]) -> int:
    """How many tokens all prompts begin with, the first at least: patching one of them changes nothing."""
    prompts = [prompt.ids for pair in pairs for prompt in (pair.source, pair.target)]
    differ = (len(set(tokens)) > 1 for tokens in zip(*prompts, strict=False))
    return max(1, next((at for at, other in enumerate(differ) if other), 0))


def patched_together(
    subject: Subject, pairs: Sequence[EncodedPair], layer: int, positions: Sequence[int], max_tokens: int = 4
) -> NDArray[np.bool_]:
    """(N,) whether patching `resid_post` at several positions at once gives the source's answer.

    Args:
        subject: the model.
        pairs: N pairs, each of a source and a target of equal token length.
        layer: patched, after the block.
        positions: patched together, from the start or, negative, from the end.
        max_tokens: generated at most.

    Raises:
        ValueError: no pairs, or a source and a target of different token lengths.
    """
    for pair in pairs:
        lengths = len(pair.source.ids), len(pair.target.ids)
        if lengths[0] != lengths[1]:
            raise ValueError(
                f"a source has {lengths[0]} tokens and its target {lengths[1]}: a position means the same in both"
            )
    site, targets = resid_post(layer), [pair.target.ids for pair in pairs]
    before, after = greedy_completions(subject, targets, max_tokens=max_tokens), [""] * len(pairs)
    for indices, tokens in by_length(targets):
        together = sorted({position % tokens.shape[1] for position in positions})
        states = trace(subject, [pairs[index].source.ids for index in indices], site, positions=together)[
            site
        ]
        edit = patch(site, states, together)
        texts = greedy_completions(subject, [targets[index] for index in indices], [edit], max_tokens)
        for index, text in zip(indices, texts, strict=True):
            after[index] = text
    return np.array(
        [
            classify(first, second, pair.pair) == "full_transfer"
            for first, second, pair in zip(before, after, pairs, strict=True)
        ]
    )
