"""Do prompts of one kind lie closer to each other than to those of another kind?

Cosines are high or low by the architecture, by words in common and by a common mean; so what counts is the difference
between cosines within a kind and across, compared with untrained models, counts of tokens and shuffled
kinds. Prompts of one template are never compared with each other.

These cosines are raw, as they were published: of token embeddings, which have neither massive activations nor outlier
dimensions (of SmolLM2 .65 and .51 within kinds and .40 across), so that centring is not needed to tell kinds apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.statistics.controls import bag_of_tokens
from lazarus_probe.statistics.cosines import unit_rows
from lazarus_probe.statistics.measurement import Grid, Measurement, some_examples
from lazarus_probe.statistics.permutation import permutation_p
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.batches import encode_all
from lazarus_probe.subject.control_models import ControlModels, checked_models

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

DRAWS = 1000


@dataclass(frozen=True)
class Clusters:
    """The mean cosine within each label, between every two labels, and the difference of these two means.

    None where undefined: a label of one row has no cosine within, and without any there is no separation.
    """

    within: dict[str, float | None]
    between: dict[str, float]
    separation: float | None


def cosine_by_template(
    values: ArrayLike, templates: ArrayLike
) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
    """The mean cosine between the rows (N, D) of every two templates: their names (T,) and a table (T, T).

    Raises:
        ValueError: a row of zeros.
    """
    units, of_row = unit_rows(values), np.asarray(templates)
    names = np.unique(of_row)
    means = np.stack([units[of_row == name].mean(axis=0) for name in names])
    return names, means @ means.T


def mean_cosines(
    table: NDArray[np.float64], labels: NDArray[np.str_], names: Sequence[str]
) -> NDArray[np.float64]:
    """(K, K) the mean cosine (N, N) of different rows of every two labels; NaN of a label of one row with itself."""
    different = ~np.eye(len(table), dtype=bool)
    means = np.full((len(names), len(names)), np.nan)
    for i, j in np.ndindex(means.shape):
        block = np.ix_(labels == names[i], labels == names[j])
        if different[block].any():
            means[i, j] = table[block][different[block]].mean()
    return means


def clusters(table: NDArray[np.float64], labels: ArrayLike) -> Clusters:
    """Mean cosines (N, N) within and between labels (N,), in the order in which labels first occur."""
    groups = np.asarray(labels, dtype=np.str_)
    names = list(dict.fromkeys(groups.tolist()))
    means = mean_cosines(table, groups, names)
    within = means.diagonal()
    between = {f"{names[i]}_{names[j]}": float(means[i, j]) for i, j in combinations(range(len(names)), 2)}
    apart = None
    if between and not np.isnan(within).all():
        apart = float(np.nanmean(within) - np.mean(list(between.values())))
    return Clusters(
        {name: None if np.isnan(mean) else float(mean) for name, mean in zip(names, within, strict=True)},
        between,
        apart,
    )


def separation(table: NDArray[np.float64], kinds: ArrayLike) -> NDArray[np.float64]:
    """(..., N) of each row, its mean cosine with others of its kind minus that with the other kinds.

    Args:
        table: (..., N, N) cosines of rows, or of templates; such as those of several layers.
        kinds: (N,) the kind of each row.

    Raises:
        ValueError: a kind of fewer than two rows, or a single kind.
    """
    labels = np.asarray(kinds)
    _, counts = np.unique(labels, return_counts=True)
    if len(counts) < 2 or counts.min() < 2:
        raise ValueError(
            f"{len(counts)} kinds of at least {counts.min()} templates: give two kinds of two each"
        )
    same = (labels[:, None] == labels).astype(np.float64)
    different = 1 - same
    np.fill_diagonal(same, 0)
    within = (table * same).sum(axis=-1) / same.sum(axis=-1)
    return np.asarray(within - (table * different).sum(axis=-1) / different.sum(axis=-1))


def similarity(
    subject: Subject,
    untrained: ControlModels,
    prompts: Sequence[str],
    kinds: Sequence[str],
    templates: Sequence[str],
    site: Site,
    *,
    store: ActivationStore | None = None,
    seed: int = 0,
) -> Measurement:
    """The mean cosine of prompts with others of their kind minus that with prompts of other kinds.

    States are means over positions. The independent unit is the template. Controls: `untrained`, `bag_of_tokens`, and
    `shuffled_labels`, the mean over templates dealt to kinds at random, which p is of as well.

    Args:
        subject: the model.
        untrained: at least three untrained models of the same architecture.
        prompts: N texts.
        kinds: (N,) the kind of each.
        templates: (N,) the template of each; all prompts of one are of one kind.
        site: where states are read.
        store: activations shared with other claims.
        seed: of shuffles and intervals.

    Raises:
        ValueError: as `separation` and `checked_models`, or a template of two kinds.
    """
    store = ActivationStore() if store is None else store
    tokens = encode_all(subject, prompts)
    states = [
        store.get(model, prompts, [site], at="mean")[site]
        for model in (subject, *checked_models(subject, untrained))
    ]
    tables = [cosine_by_template(values, templates) for values in (*states, bag_of_tokens(tokens))]
    names, table = tables[0]
    kind_of = dict(zip(templates, kinds, strict=True))
    if len({*zip(templates, kinds, strict=True)}) > len(kind_of):
        raise ValueError("a template has prompts of two kinds: name its templates by kind")
    labels = np.array([kind_of[name] for name in names.tolist()])
    score, *of_untrained, of_bag = (np.clip(separation(cosines, labels), -1, 1) for _, cosines in tables)
    named_kinds = sorted(set(labels.tolist()))
    means = mean_cosines(table, labels, named_kinds)
    levels = {
        f"{named_kinds[i]} and {named_kinds[j]}": float(means[i, j])
        for i, j in combinations_with_replacement(range(len(named_kinds)), 2)
    }
    rng = np.random.default_rng(seed)
    null = np.stack([separation(table, rng.permutation(labels)) for _ in range(DRAWS)])
    return rate(
        "cosine within a kind minus across",
        score,
        names,
        {
            "untrained": np.stack(of_untrained),
            "bag_of_tokens": of_bag,
            "shuffled_labels": np.clip(null.mean(axis=0), -1, 1),
        },
        bound=2,
        seed=seed,
        p=permutation_p(float(score.mean()), null.mean(axis=1)),
        details={"site": str(site), **levels},
        tokens=sum(map(len, tokens)),
        examples=some_examples(
            [prompts[list(templates).index(name)] for name in names.tolist()],
            labels.tolist(),
            [f"{value:.2f}" for value in score],
            score > 0,
        ),
        grids=(Grid("mean cosine", *(tuple(named_kinds),) * 2, tuple(map(tuple, means.tolist()))),),
    )
