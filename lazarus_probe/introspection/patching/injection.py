"""Does a state taken where one answer begins make the model give that answer to any other question?

Unlike patching between two prompts of one form, the questions may differ in length and wording: a state is patched in
at the last position of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.interventions import patch
from lazarus_probe.hooks.sites import Site, resid_post
from lazarus_probe.introspection.generation.completions import greedy_completions
from lazarus_probe.introspection.generation.damage import Unrelated, damage_of_patch
from lazarus_probe.statistics.measurement import Measurement, some_examples
from lazarus_probe.statistics.sequential.until_known import Rows, rate_until_known
from lazarus_probe.subject.batches import by_length, encode_all
from lazarus_probe.tasks.arithmetic import is_answer

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


def inject(
    subject: Subject,
    prompts: Sequence[str],
    states: NDArray[np.float32],
    site: Site,
    back: int = 1,
    max_tokens: int = 4,
) -> list[str]:
    """Completions of prompts, each with its state replaced at one position.

    Args:
        subject: the model.
        prompts: N texts.
        states: (N, D) the new states.
        site: that is patched.
        back: the position, from the end: 1 is the last.
        max_tokens: of a completion.

    Raises:
        ValueError: no prompts, a prompt of fewer tokens than `back`, or logits that are not finite.
    """
    encoded = encode_all(subject, prompts)
    shortest = min(map(len, encoded), default=0)
    if shortest < back:
        raise ValueError(f"a prompt has {shortest} tokens: there is no position {back} from its end")
    texts = [""] * len(encoded)
    for indices, tokens in by_length(encoded):
        rows = mx.array(states[indices])[:, None]
        edit = patch(site, rows, positions=tokens.shape[1] - back)
        completions = greedy_completions(subject, [encoded[index] for index in indices], [edit], max_tokens)
        for index, text in zip(indices, completions, strict=True):
            texts[index] = text
    return texts


def injection(
    subject: Subject,
    sources: Sequence[str],
    prompts: Sequence[str],
    answers: Sequence[float],
    units: Sequence[str],
    layer: int,
    seed: int = 0,
    unrelated: Unrelated | None = None,
    max_tokens: int = 4,
    known: Callable[[Measurement], bool] | None = None,
) -> Measurement:
    """How often another question gets the answer of a source whose last state is patched in.

    Controls: `random_state`, a random state of equal norm; `other_position`, the same state one position earlier; and
    `other_state`, whether the state of another source gives this answer.

    Args:
        subject: the model.
        sources: N questions that it answers.
        prompts: N other questions.
        answers: (N,) of the sources.
        units: (N,) the independent unit of each.
        layer: where states are taken and patched in, after the block.
        seed: of random states and the intervals.
        unrelated: prompts to measure the damage on; by default those of all language tasks.
        max_tokens: of a completion; a number that the limit cuts off is none.
        known: `evidence.known`; questions are then asked only until the claim is decided, as by `rate_until_known`.

    Raises:
        ValueError: as `inject`.
    """
    site, rng = resid_post(layer), np.random.default_rng(seed)
    states = collect(subject, sources, [site])[site].astype(np.float32)
    random = rng.normal(size=states.shape)
    random *= np.linalg.norm(states, axis=-1, keepdims=True) / np.linalg.norm(random, axis=-1, keepdims=True)
    order = rng.permutation(len(states))
    foreign = np.empty_like(states)
    foreign[order] = states[np.roll(order, 1)]
    completions: dict[int, str] = {}

    def patched(new: NDArray[Any], rows: Rows, back: int = 1) -> list[str]:
        texts = [prompts[row] for row in rows]
        return inject(subject, texts, new[rows].astype(np.float32), site, back, max_tokens)

    def right(texts: Sequence[str], rows: Rows) -> NDArray[np.float64]:
        return np.array([float(is_answer(text, answers[row])) for text, row in zip(texts, rows, strict=True)])

    def measure(rows: Rows) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
        texts = patched(states, rows)
        completions.update(zip(rows.tolist(), texts, strict=True))
        return right(texts, rows), {
            "random_state": right(patched(random, rows), rows),
            "other_position": right(patched(states, rows, 2), rows),
            "other_state": right(patched(foreign, rows), rows),
        }

    def describe(rows: Rows) -> dict[str, Any]:
        after = [completions[row] for row in rows.tolist()]
        return {
            "tokens": sum(
                len(ids)
                for of in (sources, prompts)
                for ids in encode_all(subject, [of[row] for row in rows])
            ),
            "examples": some_examples(
                [f"{prompts[row]} (with {sources[row]})" for row in rows],
                [f"{answers[row]:g}" for row in rows],
                after,
                right(after, rows) > 0,
            ),
        }

    return rate_until_known(
        "rate of the answer put in",
        units,
        measure,
        known,
        describe=describe,
        seed=seed,
        details={"layer": layer},
        damage=damage_of_patch(subject, states, site, unrelated=unrelated, seed=seed),
    )
