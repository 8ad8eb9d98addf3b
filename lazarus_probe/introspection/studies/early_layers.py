"""What early layers carry of `7*8=`: how alike expressions look, and what a probe reads of operation, operands, answer.

Every operation has the same pairs of numbers, so that the operands do not give it away. Probes are scored on
held-out pairs (7*8, 8*7 and 7+8 stay together), and compared with a bag of tokens, the token embeddings, an untrained
model and shuffled labels; the answer's probe also with the one that is given the operands themselves, for a product
of digits is almost linear in them. The published analysis scored its probes on what they were fitted to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks import ActivationStore
from lazarus_probe.introspection.geometry.states import centred_on, outlier_data, outlier_lines
from lazarus_probe.introspection.probing.inputs import ProbeDataset, site_of
from lazarus_probe.introspection.probing.layer_scan import probe_layers
from lazarus_probe.introspection.studies.embedding import controls_of
from lazarus_probe.introspection.studies.expressions import LAST, Expression, expressions, token_positions
from lazarus_probe.statistics.centred import OutlierDimension, state_cosines
from lazarus_probe.statistics.cosines import mean_cosine
from lazarus_probe.statistics.folds import Kind
from lazarus_probe.statistics.intervals import estimate
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.subject.batches import encode_all
from lazarus_probe.subject.control_models import control_models
from lazarus_probe.sweep.progress import bar
from lazarus_probe.tables import Table
from lazarus_probe.tasks.arithmetic import OPERATIONS

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

TARGETS = {"op": "op_accuracy", "a": "a_r2", "b": "b_r2", "answer": "answer_r2"}
By = Mapping[int, Mapping[str, Measurement]]


@dataclass(frozen=True)
class EarlyLayersResult:
    """Similarities and probes of expressions.

    Attributes:
        model: its name.
        layers: read after, from 0.
        operations: asked.
        digits: the numbers that operands are made of.
        num_prompts: every operation on every pair of them.
        pairs: the expressions whose cosines are given.
        cosines: by layer, (P,) those cosines, centred on the other expressions and without outlier dimensions.
        raw_cosines: by layer, (P,) those of the states as they are.
        left_out: by layer, the dimensions that were left out.
        centre: what states were centred on, in words; empty for raw cosines.
        mean_cosines: by layer, the mean raw cosine of all expressions with each other, of the model and of the
            untrained ones: how much all states share.
        probes: by layer and target (`op`, `a`, `b`, `answer`), at the last token.
        positions: by piece (first operand, symbol, second operand, `=`), the same at each token; or empty.
        seed: of folds, shuffles and intervals.
    """

    model: str
    layers: tuple[int, ...]
    operations: tuple[str, ...]
    digits: tuple[int, ...]
    num_prompts: int
    pairs: tuple[tuple[str, str], ...]
    cosines: Mapping[int, tuple[float, ...]]
    raw_cosines: Mapping[int, tuple[float, ...]]
    left_out: Mapping[int, tuple[OutlierDimension, ...]]
    centre: str
    mean_cosines: Mapping[int, tuple[float, float]]
    probes: By
    positions: Mapping[str, By]
    seed: int

    def as_data(self) -> dict[str, Any]:
        """Plain data: the published keys, then intervals, controls and positions."""
        data = {
            "model": self.model,
            "layers": list(self.layers),
            "operations": [OPERATIONS[name].symbol for name in self.operations],
            "digits": list(self.digits),
            "num_prompts": self.num_prompts,
            "similarity_results": {
                str(layer): [
                    {"expression_a": a, "expression_b": b, "similarity": value, "raw_similarity": raw}
                    for (a, b), value, raw in zip(self.pairs, values, self.raw_cosines[layer], strict=True)
                ]
                for layer, values in self.cosines.items()
            },
            "probe_results": _scores(self.probes),
            "mean_similarity": {
                str(layer): {"model": model, "untrained": untrained}
                for layer, (model, untrained) in self.mean_cosines.items()
            },
            "centred_on": self.centre or None,
            "outlier_dimensions": {str(layer): outlier_data(out) for layer, out in self.left_out.items()},
            **_details(self.probes),
            "seed": self.seed,
        }
        if self.positions:
            data["position_results"] = {
                name: {"probe_results": _scores(by), **_details(by)} for name, by in self.positions.items()
            }
        return data

    def notes(self) -> list[str]:
        """What was done to the states before they were compared."""
        return outlier_lines(self.left_out, self.centre)

    def _repr_html_(self) -> str:
        rows = [
            (
                f"L{layer}",
                *(
                    estimate(measurement.score, measurement.low, measurement.high)
                    for measurement in measured.values()
                ),
            )
            for layer, measured in self.probes.items()
        ]
        targets = [TARGETS[name] for name in next(iter(self.probes.values()))]
        return Table(("layer", *targets), rows, f"Early layers of {self.model}").html()


def _scores(by: By) -> dict[str, dict[str, float | None]]:
    """Every score; None for the operation where there is only one."""
    return {
        str(layer): {key: row[name].score if name in row else None for name, key in TARGETS.items()}
        for layer, row in by.items()
    }


def _details(by: By) -> dict[str, Any]:
    def of(field: Any) -> dict[str, Any]:
        return {
            str(layer): {TARGETS[n]: field(measured) for n, measured in row.items()}
            for layer, row in by.items()
        }

    return {
        "intervals": of(lambda measured: [measured.low, measured.high]),
        "controls": of(controls_of),
        "plain_r2": of(lambda measured: measured.details.get("r2")),
        "n": of(lambda measured: measured.n),
        "groups": of(lambda measured: measured.groups),
        "p": of(lambda measured: measured.p),
    }


def early_layers(
    subject: Subject,
    layers: Sequence[int],
    operations: Sequence[str] = ("multiply", "add", "subtract"),
    digits: Sequence[int] = range(2, 9),
    *,
    positions: bool = False,
    keep_outliers: bool = False,
    seed: int = 0,
    progress: bool = False,
) -> EarlyLayersResult:
    """Read expressions after some layers: cosines between them, and probes of their operands and results.

    All prompts run once for each position through the model, five untrained models and five lesioned ones of each kind.

    Args:
        subject: the model.
        layers: to read after.
        operations: asked, by name.
        digits: whole numbers that the operands are made of.
        positions: whether to probe every token, not only the last.
        keep_outliers: give raw cosines: not centred, with all dimensions.
        seed: of folds, shuffles and intervals.
        progress: whether to show a bar on standard error.

    Raises:
        ValueError: as `expressions`; or with positions, a tokenizer that joins operands with symbols.
        IndexError: a layer that does not exist.
    """
    problems = expressions(operations, digits)
    texts = list(map(str, problems))
    tokens = encode_all(subject, texts)
    read_at = {LAST: [len(ids) - 1 for ids in tokens]}
    if positions:
        read_at = token_positions(subject, problems, tokens)
    untrained, store = control_models(subject), ActivationStore()
    targets = _targets(problems)
    families = np.array([problem.family for problem in problems])
    with bar(len(read_at) * len(layers) * len(targets), progress) as step:

        def probed(name: str, target: str) -> dict[int, Measurement]:
            labels, kind, control_features = targets[target]
            labelled = ProbeDataset(texts, labels, families, at=read_at[name])
            measurements = probe_layers(
                subject,
                untrained,
                labelled,
                layers,
                kind,
                control_features=control_features,
                store=store,
                seed=seed,
                step=step,
            )
            return {
                layer: replace(measured, details={**measured.details, "position": name})
                for layer, measured in measurements.items()
            }

        by_target = {name: {target: probed(name, target) for target in targets} for name in read_at}
    probes = {
        name: {layer: {target: by[target][layer] for target in targets} for layer in layers}
        for name, by in by_target.items()
    }
    sites = [site_of(layer) for layer in layers]
    states = store.get(subject, tokens, sites, at=read_at[LAST])
    untrained_states = [store.get(model, tokens, sites, at=read_at[LAST]) for model in untrained]
    shown = _shown_pairs(problems)
    first, second = map(list, zip(*shown, strict=True))
    compared = {
        layer: state_cosines(states[site], keep_outliers=keep_outliers)
        for layer, site in zip(layers, sites, strict=True)
    }
    return EarlyLayersResult(
        subject.name,
        tuple(layers),
        tuple(operations),
        tuple(digits),
        len(problems),
        tuple((texts[i], texts[j]) for i, j in shown),
        {layer: tuple(cosines.matrix[first, second].tolist()) for layer, cosines in compared.items()},
        {layer: tuple(cosines.raw[first, second].tolist()) for layer, cosines in compared.items()},
        {layer: cosines.left_out for layer, cosines in compared.items()},
        centred_on(len(problems), keep_outliers),
        {
            layer: (
                mean_cosine(states[site]),
                float(np.mean([mean_cosine(control[site]) for control in untrained_states])),
            )
            for layer, site in zip(layers, sites, strict=True)
        },
        probes[LAST],
        probes if positions else {},
        seed,
    )


def _targets(
    problems: Sequence[Expression],
) -> dict[str, tuple[NDArray[Any], Kind, dict[str, NDArray[Any]]]]:
    """By name: the labels, their kind, and features that the probe is fitted to as a further control."""
    names = [problem.operation for problem in problems]
    numbers = np.array([problem.operands for problem in problems], dtype=float)
    answers = np.array([problem.answer for problem in problems], dtype=float)
    targets: dict[str, tuple[NDArray[Any], Kind, dict[str, NDArray[Any]]]] = {}
    if len(set(names)) > 1:
        targets["op"] = (np.array(names), "classification", {})
    return targets | {
        "a": (numbers[:, 0], "regression", {}),
        "b": (numbers[:, 1], "regression", {}),
        "answer": (answers, "regression", {"operands": _linear(names, numbers)}),
    }


def _linear(names: Sequence[str], numbers: NDArray[Any]) -> NDArray[Any]:
    """Features (N, 3 x operations) that let a probe be linear in the operands within each operation."""
    rows = np.concatenate([np.ones((len(numbers), 1)), numbers], axis=1)
    return np.concatenate(
        [rows * (np.array(names) == name)[:, None] for name in dict.fromkeys(names)], axis=1
    )


def _shown_pairs(problems: Sequence[Expression]) -> list[tuple[int, int]]:
    """Pairs of expressions to show: those of the first and the last two numbers, in every operation."""
    ordered = [(row, problem.family) for row, problem in enumerate(problems) if problem.a < problem.b]
    families = (ordered[0][1], ordered[-1][1])
    return list(combinations([row for row, family in ordered if family in families], 2))
