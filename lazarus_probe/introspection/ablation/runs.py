"""What a model says without some of its components, and without as much drawn at random.

Every run replaces outputs at all positions, those generated included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.random_state import random_state
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.ablation.components import (
    AblationType,
    ComponentType,
    Place,
    edit_of,
    gaussian,
    layers_with,
    masked,
    places_of,
    random_masks,
    replaced,
    rows_at,
    shape_of,
)
from lazarus_probe.introspection.ablation.criteria import Criterion
from lazarus_probe.introspection.generation.damage import Edited, Unrelated, damages
from lazarus_probe.statistics.measurement import Damage
from lazarus_probe.subject.finite import require_finite
from lazarus_probe.subject.generate import continuation, greedy, new_cache
from lazarus_probe.subject.subject import Subject
from lazarus_probe.sweep import Mean, Resample, Zero, answer, sweep
from lazarus_probe.sweep.progress import bar

DRAWS = 3  # of the random control


@dataclass(frozen=True)
class AblationConfig:
    """How to ablate and generate.

    Attributes:
        ablation_type: what takes the place of outputs. Zero is the published way; `mean` and `resample` use values
            that occur in the model.
        component: what is ablated.
        max_new_tokens: generated at most.
        temperature: 0 for the most likely token at each step; above, tokens are drawn.
        seed: of what is drawn: tokens, replacements and random controls.

    Raises:
        ValueError: fewer than one token, or a temperature below 0.

    Example:
        >>> from lazarus_probe.introspection import AblationConfig, AblationStudy, AblationType
        >>> config = AblationConfig(ablation_type=AblationType.MEAN, component="mlp", max_new_tokens=4)
        >>> study = AblationStudy(subject, reference=["The cat saw the ball.", "12+30=", "9-2="])
        >>> study.ablate_and_generate("7*8=", layers=range(8), config=config) == "56"
        False
    """

    ablation_type: AblationType = AblationType.ZERO
    component: ComponentType = ComponentType.MLP
    max_new_tokens: int = 60
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "ablation_type", AblationType(self.ablation_type))
        object.__setattr__(self, "component", ComponentType(self.component))
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}; at least 1 is needed")
        if self.temperature < 0:
            raise ValueError(f"temperature is {self.temperature}; 0 or more is needed")


@dataclass(frozen=True, eq=False)
class Row:
    """Completions with some outputs replaced.

    Attributes:
        name: as in `L3`, `L3+4` or `random 1`.
        layers: those ablated together; empty for a random control.
        method: what took the place of the outputs.
        said: (N,) completions.
        passes: (N,) whether each passes its criterion.
        size: coordinates replaced.
        damage: what the same replacement does to unrelated prompts, where that was measured.
    """

    name: str
    layers: tuple[int, ...]
    method: AblationType
    said: tuple[str, ...]
    passes: NDArray[np.bool_]
    size: int
    damage: Damage | None = None


@dataclass(frozen=True, eq=False)
class Runs:
    """What to run and how.

    Attributes:
        subject: the model.
        prompts: (N,) as the model is given them.
        criteria: (N,) what passes.
        config: how.
        reference: prompts that replacements come from.
        progress: whether to show a bar.
        known: reference rows found so far.
    """

    subject: Subject
    prompts: Sequence[str]
    criteria: Sequence[Criterion]
    config: AblationConfig
    reference: Sequence[str]
    progress: bool = False
    known: dict[Place, NDArray[Any]] = field(default_factory=dict)

    def original(self) -> tuple[tuple[str, ...], NDArray[np.bool_]]:
        """Completions of the unablated model, and which of them pass."""
        said = generate(self.subject, self.prompts, self.config)
        return tuple(said), self.graded(said)

    def graded(self, said: Sequence[str]) -> NDArray[np.bool_]:
        """(N,) whether each output passes."""
        return np.array([one.passes(text) for one, text in zip(self.criteria, said, strict=True)])

    def rows(self, methods: Sequence[AblationType], groups: Sequence[tuple[int, ...]]) -> list[Row]:
        """Each group of layers ablated by each method: one sweep where a group is one site, else run by run."""
        places = [self._places(group) for group in groups]
        self._know([*(place for each in places for place in each), *self._pool()], methods)
        single = all(len(each) == 1 and isinstance(each[0], Site) for each in places)
        if single and self.config.temperature == 0:
            return self._swept(methods, groups, [each[0] for each in places])
        with bar(len(methods) * len(groups), self.progress) as advance:
            return [
                self._row(_name(group), group, method, self._size(each), self._edits(each, method), advance)
                for method in methods
                for group, each in zip(groups, places, strict=True)
            ]

    def controls(self, methods: Sequence[AblationType], groups: Sequence[tuple[int, ...]]) -> list[Row]:
        """For each size of a group, as many coordinates of the same outputs drawn at random over all layers."""
        pool = self._pool()
        self._know(pool, methods)  # in the same pass as those of `rows`, where these came first
        shapes = [shape_of(self.subject, place) for place in pool]
        cells = list(
            product(methods, sorted({self._size(self._places(group)) for group in groups}), range(DRAWS))
        )
        with bar(len(cells), self.progress) as advance:
            return [
                self._row(
                    f"random {draw + 1}",
                    (),
                    method,
                    size,
                    self._random(pool, shapes, size, method, draw),
                    advance,
                )
                for method, size, draw in cells
            ]

    def with_damage(self, rows: Sequence[Row], unrelated: Unrelated | None = None) -> list[Row]:
        """Ablated rows with what each does to unrelated prompts; by default those of all language tasks.

        Raises:
            ValueError: as `damages`; the ablation that leaves no finite logits is named.
        """

        def without(row: Row) -> Edited:
            @contextmanager
            def edited(_rows: Sequence[int], _length: int) -> Iterator[None]:
                with replaced(self.subject, self._edits(self._places(row.layers), row.method)):
                    yield

            return edited

        found = damages(self.subject, [without(row) for row in rows], unrelated, seed=self.config.seed)
        return [replace(row, damage=each) for row, each in zip(rows, found, strict=True)]

    def _places(self, group: tuple[int, ...]) -> tuple[Place, ...]:
        found = [place for layer in group for place in places_of(self.subject, self.config.component, layer)]
        return tuple(found)

    def _pool(self) -> list[Place]:
        layers = layers_with(self.subject, self.config.component)
        return [place for layer in layers for place in places_of(self.subject, self.config.component, layer)]

    def _size(self, places: Sequence[Place]) -> int:
        return sum(int(np.prod(shape_of(self.subject, place))) for place in places)

    def _know(self, places: Sequence[Place], methods: Sequence[AblationType]) -> None:
        """One pass over the reference prompts for all that is not known yet."""
        missing = [place for place in dict.fromkeys(places) if place not in self.known]
        if missing and any(method != AblationType.ZERO for method in methods):
            self.known.update(rows_at(self.subject, self.reference, missing))

    def _edits(self, places: Sequence[Place], method: AblationType) -> dict[Place, Any]:
        return {place: edit_of(method, self.known.get(place), self.config.seed) for place in places}

    def _random(
        self,
        pool: Sequence[Place],
        shapes: Sequence[tuple[int, ...]],
        size: int,
        method: AblationType,
        draw: int,
    ) -> dict[Place, Any]:
        masks = random_masks(shapes, size, self.config.seed + draw)
        edits = self._edits(pool, method)
        return {
            place: masked(edits[place], mask) for place, mask in zip(pool, masks, strict=True) if mask.any()
        }

    def _row(
        self,
        name: str,
        group: tuple[int, ...],
        method: AblationType,
        size: int,
        edits: dict[Place, Any],
        advance: Callable[[int], None],
    ) -> Row:
        with replaced(self.subject, edits):
            said = generate(self.subject, self.prompts, self.config)
        advance(1)
        return Row(name, group, method, tuple(said), self.graded(said), size)

    def _swept(
        self, methods: Sequence[AblationType], groups: Sequence[tuple[int, ...]], sites: Sequence[Any]
    ) -> list[Row]:
        found = sweep(
            self.subject,
            list(self.prompts),
            list(dict.fromkeys(sites)),
            sources={str(method): self._source(method, sites) for method in methods},
            metrics=[answer(self.config.max_new_tokens)],
            positions="all",
            progress=self.progress,
        )
        rows = []
        for method in methods:
            for group, site in zip(groups, sites, strict=True):
                said = found.at("answer", source=str(method), site=site, position="all").tolist()
                size = self._size([site])
                rows.append(Row(_name(group), group, method, tuple(said), self.graded(said), size))
        return rows

    def _source(self, method: AblationType, sites: Sequence[Any]) -> Any:
        if method == AblationType.ZERO:
            return Zero()
        if method == AblationType.MEAN:
            return Mean({site: self.known[site].mean(axis=0) for site in sites})
        noise = method == AblationType.NOISE
        rows = {
            site: gaussian(self.known[site], self.config.seed) if noise else self.known[site]
            for site in sites
        }
        return Resample(rows, self.config.seed)


def _name(group: tuple[int, ...]) -> str:
    return f"L{'+'.join(map(str, group))}" if group else "none"


def generate(subject: Subject, prompts: Sequence[str], config: AblationConfig) -> list[str]:
    """What the model goes on to say: greedily, or drawn at a temperature, each prompt from the same seed."""
    if config.temperature == 0:
        return greedy(subject, prompts, config.max_new_tokens)
    return [_drawn(subject, prompt, config) for prompt in prompts]


def _drawn(subject: Subject, prompt: str, config: AblationConfig) -> str:
    ids = subject.encode(prompt)
    tokens, cache, new = mx.array([ids]), new_cache(subject.model), list[int]()
    with random_state(config.seed):
        for _ in range(config.max_new_tokens):
            logits = subject.model(tokens, cache=cache)[:, -1].astype(mx.float32)
            require_finite(subject, mx.array([[*ids, *new]]), logits)
            drawn: Any = mx.random.categorical(logits / config.temperature).tolist()
            token = drawn[0]
            if token in subject.eos_token_ids:
                break
            new.append(token)
            tokens = mx.array([[token]])
    return continuation(subject, ids, new)
