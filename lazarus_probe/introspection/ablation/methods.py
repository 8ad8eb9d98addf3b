"""Ablation: a model's outputs replaced by zeros, means, resampled rows or noise, in the prompt and the completion.

Outputs are replaced and not weights, so biases, mixtures of experts and quantised layers need no special cases. `mean`
and `resample` use values that occur in the model; `zero` is for comparison with published numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.interventions import Edit, Intervention
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import hooked, trace
from lazarus_probe.introspection.ablation.components import LinearLayer, Output
from lazarus_probe.introspection.ablation.config import AblationType
from lazarus_probe.introspection.generation.completions import generate
from lazarus_probe.introspection.generation.damage import Edited, Unrelated, damages
from lazarus_probe.spelling import one_of
from lazarus_probe.statistics.measurement import Damage
from lazarus_probe.subject.batches import Prompt, by_length, encode_all
from lazarus_probe.taps import Tap, held, tapped

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

GAUSSIAN_ROWS = 512
Edits = Mapping[Output, Edit]


def reference_rows(
    subject: Subject, prompts: Sequence[Prompt], outputs: Sequence[Output]
) -> dict[Output, NDArray[Any]]:
    """Outputs on reference prompts, from which replacements are made.

    The first token is left out: it is often the same in every prompt, and its values are unlike those at any other.

    Returns:
        Rows (N, ...) by output: one per position but the first of each prompt.

    Raises:
        ValueError: no prompts, or only prompts of a single token.
    """
    rows: dict[Output, list[NDArray[Any]]] = {output: [] for output in outputs}
    sites = [output for output in outputs if isinstance(output, Site)]
    for _, tokens in by_length(encode_all(subject, prompts)):
        of_linear: dict[Output, mx.array] = {}
        taps = [_capture(subject, output, of_linear) for output in outputs if isinstance(output, LinearLayer)]
        with tapped(taps):
            of_sites = trace(subject, tokens, sites)
        for output in outputs:
            value = of_sites[output] if isinstance(output, Site) else of_linear[output]
            values = np.array(value.astype(mx.float32))[:, 1:]
            rows[output].append(values.reshape(-1, *values.shape[2:]))
    if not sum(map(len, rows[outputs[0]])):
        raise ValueError("the reference prompts have a single token each; give longer ones")
    return {output: np.concatenate(parts) for output, parts in rows.items()}


def _capture(subject: Subject, linear: LinearLayer, values: dict[Output, mx.array]) -> Tap:
    def keep(value: mx.array) -> None:
        values[linear] = held(value)

    return Tap(linear.module(subject), after=keep)


def replacement(method: AblationType, rows: NDArray[Any] | None, seed: int = 0) -> Edit:
    """The function that replaces a value (B, L, ...) at every position.

    Args:
        method: what replaces it.
        rows: (N, ...) reference rows; None for zeros.
        seed: of the rows drawn.

    Raises:
        ValueError: an unknown method.
    """
    if method not in set(AblationType):
        raise ValueError(f"unknown method {method!r}; {one_of(method, list(AblationType))}")
    if method == AblationType.ZERO or rows is None:
        return mx.zeros_like
    if method == AblationType.MEAN:
        average = mx.array(rows.mean(axis=0))
        return lambda value: mx.broadcast_to(average.astype(value.dtype), value.shape)
    rng = np.random.default_rng(seed)
    donors = gaussian(rows, seed) if method == AblationType.NOISE else rows

    def draw(value: mx.array) -> mx.array:
        return mx.array(donors[rng.integers(len(donors), size=value.shape[:2])]).astype(value.dtype)

    return draw


def gaussian(rows: NDArray[Any], seed: int) -> NDArray[np.float32]:
    """(GAUSSIAN_ROWS, ...) draws with the mean and the standard deviation of each coordinate of `rows`."""
    draws = np.random.default_rng(seed).standard_normal((GAUSSIAN_ROWS, *rows.shape[1:]))
    return np.asarray(rows.mean(axis=0) + rows.std(axis=0) * draws, dtype=np.float32)


def random_coordinates(
    edits: Edits, shapes: Sequence[tuple[int, ...]], count: int, seed: int = 0
) -> dict[Output, Edit]:
    """Edits of `count` coordinates drawn at random over several outputs: the control of an ablation of that size.

    Args:
        edits: what replaces each output.
        shapes: of each output at one position.
        count: of coordinates to replace.
        seed: of the coordinates.
    """
    masks = random_masks(shapes, count, seed)
    return {
        output: _masked(edit, mask)
        for (output, edit), mask in zip(edits.items(), masks, strict=True)
        if mask.any()
    }


def random_masks(shapes: Sequence[tuple[int, ...]], count: int, seed: int) -> list[NDArray[np.bool_]]:
    """Masks of these shapes with `count` true coordinates, drawn at random over all of them."""
    rng, sizes = np.random.default_rng(seed), [int(np.prod(shape)) for shape in shapes]
    owners = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))[:count]
    masks = []
    for owner, (shape, size) in enumerate(zip(shapes, sizes, strict=True)):
        mask = np.zeros(size, dtype=bool)
        mask[rng.choice(size, size=int((owners == owner).sum()), replace=False)] = True
        masks.append(mask.reshape(shape))
    return masks


def _masked(edit: Edit, mask: NDArray[np.bool_]) -> Edit:
    where = mx.array(mask)
    return lambda value: mx.where(where, edit(value), value)


@contextmanager
def ablated(subject: Subject, edits: Edits) -> Iterator[None]:
    """Replace outputs by their edits, in prompts and in generated tokens, within the context."""
    interventions = [
        Intervention(output, edit, "all", "ablation")
        for output, edit in edits.items()
        if isinstance(output, Site)
    ]
    taps = [
        Tap(output.module(subject), after=edit)
        for output, edit in edits.items()
        if isinstance(output, LinearLayer)
    ]
    with hooked(subject, (), interventions), tapped(taps):
        yield


def ablated_completions(
    subject: Subject,
    prompts: Sequence[Prompt],
    edits: Edits,
    max_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """Completions with outputs replaced.

    Args:
        subject: the model.
        prompts: texts, or token ids.
        edits: what replaces each output; none for the unablated model.
        max_tokens: most tokens to generate.
        temperature: 0 for greedy decoding; above, tokens are sampled.
        seed: of the sampled tokens, the same for every prompt.

    Raises:
        ValueError: no prompts, an empty one, or logits that are not finite; the message names the ablation's site.
    """
    with ablated(subject, edits):
        generated = generate(
            subject, prompts, max_tokens, temperature=temperature, seed=seed, streams=[0] * len(prompts)
        )
    return [completion.text for completion in generated]


def ablation_damages(
    subject: Subject, ablations: Sequence[Edits], unrelated: Unrelated | None = None, seed: int = 0
) -> list[Damage]:
    """The damage of each ablation on unrelated prompts, by default those of all language tasks.

    Raises:
        ValueError: as `damages`; logits that are not finite, and the message names the ablation's site.
    """

    def edited(edits: Edits) -> Edited:
        return lambda _rows, _length: ablated(subject, edits)

    return damages(subject, [edited(edits) for edits in ablations], unrelated, seed=seed)
