"""Completions of a model without some of its components, and without as many coordinates drawn at random.

Every run replaces outputs at all positions, generated ones included.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.ablation.components import Output, layers_with, output_shape, outputs_of
from lazarus_probe.introspection.ablation.config import AblationConfig, AblationType
from lazarus_probe.introspection.ablation.criteria import Criterion
from lazarus_probe.introspection.ablation.methods import (
    Edits,
    ablated_completions,
    ablation_damages,
    gaussian,
    random_coordinates,
    reference_rows,
    replacement,
)
from lazarus_probe.introspection.ablation.results import Ablation, Ablations
from lazarus_probe.introspection.generation.damage import Unrelated
from lazarus_probe.subject.relative_depth import layer_number
from lazarus_probe.subject.subject import Subject
from lazarus_probe.sweep import Mean, Resample, Zero, answer, sweep
from lazarus_probe.sweep.progress import bar
from lazarus_probe.tasks.prompts import task_type

DRAWS = 3  # of the random control
Layers = tuple[int, ...]


@cache
def reference_prompts() -> tuple[str, ...]:
    """The default reference prompts: one of every template of arithmetic and language."""
    return tuple(task_type(np.random.default_rng(0), 1)[0])


@dataclass(frozen=True, eq=False)
class AblationRuns:
    """Ablations of a model on N prompts.

    Attributes:
        subject: the model.
        prompts: (N,) exactly as the model gets them.
        criteria: (N,) what passes.
        config: of the runs.
        reference: prompts that replacements come from.
        progress: show a bar, where standard error is a terminal.
        rows: reference rows by output, gathered lazily.
    """

    subject: Subject
    prompts: Sequence[str]
    criteria: Sequence[Criterion]
    config: AblationConfig
    reference: Sequence[str] = field(default_factory=reference_prompts)
    progress: bool = False
    rows: dict[Output, NDArray[Any]] = field(default_factory=dict)

    def without(self, layers: Layers) -> list[str]:
        """(N,) completions without the component of these layers; with no layers, of the unablated model."""
        method, outputs = self.config.ablation_type, self._outputs(layers)
        self._gather(outputs, [method])
        return self._completions(self._edits(outputs, method))

    def ablations(
        self,
        groups: Sequence[Layers],
        *,
        methods: Sequence[AblationType] = (),
        names: Sequence[str] | None = None,
        task: str = "ablation",
        unrelated: Unrelated | None = None,
    ) -> Ablations:
        """Completions without each group of layers, and without as many coordinates drawn at random.

        With more than one prompt, the damage of each ablation on unrelated prompts is measured as well.

        Args:
            groups: layers that are ablated together.
            methods: what replaces outputs; findings are about the first. By default that of the configuration.
            names: (N,) names of the prompts in reports.
            task: its name in reports.
            unrelated: prompts to measure the damage on; by default those of all language tasks.

        Raises:
            ValueError: no prompts or layers, a component that a layer does not have, or an ablation that leaves no
                finite logits on unrelated prompts.
            IndexError: a layer that the model does not have.
        """
        groups = [tuple(layer_number(layer, self.subject.num_layers) for layer in group) for group in groups]
        if not any(groups):
            raise ValueError("no layers to ablate; give at least one")
        methods = list(dict.fromkeys(methods)) or [self.config.ablation_type]
        rows = self._by_layers(methods, groups)  # raises for components that are missing before it generates
        original = self.without(())
        return Ablations(
            task=task,
            config=self.config,
            prompts=tuple(self.prompts if names is None else names),
            criteria=tuple(criterion.name for criterion in self.criteria),
            original=tuple(original),
            passes=self._passes(original),
            rows=tuple(self.with_damage(rows, unrelated) if len(set(self.prompts)) > 1 else rows),
            controls=tuple(self._controls(methods, groups)),
        )

    def with_damage(
        self, ablations: Sequence[Ablation], unrelated: Unrelated | None = None
    ) -> list[Ablation]:
        """Ablations with their damage on unrelated prompts; by default those of all language tasks.

        Raises:
            ValueError: as `ablation_damages`.
        """
        edits = [self._edits(self._outputs(ablation.layers), ablation.method) for ablation in ablations]
        damages = ablation_damages(self.subject, edits, unrelated, self.config.seed)
        return [replace(ablation, damage=damage) for ablation, damage in zip(ablations, damages, strict=True)]

    def _by_layers(self, methods: Sequence[AblationType], groups: Sequence[Layers]) -> list[Ablation]:
        """Each group of layers ablated by each method: in one sweep if every group is one site, else run by run."""
        outputs = [self._outputs(group) for group in groups]
        self._gather([*(output for of_group in outputs for output in of_group), *self._pool()], methods)
        cells = list(product(methods, zip(groups, outputs, strict=True)))
        sites = [output for output, *others in outputs if isinstance(output, Site) and not others]
        if self.config.temperature == 0 and len(sites) == len(groups):
            completions = self._swept(methods, sites)
        else:
            edits = (self._edits(of_group, method) for method, (_, of_group) in cells)
            completions = self._run(edits, len(cells))
        return [
            self._ablation(f"L{'+'.join(map(str, group))}", group, method, texts, self._size(of_group))
            for (method, (group, of_group)), texts in zip(cells, completions, strict=True)
        ]

    def _controls(self, methods: Sequence[AblationType], groups: Sequence[Layers]) -> list[Ablation]:
        """As many coordinates as each group has, drawn at random over all layers."""
        pool = self._pool()
        self._gather(pool, methods)
        shapes = [output_shape(self.subject, output) for output in pool]
        sizes = sorted({self._size(self._outputs(group)) for group in groups})
        cells = list(product(methods, sizes, range(DRAWS)))
        edits = (
            random_coordinates(self._edits(pool, method), shapes, size, self.config.seed + draw)
            for method, size, draw in cells
        )
        return [
            self._ablation(f"random {draw + 1}", (), method, texts, size)
            for (method, size, draw), texts in zip(cells, self._run(edits, len(cells)), strict=True)
        ]

    def _outputs(self, layers: Layers) -> tuple[Output, ...]:
        component = self.config.component
        return tuple(output for layer in layers for output in outputs_of(self.subject, component, layer))

    def _pool(self) -> tuple[Output, ...]:
        return self._outputs(tuple(layers_with(self.subject, self.config.component)))

    def _size(self, outputs: Sequence[Output]) -> int:
        return sum(int(np.prod(output_shape(self.subject, output))) for output in outputs)

    def _gather(self, outputs: Sequence[Output], methods: Sequence[AblationType]) -> None:
        """Gather missing reference rows in one pass; zeros need none."""
        missing = [output for output in dict.fromkeys(outputs) if output not in self.rows]
        if missing and any(method != AblationType.ZERO for method in methods):
            self.rows.update(reference_rows(self.subject, self.reference, missing))

    def _edits(self, outputs: Sequence[Output], method: AblationType) -> Edits:
        return {output: replacement(method, self.rows.get(output), self.config.seed) for output in outputs}

    def _completions(self, edits: Edits) -> list[str]:
        config = self.config
        return ablated_completions(
            self.subject, self.prompts, edits, config.max_new_tokens, config.temperature, config.seed
        )

    def _run(self, ablations: Iterable[Edits], count: int) -> list[list[str]]:
        completions = []
        with bar(count, self.progress) as advance:
            for edits in ablations:
                completions.append(self._completions(edits))
                advance(1)
        return completions

    def _passes(self, completions: Sequence[str]) -> NDArray[np.bool_]:
        pairs = zip(self.criteria, completions, strict=True)
        return np.array([criterion.passes(completion) for criterion, completion in pairs])

    def _ablation(
        self, name: str, layers: Layers, method: AblationType, completions: Sequence[str], size: int
    ) -> Ablation:
        return Ablation(name, layers, method, tuple(completions), self._passes(completions), size)

    def _swept(self, methods: Sequence[AblationType], sites: Sequence[Site]) -> list[list[str]]:
        """Completions by method and site, in batches that share the forward pass up to the site."""
        table = sweep(
            self.subject,
            list(self.prompts),
            list(dict.fromkeys(sites)),
            sources={str(method): self._source(method, sites) for method in methods},
            metrics=[answer(self.config.max_new_tokens)],
            positions="all",
            progress=self.progress,
        )
        return [
            table.at("answer", source=str(method), site=site, position="all").tolist()
            for method, site in product(methods, sites)
        ]

    def _source(self, method: AblationType, sites: Sequence[Site]) -> Zero | Mean | Resample:
        if method == AblationType.ZERO:
            return Zero()
        if method == AblationType.MEAN:
            return Mean({site: self.rows[site].mean(axis=0) for site in sites})
        rows: dict[Site | str, NDArray[Any]] = {site: self.rows[site] for site in sites}
        if method == AblationType.NOISE:
            rows = {site: gaussian(of_site, self.config.seed) for site, of_site in rows.items()}
        return Resample(rows, self.config.seed)
