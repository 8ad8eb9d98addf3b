"""Faithfulness and its areas against arithmetic by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lazarus_probe.introspection.circuits import faithfulness as module
from lazarus_probe.introspection.circuits.circuit_runs import circuit_values
from lazarus_probe.introspection.circuits.edges.edge_graph import random_edges
from lazarus_probe.introspection.circuits.faithfulness import (
    Baselines,
    baselines,
    faithfulness_curve,
    measure_circuit,
)
from lazarus_probe.organisms import planted
from tests.introspection.circuits.planted_pairs import first_operand_pairs


@pytest.fixture(scope="module")
def pairs():
    return first_operand_pairs(planted.hidden(), count=6)


def test_faithfulness_is_a_ratio_of_means():
    """It is the share of the way from the empty circuit to the model, of means over prompts and not of single ones."""
    full, empty = np.array([10.0, 20.0]), np.array([0.0, -10.0])
    base = Baselines(full, empty, (0, 1), "resample", 0)
    half, whole = base.ratios(np.array([[4.0, 10.0], [6.0, 20.0]]))
    assert base.gap == 20
    assert half.value == pytest.approx((5 - -5) / 20)
    assert (whole.value, whole.interval.low, whole.interval.high) == (1, 1, 1)
    # One prompt is at 4 of 10, the other at 16 of 30: resamples reach from the one to the other.
    assert half.interval.low == pytest.approx(0.4)
    assert half.interval.high == pytest.approx(16 / 30)


def test_areas_are_those_of_trapezoids(pairs, monkeypatch):
    """CPR and CMD are the areas under the lines from (0, 0) to (1, 1), and between them and 1."""
    size = pairs.splitting.graph.size
    base = Baselines(np.ones(6), np.zeros(6), tuple(range(6)), "resample", 0)
    values = np.tile([0.5, 1.5], (6, 1))
    monkeypatch.setattr(module, "circuit_values", lambda *_: values)
    curve = faithfulness_curve(pairs, np.arange(size), base, [size // 2, size // 4])
    first, second = size // 4 / size, size // 2 / size
    assert curve.counts == (size // 4, size // 2)
    assert [point.value for point in curve.points] == pytest.approx([0.5, 1.5])
    wanted = 0.25 * first + 1.0 * (second - first) + 1.25 * (1 - second)
    assert curve.cpr.value == pytest.approx(wanted)
    assert curve.cmd.value == pytest.approx(0.75 * first + 0.5 * (second - first) + 0.25 * (1 - second))
    assert curve.smallest(1.0) == size // 2
    assert curve.smallest(2.0) == size


def test_measures_are_those_of_runs(pairs):
    """Completeness is the rest of the model, and an edge's loss is the circuit less the circuit without it."""
    graph = pairs.splitting.graph
    kept = graph.pruned(random_edges(graph, 200, np.random.default_rng(3)))
    kept[graph.index("embed -> logits")] = True
    base = baselines(pairs)
    found = measure_circuit(pairs, kept, base)
    edge = found.edges[0]
    less = kept & ~graph.flags([edge])
    values = circuit_values(pairs, np.stack([kept, less, ~kept])).mean(axis=0)
    shares = (values - base.empty.mean()) / base.gap
    assert found.faithfulness.value == pytest.approx(shares[0])
    assert found.without.value == pytest.approx(shares[2])
    assert found.losses[0].value == pytest.approx(shares[0] - shares[1], abs=1e-6)
    assert len(found.losses) == kept.sum()


def test_all_edges_are_wholly_faithful_whatever_is_ablated(pairs):
    """The last point of a curve is 1 with a band of no width, for every ablation; it has the shares of MIB."""
    graph = pairs.splitting.graph
    for ablation in ("resample", "mean"):
        curve = faithfulness_curve(pairs, np.arange(graph.size), baselines(pairs, ablation))
        assert curve.counts == tuple(sorted({max(1, round(share * graph.size)) for share in module.SHARES}))
        assert curve.points[-1].value == pytest.approx(1, abs=1e-4)
        assert curve.points[-1].interval.width < 1e-4


def test_what_cannot_be_measured_is_refused_by_name(pairs):
    """No behaviour, one group, too few groups, counts that are not there and an empty circuit are refused."""
    graph, base = pairs.splitting.graph, baselines(pairs)
    some = pairs.of(range(4))
    with pytest.raises(ValueError, match="give prompts on which the model does something else"):
        baselines(replace(some, corrupted=some.clean))
    with pytest.raises(ValueError, match="1 group of pairs; at least 2"):
        baselines(pairs, groups=["a"] * 6)
    with pytest.raises(ValueError, match="5 groups for 6 pairs"):
        baselines(pairs, groups=range(5))
    for count in (0, graph.size + 1):
        with pytest.raises(ValueError, match=f"{count} edges cannot be kept; the model has {graph.size}"):
            faithfulness_curve(pairs, np.arange(graph.size), base, [count])
    with pytest.raises(ValueError, match="the circuit has no edges"):
        measure_circuit(pairs, np.zeros(graph.size, dtype=bool), base)
