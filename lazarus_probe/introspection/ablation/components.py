"""Components of a layer by their published names, what stands in for their outputs, and runs without them.

Outputs are replaced, never weights: biases, mixtures of experts and quantised layers then need no special care.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import at_path
from lazarus_probe.anatomy.projections import found, sizes
from lazarus_probe.hooks.interventions import Edit, Intervention
from lazarus_probe.hooks.sites import Site, head_count, kinds_at
from lazarus_probe.hooks.trace import hooked
from lazarus_probe.subject.batches import by_length, encode_all
from lazarus_probe.subject.generate import forward
from lazarus_probe.subject.subject import Subject
from lazarus_probe.taps import Tap, held, tapped

GAUSSIAN_ROWS = 512


class ComponentType(StrEnum):
    """What is ablated: the MLP or attention as a whole, both, or one step inside them.

    Example:
        >>> from lazarus_probe.introspection import AblationConfig, AblationStudy, ComponentType
        >>> config = AblationConfig(component=ComponentType.MLP_GATE, max_new_tokens=4)
        >>> AblationStudy(subject).ablate_and_generate("7*8=", layers=range(8), config=config) == "56"
        False
    """

    MLP = "mlp"
    ATTENTION = "attention"
    BOTH = "both"
    MLP_GATE = "mlp_gate"
    MLP_UP = "mlp_up"
    MLP_DOWN = "mlp_down"
    ATTN_Q = "attn_q"
    ATTN_K = "attn_k"
    ATTN_V = "attn_v"
    ATTN_O = "attn_o"


class AblationType(StrEnum):
    """What takes the place of an output.

    | type | in its place |
    |---|---|
    | zero | zeros, as in published numbers; seldom a value that the model meets |
    | mean | the mean over reference prompts |
    | resample | at every position a random reference row, as in causal scrubbing |
    | noise | at every position a draw from the Gaussian with the reference rows' mean and deviation, by coordinate |

    Example:
        >>> from lazarus_probe.introspection import AblationConfig, AblationType
        >>> AblationConfig(ablation_type="resample").ablation_type is AblationType.RESAMPLE
        True
    """

    ZERO = "zero"
    MEAN = "mean"
    NOISE = "noise"
    RESAMPLE = "resample"


@dataclass(frozen=True)
class Inner:
    """A linear layer within a block, whose output no `Site` names.

    Attributes:
        layer: the block.
        path: where in the block, as in `mlp.gate_proj`.
    """

    layer: int
    path: str


Place = Site | Inner
Rows = Mapping[Place, NDArray[Any]]

SITES = {
    ComponentType.MLP: ("mlp_out",),
    ComponentType.ATTENTION: ("attn_out",),
    ComponentType.BOTH: ("attn_out", "mlp_out"),
    ComponentType.ATTN_Q: ("queries",),
    ComponentType.ATTN_K: ("keys",),
    ComponentType.ATTN_V: ("values",),
    ComponentType.ATTN_O: ("attn_out",),
}
# What model files call the two projections that a gated MLP starts with.
PROJECTIONS = {
    ComponentType.MLP_GATE: ("gate_proj", "w1"),
    ComponentType.MLP_UP: ("up_proj", "w3", "c_fc", "fc1", "dense_h_to_4h"),
}


def places_of(subject: Subject, component: ComponentType, layer: int) -> tuple[Place, ...]:
    """Where a component's output is in one layer.

    Raises:
        ValueError: the layer has no such component; the message says what it has instead.
    """
    anatomy = subject.anatomy
    if component in PROJECTIONS:
        return (_projection(subject, component, layer),)
    if component == ComponentType.MLP_DOWN:
        _refuse_mixture(subject, component, layer)
        return (Site("mlp_out", layer),)
    there = kinds_at(anatomy, layer)
    missing = [kind for kind in SITES[component] if kind not in there]
    if missing:
        raise ValueError(
            f"component {component}: layer {layer} of {subject.name} has no {missing[0]}; it has {', '.join(there)}"
        )
    return tuple(Site(kind, layer) for kind in SITES[component])


def layers_with(subject: Subject, component: ComponentType) -> list[int]:
    """The layers that have a component; in some models not every layer has every one.

    Raises:
        ValueError: none has; the message says what the first has instead.
    """
    found = []
    for layer in range(subject.num_layers):
        try:
            places_of(subject, component, layer)
        except ValueError:
            continue
        found.append(layer)
    if not found:
        places_of(subject, component, 0)  # says what there is instead
    return found


def _projection(subject: Subject, component: ComponentType, layer: int) -> Inner:
    _refuse_mixture(subject, component, layer)
    inside = f"{subject.anatomy.parts[layer].mlp}."
    reason = ""
    for name in PROJECTIONS[component]:
        try:
            places = [place for _, place in found(subject.anatomy, [name], [layer])]
        except ValueError as error:
            reason = reason or str(error)
            continue
        mine = [place for place in places if f"{place.path}.".startswith(inside)]
        if len(mine) == 1 and sizes(mine[0].module)[0] == 1:
            return Inner(layer, mine[0].path)
    raise ValueError(
        f"component {component} cannot be told apart in layer {layer} of {subject.name}"
        f"{f' ({reason})' if reason else ''}; ablate mlp"
    )


def _refuse_mixture(subject: Subject, component: ComponentType, layer: int) -> None:
    parts = subject.anatomy.parts[layer]
    if parts.mlp is None or parts.num_experts is not None:
        what = "has no MLP" if parts.mlp is None else "is a mixture of experts"
        advice = "ablate attention" if parts.mlp is None else "ablate mlp, which is the whole of it"
        raise ValueError(f"component {component}: layer {layer} of {subject.name} {what}; {advice}")


def rows_at(
    subject: Subject, prompts: Sequence[str | Sequence[int]], places: Sequence[Place]
) -> dict[Place, NDArray[Any]]:
    """Values (N, ...) of places on reference prompts, a row a position; the first of each prompt is left out.

    Raises:
        ValueError: no prompts, or only prompts of a single token.
    """
    rows: dict[Place, list[NDArray[Any]]] = {place: [] for place in places}
    sites = [place for place in places if isinstance(place, Site)]
    for _, tokens in by_length(encode_all(subject, prompts)):
        inner: dict[Place, mx.array] = {}
        taps = [_look(subject, place, inner) for place in places if isinstance(place, Inner)]
        with hooked(subject, sites) as seen, tapped(taps):
            forward(subject.model, tokens)
        mx.eval(list(inner.values()), *(seen[site] for site in sites))
        for place in places:
            value = seen[place] if isinstance(place, Site) else inner[place]
            rows[place].append(_flat(value))
    if not sum(len(part) for part in rows[places[0]]):
        raise ValueError("the reference prompts have a single token each; give longer ones")
    return {place: np.concatenate(parts) for place, parts in rows.items()}


def _look(subject: Subject, place: Inner, seen: dict[Place, mx.array]) -> Tap:
    def look(value: mx.array) -> None:
        seen[place] = held(value)

    return Tap(at_path(subject.anatomy.blocks[place.layer], place.path), after=look)


def _flat(value: mx.array) -> NDArray[Any]:
    found = np.array(value.astype(mx.float32))[:, 1:]
    return found.reshape(-1, *found.shape[2:])


def gaussian(rows: NDArray[Any], seed: int) -> NDArray[Any]:
    """As many rows as `GAUSSIAN_ROWS`, drawn with the mean and the standard deviation of each coordinate of `rows`."""
    draws = np.random.default_rng(seed).standard_normal((GAUSSIAN_ROWS, *rows.shape[1:]))
    return np.asarray(rows.mean(axis=0) + rows.std(axis=0) * draws, dtype=np.float32)


def edit_of(kind: AblationType, rows: NDArray[Any] | None, seed: int) -> Edit:
    """The function that replaces a value (B, L, ...) by what an ablation puts there.

    Args:
        kind: what that is.
        rows: (N, ...) reference rows; None for zeros.
        seed: of the rows drawn.
    """
    if kind == AblationType.ZERO or rows is None:
        return mx.zeros_like
    if kind == AblationType.MEAN:
        average = mx.array(rows.mean(axis=0))
        return lambda value: mx.broadcast_to(average.astype(value.dtype), value.shape)
    rng = np.random.default_rng(seed)
    known = gaussian(rows, seed) if kind == AblationType.NOISE else rows

    def draw(value: mx.array) -> mx.array:
        return mx.array(known[rng.integers(len(known), size=value.shape[:2])]).astype(value.dtype)

    return draw


def masked(edit: Edit, mask: NDArray[np.bool_]) -> Edit:
    """An edit that only acts where a mask over the coordinates of one position is true."""
    where = mx.array(mask)
    return lambda value: mx.where(where, edit(value), value)


def random_masks(shapes: Sequence[tuple[int, ...]], count: int, seed: int) -> list[NDArray[np.bool_]]:
    """Masks of given shapes with `count` true coordinates in all, drawn at random over all of them."""
    sizes_of = [int(np.prod(shape)) for shape in shapes]
    flat = np.zeros(sum(sizes_of), dtype=bool)
    flat[np.random.default_rng(seed).permutation(len(flat))[:count]] = True
    parts = np.split(flat, np.cumsum(sizes_of)[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def shape_of(subject: Subject, place: Place) -> tuple[int, ...]:
    """The shape of a place's value at one position."""
    if isinstance(place, Inner):
        return (sizes(at_path(subject.anatomy.blocks[place.layer], place.path))[2],)
    heads = subject.anatomy.parts[place.layer or 0].heads
    if heads and place.kind in ("queries", "keys", "values"):
        width = heads.value_dim if place.kind == "values" else heads.head_dim
        return (head_count(subject.anatomy, place), width)
    return (subject.anatomy.hidden_size,)


@contextmanager
def replaced(subject: Subject, edits: Mapping[Place, Edit]) -> Iterator[None]:
    """Within, the outputs at places are what the edits make of them, in prompts and in what is generated."""
    outputs = [
        Intervention(place, edit, "all", "ablation")
        for place, edit in edits.items()
        if isinstance(place, Site)
    ]
    taps = [
        Tap(at_path(subject.anatomy.blocks[place.layer], place.path), after=edit)
        for place, edit in edits.items()
        if isinstance(place, Inner)
    ]
    with hooked(subject, (), outputs), tapped(taps):
        yield
