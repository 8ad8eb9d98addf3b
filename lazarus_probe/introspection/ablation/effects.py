"""Which answers break without a component, compared with ablations of other components of its kind.

A component is one or several sites whose outputs are replaced by their mean over the prompts. Broken is an answer that
the unablated model gives and the ablated one does not; prompts that the unablated model fails are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.interventions import Intervention
from lazarus_probe.hooks.sites import Site, head_count, kinds_at
from lazarus_probe.introspection.ablation.ablate import Method, ablate, answers, reference
from lazarus_probe.introspection.generation.damage import Unrelated, damage, everywhere
from lazarus_probe.statistics.measurement import Curve, Measurement, some_examples
from lazarus_probe.statistics.rates import rate, unpaired_control

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Component = tuple[Site, ...]


@dataclass(frozen=True)
class Task:
    """Prompts that a model gets right, and what right means.

    Attributes:
        prompts: (N,) texts.
        expected: (N,) what right answers are, for a report.
        units: (N,) the independent unit of each prompt.
        right: whether a completion of the prompt with that number is right.
        max_tokens: of a completion.
    """

    prompts: Sequence[str]
    expected: Sequence[object]
    units: Sequence[str]
    right: Callable[[int, str], bool]
    max_tokens: int = 4

    def answered(self, subject: Subject) -> NDArray[np.bool_]:
        """(N,) whether the unablated model is right."""
        return self.graded(answers(subject, self.prompts, max_tokens=self.max_tokens))

    def graded(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """(N,) whether each of N completions is right."""
        return np.array([self.right(i, text) for i, text in enumerate(texts)])

    def take(self, rows: Sequence[int]) -> Task:
        """Some of the prompts, by row number."""
        kept, right = [int(row) for row in rows], self.right
        return Task(
            [self.prompts[row] for row in kept],
            [self.expected[row] for row in kept],
            [self.units[row] for row in kept],
            lambda i, text: right(kept[i], text),
            self.max_tokens,
        )


@dataclass(frozen=True)
class Broken:
    """What breaks without each of K components.

    Attributes:
        broken: (K, N).
        said: (K, N) the ablated model's completions.
        edits: (K,) what was done.
    """

    broken: NDArray[np.bool_]
    said: list[list[str]]
    edits: list[list[Intervention]]


def break_each(
    subject: Subject,
    task: Task,
    components: Sequence[Component],
    method: Method = "mean",
    seed: int = 0,
) -> Broken:
    """Ablate one component after the other, on prompts that the model answers.

    Raises:
        ValueError: no prompts, or a site that the model does not have.
    """
    sites = list(dict.fromkeys(site for component in components for site in component))
    known = reference(subject, task.prompts, sites)
    edits = [[ablate(site, method, known[site], seed) for site in each] for each in components]
    said = [answers(subject, task.prompts, each, task.max_tokens) for each in edits]
    return Broken(~np.stack([task.graded(texts) for texts in said]), said, edits)


def most_broken(
    subject: Subject,
    task: Task,
    components: Sequence[Component],
    whole: Component,
    method: Method = "mean",
    seed: int = 0,
    unrelated: Unrelated | None = None,
) -> Measurement:
    """The share broken without the component that breaks most, chosen on half of the units and tested on the others.

    For an absence. `all_mlps` is the positive control: what breaks without `whole`, usually the MLPs of all layers.

    Args:
        subject: the model.
        task: prompts that it answers.
        components: those to choose from.
        whole: of the positive control.
        method: what takes the place of their outputs.
        seed: of the halves, drawn rows and intervals.
        unrelated: prompts to tell the damage on; by default those of all language tasks.

    Raises:
        ValueError: as `break_each`, or units of which no two halves can be made.
    """
    found = break_each(subject, task, [*components, whole], method, seed)
    choosing, testing = _halves(task.units, seed)
    each = found.broken[:-1]
    worst = int(each[:, choosing].mean(axis=1).argmax())
    name = "+".join(map(str, components[worst]))
    kept = task.take(testing.tolist())
    return rate(
        "share of the answers broken",
        each[worst, testing],
        kept.units,
        {"all_mlps": found.broken[-1, testing]},
        positive=["all_mlps"],
        seed=seed,
        details={
            "component": name,
            "method": method,
            "broken": {"+".join(map(str, c)): float(b.mean()) for c, b in zip(components, each, strict=True)},
        },
        tokens=_tokens(subject, task),
        examples=some_examples(
            kept.prompts,
            kept.expected,
            [found.said[worst][row] for row in testing],
            each[worst, testing],
        ),
        curves=_curves(components, each),
        damage=damage(subject, everywhere(found.edits[worst]), unrelated, seed=seed),
    )


def window_broken(
    subject: Subject,
    task: Task,
    kind: str,
    layers: Sequence[int],
    others: Sequence[Sequence[int]],
    *,
    spared: Task | None = None,
    method: Method = "mean",
    seed: int = 0,
    unrelated: Unrelated | None = None,
) -> Measurement:
    """The share broken without one kind of output in some layers.

    Controls: `other_layers`, the mean share broken without the same kind in each of `others`; for attention,
    `random_heads`, as many heads as the layers have drawn over all layers; with `spared`, `other_task`, the share of
    another task's answers that the same ablation breaks.

    Args:
        subject: the model.
        task: prompts that it answers.
        kind: `attn_out` or `mlp_out`.
        layers: ablated together.
        others: sets of layers to compare with.
        spared: prompts of another task that the model answers.
        method: what takes the place of the outputs.
        seed: of drawn heads, rows and intervals.
        unrelated: prompts to tell the damage on; by default those of all language tasks.

    Raises:
        ValueError: as `break_each`; no other layers.
    """
    if not others:
        raise ValueError(f"no other layers to compare {list(layers)} with; give at least one set of them")
    components = [tuple(Site(kind, layer) for layer in each) for each in (layers, *others)]
    heads = _random_heads(subject, layers, seed) if kind == "attn_out" else ()
    found = break_each(subject, task, [*components, *([heads] if heads else [])], method, seed)
    sets = found.broken[: len(components)].astype(np.float64)
    controls = {"other_layers": sets[1:].mean(axis=0)}
    controls |= {"random_heads": found.broken[-1]} if heads else {}
    measured = rate(
        "share of the answers broken",
        sets[0],
        task.units,
        controls,
        seed=seed,
        details={"layers": list(layers), "kind": kind, "method": method},
        tokens=_tokens(subject, task),
        examples=some_examples(task.prompts, task.expected, found.said[0], sets[0] > 0),
        curves=_curves(components, sets),
        damage=damage(subject, everywhere(found.edits[0]), unrelated, seed=seed),
    )
    if spared is None:
        return measured
    other = break_each(subject, spared, components[:1], method, seed).broken[0]
    control = unpaired_control("other_task", measured, other, spared.units, seed)
    return replace(measured, controls=(*measured.controls, control))


def _halves(units: Sequence[str], seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows to choose on and rows to test on; units stay whole."""
    names = np.random.default_rng(seed).permutation(np.unique(units))
    if len(names) < 4:
        raise ValueError(f"{len(names)} independent units; give at least 4, half of them to choose on")
    testing = np.isin(units, names[::2])
    return np.flatnonzero(~testing), np.flatnonzero(testing)


