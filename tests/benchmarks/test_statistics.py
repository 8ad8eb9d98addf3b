"""What the statistics of a probe cost, in processor time of one thread.

Run with `pytest tests/benchmarks/test_statistics.py`; it is part of `make bench`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from lazarus_probe.introspection.probing.probe import ProbeDataset, ProbeInputs, measure
from lazarus_probe.statistics.controls import bag_of_tokens
from lazarus_probe.statistics.folds import grouped_folds
from lazarus_probe.statistics.null import permutation_null
from lazarus_probe.statistics.probes.out_of_fold import STRENGTHS

LAYERS, PROMPTS, WIDTH, CLASSES, TYPES = 8, 400, 256, 4, 40
CONTROLS = {"majority", "bag_of_tokens", "token_embeddings", "untrained", "shuffled_labels", "control_task"}


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one run, on one thread."""
    with threadpool_limits(1, "blas"):
        start = time.process_time()
        work()
        return time.process_time() - start


def claim(seed: int = 0) -> list[ProbeInputs]:
    """Activations of a claim read at every layer: classes that a token hints at and that layers tell better."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(PROMPTS // 4), 4)
    labels = rng.permutation(groups[::4] % CLASSES)[groups]
    types = np.where(rng.random(PROMPTS) < 0.9, labels + CLASSES * rng.integers(TYPES // CLASSES, size=PROMPTS),
                     rng.integers(TYPES, size=PROMPTS))  # fmt: skip
    others = rng.integers(TYPES, 2 * TYPES, size=(PROMPTS, 6))
    tokens = np.column_stack([others, types])
    labelled = ProbeDataset(tokens.tolist(), labels, groups)
    table = rng.normal(size=(2 * TYPES, WIDTH))
    baselines = {"bag_of_tokens": bag_of_tokens(tokens)}
    classes, inputs = rng.normal(size=(CLASSES, WIDTH)), []
    for layer in range(LAYERS):
        mixed = [rng.normal(size=(WIDTH, WIDTH)) / 16 for _ in "ab"]
        base = (table[types] + table[others].mean(1)) @ mixed[0] + 0.5 * rng.normal(size=(PROMPTS, WIDTH))
        features = table[types] @ mixed[1] + 0.1 * layer * classes[labels] + rng.normal(size=(PROMPTS, WIDTH))
        texts = [""] * PROMPTS
        models = {"untrained": [base + 0.1 * rng.normal(size=base.shape) for _ in range(3)]}
        inputs.append(
            ProbeInputs(labelled, tokens.tolist(), texts, features, baselines, [table[types]], models)
        )
    return inputs


def plain_probe(inputs: ProbeInputs) -> None:
    """The probe of one layer in scikit-learn, its penalty chosen by grouped cross-validation, without any control."""
    dataset, model = inputs.dataset, make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    search = GridSearchCV(model, {"logisticregression__C": list(STRENGTHS)}, cv=StratifiedGroupKFold(3))
    for train, test in grouped_folds(dataset.labels, dataset.groups):
        search.fit(inputs.features[train], dataset.labels[train], groups=dataset.groups[train])
        search.predict(inputs.features[test])


def test_a_thousand_group_permutations(benchmark):
    """1000 group permutations of 240 rows of width 2048 take less than a second."""
    rng = np.random.default_rng(0)
    features, groups = rng.normal(size=(240, 2048)), np.repeat(np.arange(60), 4)
    permutation_null(features, groups % 3, groups, draws=10)
    shuffles = partial(permutation_null, features, groups % 3, groups, draws=1000)
    cost = benchmark.pedantic(seconds, (shuffles,), rounds=1)
    benchmark.extra_info["cpu seconds"] = cost
    assert cost < 1.0


def test_the_statistics_of_a_claim(benchmark):
    """Eight layers with six controls and 1000 permutations each cost less than eight plain probes in scikit-learn.

    The limit is a ratio within one run: seconds change by a factor of two with the machine and its other work. Beyond
    the plain probe a layer takes those of three untrained models, of the control task and of half of the training
    groups, two code lengths and the permutations.
    """
    measurements, costs, plain, seeds = [], [], [], iter(range(9))
    seconds(lambda: measure(claim(9)[0], "classification", 0, {}))

    def once():
        layers = claim(next(seeds))  # new ones, as probes are remembered by their content
        costs.append(
            seconds(lambda: measurements.extend(measure(each, "classification", 0, {}) for each in layers))
        )
        plain.append(LAYERS * seconds(lambda: plain_probe(layers[-1])))

    benchmark.pedantic(once, rounds=3)
    benchmark.extra_info["cpu seconds"] = min(costs)  # other work on the machine only adds
    benchmark.extra_info["plain probes"] = min(costs) / min(plain)
    assert all({control.name for control in each.controls} == CONTROLS for each in measurements)
    assert min(costs) < min(plain)
