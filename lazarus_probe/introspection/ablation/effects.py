"""Which answers break without a component, compared with ablations of other components of its kind.

A component is one or several sites whose outputs are replaced. An answer is broken if the unablated model gives it and
the ablated one does not; prompts that the unablated model fails are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.model_sites import head_count, kinds_at
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.ablation.components import Output
from lazarus_probe.introspection.ablation.config import AblationType
from lazarus_probe.introspection.ablation.methods import (
    Edits,
    ablated_completions,
    ablation_damages,
    reference_rows,
    replacement,
)
from lazarus_probe.introspection.generation.damage import Unrelated
from lazarus_probe.statistics.folds import halves_of_units
from lazarus_probe.statistics.measurement import Curve, Measurement, some_examples
from lazarus_probe.statistics.rates import rate, unpaired_control
from lazarus_probe.sweep import Mean, Zero, answer, sweep

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Component = tuple[Site, ...]


@dataclass(frozen=True)
class Task:
    """Prompts that a model answers correctly, with the test of an answer.

    Attributes:
        prompts: (N,) texts.
        expected: (N,) correct answers, for a report.
        units: (N,) independent units.
        right: whether a completion of prompt i is correct.
        max_tokens: of a completion.
    """

    prompts: Sequence[str]
    expected: Sequence[object]
    units: Sequence[str]
    right: Callable[[int, str], bool]
    max_tokens: int = 4

    def answered(self, subject: Subject) -> NDArray[np.bool_]:
        """(N,) whether the unablated model is correct."""
        return self.graded(ablated_completions(subject, self.prompts, {}, self.max_tokens))

    def graded(self, completions: Sequence[str]) -> NDArray[np.bool_]:
        """(N,) whether each of N completions is correct."""
        return np.array([self.right(i, completion) for i, completion in enumerate(completions)])

    def tokens(self, subject: Subject) -> int:
        """The number of tokens of all prompts."""
        return sum(len(subject.encode(prompt)) for prompt in self.prompts)

    def take(self, rows: Sequence[int]) -> Task:
        """A subset of the prompts, by row number."""
        right = self.right
        return Task(
            [self.prompts[row] for row in rows],
            [self.expected[row] for row in rows],
            [self.units[row] for row in rows],
            lambda i, completion: right(int(rows[i]), completion),
            self.max_tokens,
        )


@dataclass(frozen=True)
class BrokenAnswers:
    """The answers that break without each of K components.

    Attributes:
        broken: (K, N).
        completions: (K, N) of the ablated model.
        edits: (K,) the ablations.
    """

    broken: NDArray[np.bool_]
    completions: list[list[str]]
    edits: list[Edits]


def ablate_each(
    subject: Subject,
    task: Task,
    components: Sequence[Component],
    method: AblationType = AblationType.MEAN,
    seed: int = 0,
) -> BrokenAnswers:
    """Ablate one component at a time, on prompts that the model answers.

    Raises:
        ValueError: no prompts, or a site that the model does not have.
    """
    sites = list(dict.fromkeys(site for component in components for site in component))
    rows = reference_rows(subject, task.prompts, sites)
    edits: list[Edits] = [
        {site: replacement(method, rows[site], seed) for site in component} for component in components
    ]
    alone = [component[0] for component in components if len(component) == 1]
    swept = _swept(subject, task, alone, method, rows) if alone else {}
    completions = [
        swept[component[0]]
        if len(component) == 1 and swept
        else ablated_completions(subject, task.prompts, edit, task.max_tokens)
        for component, edit in zip(components, edits, strict=True)
    ]
    return BrokenAnswers(~np.stack([task.graded(texts) for texts in completions]), completions, edits)


def _swept(
    subject: Subject,
    task: Task,
    sites: Sequence[Site],
    method: AblationType,
    rows: Mapping[Output, NDArray[Any]],
) -> dict[Site, list[str]]:
    """Completions without each site, in runs that share what comes before it; none of a method that draws rows."""
    if method not in (AblationType.ZERO, AblationType.MEAN):
        return {}
    means: dict[Site | str, NDArray[Any]] = {site: rows[site].mean(axis=0) for site in sites}
    table = sweep(
        subject,
        list(task.prompts),
        list(dict.fromkeys(sites)),
        sources={"ablated": Zero() if method == AblationType.ZERO else Mean(means)},
        metrics=[answer(task.max_tokens)],
        positions="all",
    )
    return {site: table.at("answer", source="ablated", site=site, position="all").tolist() for site in sites}


def max_ablation_effect(
    subject: Subject,
    task: Task,
    components: Sequence[Component],
    positive: Component,
    method: AblationType = AblationType.MEAN,
    seed: int = 0,
    unrelated: Unrelated | None = None,
) -> Measurement:
    """The share broken without the component that breaks most, chosen on half of the units and tested on the others.

    For an absence. `all_mlps` is the positive control: the share broken without `positive`, usually the MLPs of all
    layers.

    Args:
        subject: the model.
        task: prompts that it answers.
        components: to choose from.
        positive: of the positive control.
        method: what replaces outputs.
        seed: of the halves, drawn rows and intervals.
        unrelated: prompts to measure the damage on; by default those of all language tasks.

    Raises:
        ValueError: as `ablate_each`, or units that cannot be halved.
    """
    effects = ablate_each(subject, task, [*components, positive], method, seed)
    choosing, testing = halves_of_units(task.units, np.random.default_rng(seed))
    broken = effects.broken[:-1]
    worst = int(broken[:, choosing].mean(axis=1).argmax())
    rows = testing.tolist()
    tested = task.take(rows)
    shares = broken.mean(axis=1).tolist()
    return rate(
        "share of the answers broken",
        broken[worst, rows],
        tested.units,
        {"all_mlps": effects.broken[-1, rows]},
        positive=["all_mlps"],
        seed=seed,
        details={
            "component": _name(components[worst]),
            "method": str(method),
            "broken": dict(zip(map(_name, components), shares, strict=True)),
        },
        tokens=task.tokens(subject),
        examples=some_examples(
            tested.prompts,
            tested.expected,
            [effects.completions[worst][row] for row in rows],
            broken[worst, rows],
        ),
        curves=_curves(components, shares),
        damage=ablation_damages(subject, [effects.edits[worst]], unrelated, seed)[0],
    )


def layers_ablation_effect(
    subject: Subject,
    task: Task,
    kind: str,
    layers: Sequence[int],
    others: Sequence[Sequence[int]],
    *,
    unaffected: Task | None = None,
    method: AblationType = AblationType.MEAN,
    seed: int = 0,
    unrelated: Unrelated | None = None,
) -> Measurement:
    """The share broken without one kind of output in some layers.

    Controls: `other_layers`, the mean share broken without the same kind in each of `others`; for attention,
    `random_heads`, as many heads as the layers have, drawn over all layers; with `unaffected`, `other_task`, the share
    of another task's answers that the same ablation breaks.

    Args:
        subject: the model.
        task: prompts that it answers.
        kind: `attn_out` or `mlp_out`.
        layers: ablated together.
        others: sets of layers to compare with.
        unaffected: prompts of another task that the model answers, and should answer without the layers.
        method: what replaces outputs.
        seed: of drawn heads, rows and intervals.
        unrelated: prompts to measure the damage on; by default those of all language tasks.

    Raises:
        ValueError: as `ablate_each`; no other layers.
    """
    if not others:
        raise ValueError(f"no other layers to compare {list(layers)} with; give at least one set of them")
    components = [tuple(Site(kind, layer) for layer in of_set) for of_set in (layers, *others)]
    heads = _random_heads(subject, layers, seed) if kind == "attn_out" else ()
    effects = ablate_each(subject, task, [*components, *([heads] if heads else [])], method, seed)
    broken = effects.broken[: len(components)].astype(np.float64)
    controls = {"other_layers": broken[1:].mean(axis=0)}
    controls |= {"random_heads": effects.broken[-1]} if heads else {}
    measured = rate(
        "share of the answers broken",
        broken[0],
        task.units,
        controls,
        seed=seed,
        details={"layers": list(layers), "kind": kind, "method": str(method)},
        tokens=task.tokens(subject),
        examples=some_examples(task.prompts, task.expected, effects.completions[0], broken[0] > 0),
        curves=_curves(components, broken.mean(axis=1).tolist()),
        damage=ablation_damages(subject, [effects.edits[0]], unrelated, seed)[0],
    )
    if unaffected is None:
        return measured
    broken_there = ablate_each(subject, unaffected, components[:1], method, seed).broken[0]
    control = unpaired_control("other_task", measured, broken_there, unaffected.units, seed)
    return replace(measured, controls=(*measured.controls, control))


def head_sites(subject: Subject) -> list[Site]:
    """The output of every attention head that can be edited, by layer and head."""
    anatomy = subject.anatomy
    counts = {
        layer: head_count(anatomy, Site("head_out", layer))
        for layer in range(subject.num_layers)
        if "head_out" in kinds_at(anatomy, layer)
    }
    return [Site("head_out", layer, head) for layer, count in counts.items() for head in range(count)]


def _random_heads(subject: Subject, layers: Sequence[int], seed: int) -> Component:
    """As many heads as these layers have, drawn over all layers."""
    pool = head_sites(subject)
    count = sum(site.layer in layers for site in pool)
    drawn = np.random.default_rng(seed).permutation(len(pool))[:count]
    return tuple(pool[i] for i in sorted(drawn))


def _curves(components: Sequence[Component], shares: Sequence[float]) -> tuple[Curve, ...]:
    """The share broken by the first layer of each component, a curve per kind of site."""
    points: dict[str, list[tuple[float, float]]] = {}
    for (first, *_), share in zip(components, shares, strict=True):
        points.setdefault(first.kind, []).append((float(first.layer or 0), share))
    ordered = {kind: sorted(of_kind) for kind, of_kind in points.items()}
    return tuple(
        Curve(f"{kind} broken", tuple(x for x, _ in of_kind), tuple(y for _, y in of_kind))
        for kind, of_kind in ordered.items()
    )


def _name(component: Component) -> str:
    return "+".join(map(str, component))
