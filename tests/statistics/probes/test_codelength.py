from __future__ import annotations

import sys
from itertools import pairwise
from math import log2

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from lazarus_probe.statistics.probes.codelength import STEPS, STRENGTHS, codelength


def labelled(rng, gap, classes=3, groups=48, rows=4, width=10):
    index = np.repeat(np.arange(groups), rows)
    labels = rng.permutation(np.arange(groups) % classes)[index]
    features = rng.normal(size=(len(index), width)) + gap * rng.normal(size=(classes, width))[labels]
    return features, labels, index


def test_the_code_is_that_of_refitting_with_scikit_learn(monkeypatch):
    """Each block costs what scikit-learn, fitted on the blocks before, gives its labels; the penalty costs extra."""
    features, labels, groups = labelled(np.random.default_rng(0), 0.6)
    order = np.random.default_rng(3).permutation(48)
    sizes = [0, *(round(48 * share) for share in STEPS)]
    blocks = [np.flatnonzero(np.isin(groups, order[a:b])) for a, b in pairwise(sizes)]
    bits = np.full(len(STRENGTHS), len(blocks[0]) * log2(3) + log2(len(STRENGTHS)))
    for i, strength in enumerate(STRENGTHS):
        for j, block in enumerate(blocks[1:], 1):
            sent = np.concatenate(blocks[:j])
            scaler, known = StandardScaler().fit(features[sent]), np.unique(labels[sent])
            given = np.zeros((len(block), 3))
            if len(known) > 1:
                model = LogisticRegression(C=strength, tol=1e-8, max_iter=5000)
                model.fit(scaler.transform(features[sent]), labels[sent])
                given[:, known] = model.predict_proba(scaler.transform(features[block]))
            else:
                given[:, known] = 1
            told = (len(sent) * given[np.arange(len(block)), labels[block]] + 1) / (len(sent) + 3)
            bits[i] -= np.log2(told).sum()
    found = codelength(features, labels, groups, seed=3)
    assert found.bits == pytest.approx(bits.min(), rel=0.03)  # its fits stop early
    monkeypatch.setattr(sys.modules["lazarus_probe.statistics.probes.codelength"], "TOLERANCE", 1e-7)
    assert codelength(features, labels, groups, seed=3).bits == pytest.approx(bits.min(), rel=1e-3)
    assert found.uniform == pytest.approx(192 * log2(3))
    assert found.compression == pytest.approx(found.uniform / found.bits)


def test_noise_is_not_compressed():
    """On features that know nothing, also where they tell groups apart, the labels cost the uniform code or more."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        _, labels, groups = labelled(rng, 0.0)
        features = rng.normal(size=(48, 10))[groups] + 0.1 * rng.normal(size=(192, 10))
        assert codelength(features, labels, groups).compression < 1.05


def test_what_is_easier_to_read_costs_less():
    """The plainer the classes are stated, the shorter the code, though the accuracy is 1 throughout."""
    bits = []
    for gap in (1.5, 3.0, 12.0):
        features, labels, groups = labelled(np.random.default_rng(2), gap)
        bits.append(codelength(features, labels, groups).bits)
    assert bits[0] > bits[1] > bits[2]
    assert bits[2] < 0.35 * 192 * log2(3)


def test_a_class_met_late_can_still_be_sent():
    """A class that the first blocks lack costs bits, and not infinitely many."""
    groups, labels = np.repeat(np.arange(20), 2), np.repeat(np.arange(20) >= 18, 2).astype(int)
    found = codelength(np.random.default_rng(3).normal(size=(40, 3)), labels, groups)
    assert np.isfinite(found.bits)
    assert found.bits > 0


def test_a_code_without_groups_is_refused():
    """As with every probe, rows without groups raise."""
    with pytest.raises(ValueError, match="no groups is refused"):
        codelength(np.zeros((4, 2)), [0, 1, 0, 1], None)
