from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lazarus_probe.statistics.multiplicity import benjamini_hochberg


def test_q_agrees_with_scipy():
    """Over a complete family q is scipy's false discovery correction."""
    p = np.random.default_rng(0).uniform(size=30) ** 2
    family = [f"claim{i}" for i in range(30)]
    adjusted = benjamini_hochberg(dict(zip(family, p, strict=True)), family)
    assert list(adjusted.q) == family
    assert list(adjusted.q.values()) == pytest.approx(stats.false_discovery_control(p))
    assert adjusted.missing == ()


def test_deselecting_tests_does_not_lower_q():
    """A test run alone has the q it would have beside members that found nothing, and they are named."""
    family = ["gate", "lens", "heads", "probe"]
    alone = benjamini_hochberg({"gate": 0.03}, family)
    with_none = benjamini_hochberg({"gate": 0.03, "lens": None}, family)
    assert alone.q["gate"] == with_none.q["gate"] == pytest.approx(0.12)
    assert alone.missing == with_none.missing == ("lens", "heads", "probe")
    assert benjamini_hochberg({"gate": 0.03}, ["gate"]).q["gate"] == 0.03


def test_false_findings_are_controlled():
    """Of 80 nulls and 20 effects, the share of false findings is at most alpha, where raw p gives more."""
    rng = np.random.default_rng(1)
    family = [str(i) for i in range(100)]
    shares, raw = [], []
    for _ in range(100):
        p = stats.norm.sf(rng.normal(size=100) + np.where(np.arange(100) < 20, 3.5, 0))
        q = np.array(list(benjamini_hochberg(dict(zip(family, p, strict=True)), family).q.values()))
        found = q <= 0.05
        shares.append(found[20:].sum() / max(1, found.sum()))
        raw.append((p[20:] <= 0.05).sum())
    assert np.mean(shares) < 0.06
    assert np.mean(raw) > 3


def test_families_are_checked():
    """Strangers, repetitions, empty families and numbers that are no p value raise."""
    with pytest.raises(ValueError, match="'new' is not in the declared family"):
        benjamini_hochberg({"new": 0.1}, ["old"])
    with pytest.raises(ValueError, match="each once"):
        benjamini_hochberg({}, ["a", "a"])
    with pytest.raises(ValueError, match="at least one claim"):
        benjamini_hochberg({}, [])
    with pytest.raises(ValueError, match="p of 'a' is nan"):
        benjamini_hochberg({"a": float("nan")}, ["a"])
