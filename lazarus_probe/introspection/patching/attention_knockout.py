"""Attention knockout: positions that may not attend to a part of the prompt, in a window of layers.

Geva et al. 2023 (arXiv:2304.14767): the attention edges from some positions to others are cut in a window of layers,
and what that does to the answer tells in which layers it is read from there. A control cuts as many edges to another
part of the prompt: a model may only be hurt by being cut at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.interventions import Intervention
from lazarus_probe.hooks.trace import hooked
from lazarus_probe.introspection.generation.damage import Unrelated, damage, unrelated_prompts
from lazarus_probe.introspection.patching.attention_cuts import (
    Cut,
    check_cut,
    cut_edges,
    other_parts,
)
from lazarus_probe.introspection.patching.windows import named_window, windows_with
from lazarus_probe.spelling import one_of
from lazarus_probe.statistics.cell_effects import CellEffects
from lazarus_probe.statistics.measurement import Damage
from lazarus_probe.statistics.student import signed_estimate
from lazarus_probe.subject.batches import Prompt, by_length, encode_all
from lazarus_probe.subject.dealt import dealt
from lazarus_probe.subject.finite import require_finite
from lazarus_probe.subject.last_position import last_logits
from lazarus_probe.subject.spans import Span
from lazarus_probe.sweep.metrics import Reader, Tokens, logit_diff, probability, reader
from lazarus_probe.sweep.progress import bar
from lazarus_probe.tables import Cell, Column, Table

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True, eq=False)
class Knockout:
    """What W windows of layers do to the answers of P prompts when they may not read a part of them.

    Attributes:
        windows: (W,) layers of each.
        cut: `scores` for edges masked before the softmax, so that the attention goes elsewhere; `pattern` for weights
            set to zero after it.
        baseline: by metric (P,) of the model as it is.
        blocked: by metric (W, P) with the part blocked.
        control: by metric (W, P) the mean with another part of equal length blocked; NaN for prompts without one.
        units: (P,) the independent unit of each prompt.
        damage: of the window with the largest effect on unrelated prompts, whose last token may not read a part of as
            many tokens.
        seed: of the other parts, and of the interval of the damage.
    """

    windows: tuple[tuple[int, ...], ...]
    cut: Cut
    baseline: Mapping[str, NDArray[Any]]
    blocked: Mapping[str, NDArray[Any]]
    control: Mapping[str, NDArray[Any]]
    units: tuple[str, ...]
    damage: Damage | None
    seed: int

    @property
    def metric(self) -> str:
        """The metric that windows are compared by: `logit_diff` where there is one, else `probability`."""
        return next(iter(self.baseline))

    @cached_property
    def drops(self) -> CellEffects:
        """How much of the metric each window loses, and loses with another part blocked."""
        return self.drops_of(self.metric)

    def drops_of(self, metric: str) -> CellEffects:
        """The same of any metric."""
        baseline = self.baseline[metric]
        return CellEffects(
            baseline - self.blocked[metric], baseline - self.control[metric], self.units, self.seed
        )

    def as_data(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "cut": self.cut,
            "metric": self.metric,
            "n": len(self.units),
            "units": len(set(self.units)),
            "seed": self.seed,
            "baseline": {name: values.tolist() for name, values in self.baseline.items()},
            "windows": [
                {
                    "layers": list(window),
                    **{name: self.drops_of(name).cell_data(row) for name in self.baseline},
                }
                for row, window in enumerate(self.windows)
            ],
            "strongest": list(self.windows[self.drops.best]),
            "damage": None if self.damage is None else asdict(self.damage),
        }

    def table(self) -> Table:
        """By window the loss, that of another part, and the gain."""
        drops, largest = self.drops, float(np.abs(self.drops.effect.mean).max()) or 1.0
        rows = [
            (
                named_window(window),
                Cell(
                    signed_estimate(*(float(end[row]) for end in drops.effect)),
                    shade=float(drops.effect.mean[row]) / largest,
                ),
                float(drops.effect.mean[row] - drops.gain.mean[row]),
                signed_estimate(*(float(end[row]) for end in drops.gain)),
                float(drops.p[row]),
            )
            for row, window in enumerate(self.windows)
        ]
        columns = (
            Column("Layers", width=8),
            Column(f"Loss of {self.metric}", width=26),
            Column("Another part", "+.3f"),
            Column("Beyond it", width=26),
            Column("p", ".4f"),
        )
        return Table(columns, rows, f"attention knockout ({self.cut}), {len(self.units)} prompts")

    def _repr_html_(self) -> str:
        return self.table().html()


def attention_knockout(
    subject: Subject,
    prompts: Sequence[Prompt],
    parts: Sequence[Span],
    answers: Tokens,
    others: Tokens | None = None,
    *,
    readers: Sequence[Span] | None = None,
    layers: Sequence[int] | None = None,
    window: int = 1,
    cut: Cut = "scores",
    controls: int = 5,
    units: Sequence[str] | None = None,
    unrelated: Unrelated | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Knockout:
    """Block the attention from some positions to a part of each prompt, in every window of layers.

    Args:
        subject: the model.
        prompts: P texts, or token ids.
        parts: (P,) the tokens that may not be read.
        answers: the token whose probability, or logit, is measured after the prompt; one, or one a prompt.
        others: the token that it is compared with; None for the probability alone.
        readers: (P,) the tokens that may not read; by default each prompt's last.
        layers: the middle of each window; by default all that have attention.
        window: layers of a window, as far as the model has them. Geva et al. take 9 of 48.
        cut: `scores` masks before the softmax, as Geva et al. do; `pattern` zeroes the weights after it.
        controls: other parts of equal length that are blocked in turn, without the first token, the part and the
            readers; fewer where there are not as many.
        units: (P,) the independent unit of each prompt; by default itself.
        unrelated: prompts of other tasks for the damage; by default those of all language tasks, none without a
            tokenizer.
        seed: of the other parts.
        progress: show a bar, where standard error is a terminal.

    Raises:
        UnsupportedArchitecture: a window without attention whose scores can be reached.
        ValueError: counts that do not match, a part outside of its prompt, or after all readers, or one that leaves a
            reader nothing to attend to.

    Example:
        >>> from lazarus_probe.introspection import attention_knockout
        >>> from lazarus_probe.subject import span
        >>> prompts = ["7*8=", "6*9="]
        >>> parts = [span(subject, prompt, prompt[0]) for prompt in prompts]
        >>> result = attention_knockout(subject, prompts, parts, ["56", "54"], ["15", "15"])
        >>> result.drops.effects.shape  # (windows, prompts)
        (8, 2)
    """
    if cut not in get_args(Cut):
        raise ValueError(f"cut {cut!r} is unknown; {one_of(cut, get_args(Cut))}")
    encoded = encode_all(subject, prompts)
    readers = [Span(len(ids) - 1, len(ids)) for ids in encoded] if readers is None else readers
    units = [str(row) for row in range(len(encoded))] if units is None else units
    for name, count in (("parts", len(parts)), ("readers", len(readers)), ("units", len(units))):
        if count != len(encoded):
            raise ValueError(f"{count} {name} for {len(encoded)} prompts; give one a prompt")
    for row, ids in enumerate(encoded):
        check_cut(row, len(ids), parts[row], readers[row])
    windows = windows_with(subject, cut, layers, window)
    compared = [logit_diff(answers, others)] if others is not None else []
    run = _Run(subject, encoded, reader(subject, [*compared, probability(answers)], len(encoded)), cut)
    rows = zip(encoded, parts, readers, strict=True)
    drawn = [other_parts(ids, part, end, controls, seed) for ids, part, end in rows]
    cuts = dict(enumerate(zip(parts, readers, strict=True)))
    blocked, control = [], []
    with bar(len(windows), progress, "knockout", "windows") as step:
        baseline = run.measured()
        for layers_of in windows:
            blocked.append(run.measured(layers_of, cuts))
            control.append(run.control(layers_of, drawn, readers))
            step(1)
    kept, cut_by = (
        {name: np.stack([window[name] for window in values]) for name in baseline}
        for values in (control, blocked)
    )
    result = Knockout(windows, cut, baseline, cut_by, kept, tuple(units), None, seed)
    return _with_damage(subject, result, int(np.median([len(part) for part in parts])), unrelated)


@dataclass(frozen=True, eq=False)
class _Run:
    """What is measured in every run of the prompts."""

    subject: Subject
    encoded: Sequence[Sequence[int]]
    read: Reader
    cut: Cut

    def measured(
        self, layers: Sequence[int] = (), cuts: Mapping[int, tuple[Span, Span]] | None = None
    ) -> dict[str, NDArray[Any]]:
        """By metric (P,) at the last position: of the prompts of `cuts`, cut; where it is None of all, as they are."""
        rows = list(range(len(self.encoded))) if cuts is None else sorted(cuts)
        values = {metric.name: np.full(len(self.encoded), np.nan) for metric in self.read.metrics}
        batches = list(by_length([self.encoded[row] for row in rows]))

        def run(batch: tuple[list[int], Any]) -> dict[str, NDArray[Any]]:
            some, tokens = batch
            indices = [rows[index] for index in some]
            edits = (
                []
                if cuts is None
                else cut_edges(layers, [cuts[i] for i in indices], tokens.shape[1], self.cut)
            )
            with hooked(self.subject, (), edits):
                logits = require_finite(self.subject, tokens, last_logits(self.subject, tokens))
            numbers = self.read.read(logits, logits, np.array(indices))
            return {name: np.array(values) for name, values in numbers.items()}

        for (some, _), of_batch in zip(batches, dealt(self.subject, batches, run), strict=True):
            for name, numbers in of_batch.items():
                values[name][[rows[index] for index in some]] = numbers
        return values

    def control(
        self, layers: Sequence[int], drawn: Sequence[Sequence[Span]], readers: Sequence[Span]
    ) -> dict[str, NDArray[Any]]:
        """By metric (P,) the mean with other parts blocked in turn."""
        sums = {metric.name: np.zeros(len(self.encoded)) for metric in self.read.metrics}
        for turn in range(max(map(len, drawn))):
            cuts = {row: (spans[turn], readers[row]) for row, spans in enumerate(drawn) if turn < len(spans)}
            for name, values in self.measured(layers, cuts).items():
                sums[name] += np.nan_to_num(values)
        counts = np.array([len(spans) or np.nan for spans in drawn])
        return {name: total / counts for name, total in sums.items()}


def _with_damage(subject: Subject, result: Knockout, size: int, unrelated: Unrelated | None) -> Knockout:
    if unrelated is None and subject.tokenizer is None:
        return result
    unrelated = unrelated_prompts() if unrelated is None else unrelated
    long_enough = unrelated.with_position(subject, size + 1)  # a first token, the part, and the last

    def edits(rows: Sequence[int], length: int) -> list[Intervention]:
        starts = np.random.default_rng((result.seed, length)).integers(1, length - size, size=len(rows))
        spans = [(Span(int(start), int(start) + size), Span(length - 1, length)) for start in starts]
        return cut_edges(result.windows[result.drops.best], spans, length, result.cut)

    measured = damage(subject, edits, long_enough, seed=result.seed)
    return replace(result, damage=measured)