def _random_heads(subject: Subject, layers: Sequence[int], seed: int) -> Component:
    """As many heads as some layers have, over all layers."""
    anatomy = subject.anatomy
    heads = {
        layer: head_count(anatomy, Site("head_out", layer))
        for layer in range(subject.num_layers)
        if "head_out" in kinds_at(anatomy, layer)
    }
    pool = [Site("head_out", layer, head) for layer, count in heads.items() for head in range(count)]
    count = sum(heads.get(layer, 0) for layer in layers)
    chosen = np.random.default_rng(seed).permutation(len(pool))[:count]
    return tuple(pool[i] for i in sorted(chosen))


def _curves(components: Sequence[Component], broken: NDArray[Any]) -> tuple[Curve, ...]:
    """The share broken, for each kind of site a curve over the first layer of each component."""
    points: dict[str, list[tuple[float, float]]] = {}
    for each, share in zip(components, broken.mean(axis=1).tolist(), strict=True):
        points.setdefault(each[0].kind, []).append((float(each[0].layer or 0), share))
    ordered = {kind: sorted(each) for kind, each in points.items()}
    return tuple(
        Curve(f"{kind} broken", tuple(x for x, _ in each), tuple(y for _, y in each))
        for kind, each in ordered.items()
    )


def _tokens(subject: Subject, task: Task) -> int:
    return sum(len(subject.encode(prompt)) for prompt in task.prompts)
