"""The geometry of collected activations: principal components, UMAP, and probes of labels and categories."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.circuit.activations import Collected
from lazarus_probe.circuit.layer_probes import LayerProbe, judged_probes
from lazarus_probe.claims.judging import beyond_largest_class
from lazarus_probe.introspection.probing.inputs import ProbeDataset, ProbeInputs
from lazarus_probe.introspection.probing.layer_scan import Scan
from lazarus_probe.statistics.controls import bag_of_tokens
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.probes.linear import standardise
from lazarus_probe.tables import Column, Table

CLAIM = "collected-label-readable"
COMPONENTS = 50
WORD = re.compile(r"\w+|[^\w\s]")
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of standardised activations.

    Attributes:
        layer: from 0.
        points: (N, K) the prompts along the first K components, K at most 50.
        shares: (min(N - 1, D),) the share of the variance of every component, the largest first.
    """

    layer: int
    points: Floats
    shares: Floats

    def dims(self, share: float) -> int:
        """How many components hold at least this share of the variance."""
        return int(np.searchsorted(np.cumsum(self.shares), share - 1e-12) + 1)

    def as_data(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "layer": self.layer,
            "n_components": self.points.shape[1],
            "variance_1": float(self.shares[0]),
            "variance_10": float(self.shares[:10].sum()),
            "dim_90": self.dims(0.9),
            "dim_95": self.dims(0.95),
        }


@dataclass(frozen=True)
class Probed:
    """A property probed at the layers, or why it was not.

    Attributes:
        name: `binary` or `category`.
        layers: by layer.
        missing: why there are none.
    """

    name: str
    layers: Mapping[int, LayerProbe]
    missing: str = ""

    def as_data(self, layer: int) -> dict[str, Any] | None:
        """Plain data of a layer; None where there is none."""
        if layer not in self.layers:
            return None
        return {"layer": layer, "probe_type": self.name, **self.layers[layer].as_data(), "claim": CLAIM}

    @property
    def table(self) -> Table:
        """A row for each layer; none where nothing was probed."""
        names = [control.name for control in next(iter(self.layers.values())).controls] if self.layers else []
        columns = [
            Column("layer", width=6),
            Column("held out", ".2f", 9),
            Column("interval", width=14),
            Column("in sample", ".2f", 10),
            *(Column(name, ".2f", max(10, len(name) + 1)) for name in names),
            Column("p", ".3f"),
        ]
        rows = [
            (
                f"L{layer}",
                probe.accuracy,
                str(Interval(probe.low, probe.high)),
                probe.train_accuracy,
                *(control.score for control in probe.controls),
                probe.p,
            )
            for layer, probe in self.layers.items()
        ]
        return Table(columns, rows, f"{self.name} probe")


@dataclass(frozen=True, eq=False)
class Geometry:
    """The result of `circuit analyze`.

    Attributes:
        model_id: the model.
        components: by layer.
        binary: the probes of the labels.
        category: the probes of the categories.
        maps: by layer, the (N, 2) UMAP layout, if requested.
    """

    model_id: str
    components: Mapping[int, Components]
    binary: Probed
    category: Probed
    maps: Mapping[int, Floats]

    def as_data(self) -> dict[str, Any]:
        """Plain data, with the published keys first."""
        layers = {
            str(layer): {
                "layer": layer,
                "pca": principal.as_data(),
                "binary_probe": self.binary.as_data(layer),
                "category_probe": self.category.as_data(layer),
                **({"umap": self.maps[layer].tolist()} if layer in self.maps else {}),
            }
            for layer, principal in self.components.items()
        }
        missing = {probed.name: probed.missing for probed in (self.binary, self.category) if probed.missing}
        return {"model_id": self.model_id, "layers": layers, "not_probed": missing}

    @property
    def table(self) -> Table:
        """The principal components of each layer."""
        columns = [
            Column("layer", width=6),
            Column("PC 1", ".3f", 7),
            Column("PC 1-10", ".3f", 8),
            Column("dims for 90%", width=13),
            Column("for 95%"),
        ]
        rows = [
            (f"L{layer}", parts.shares[0], parts.shares[:10].sum(), parts.dims(0.9), parts.dims(0.95))
            for layer, parts in self.components.items()
        ]
        return Table(columns, rows, f"Geometry: {self.model_id}")

    def _repr_html_(self) -> str:
        probed = [probed.table for probed in (self.binary, self.category) if probed.layers]
        return "".join(table.html() for table in (self.table, *probed))


def analyse(
    collected: Collected,
    layers: Sequence[int] | None = None,
    *,
    umap: bool = False,
    draws: int | None = None,
    seed: int = 0,
) -> Geometry:
    """Principal components, and probes of labels and categories with their controls.

    The probes are scored on held-out templates. Their controls: the majority class, a bag of the prompts' words,
    shuffled labels. An untrained model is not among them: the file holds one model's activations.

    Args:
        collected: the activations.
        layers: which; all that were collected, if left out.
        umap: whether to compute a UMAP layout of the prompts as well.
        draws: shuffles of the labels, 1000 if left out.
        seed: of folds, shuffles, intervals and UMAP.

    Raises:
        ValueError: a layer that was not collected, or UMAP is not installed.
    """
    wanted = collected.layer_or_all(layers)
    prompts = collected.prompts
    return Geometry(
        collected.model_id,
        {layer: components(collected.hidden[layer], layer) for layer in wanted},
        _probed("binary", collected, prompts.labels, wanted, draws, seed),
        _probed("category", collected, prompts.categories, wanted, draws, seed),
        {layer: umap_points(collected.hidden[layer], seed) for layer in wanted} if umap else {},
    )


def components(features: NDArray[Any], layer: int = 0) -> Components:
    """The principal components of activations (N, D), each dimension standardised.

    Standardised, since a residual stream has a few dimensions far larger than the others, which would be the first
    components of any prompts.

    Raises:
        ValueError: fewer than three prompts, or activations that are all the same.
    """
    if len(features) < 3:
        raise ValueError(f"{len(features)} prompts have no principal components; collect at least 3")
    rows = standardise(features.astype(np.float64), features.astype(np.float64))[0]
    if not rows.any():
        raise ValueError(f"layer {layer} is the same for all {len(rows)} prompts: it has no components")
    left, lengths, _ = np.linalg.svd(rows, full_matrices=False)
    count = min(len(rows) - 1, rows.shape[1])
    shares = lengths[:count] ** 2 / (lengths**2).sum()
    most = min(COMPONENTS, count)
    return Components(layer, left[:, :most] * lengths[:most], shares)


def umap_points(features: NDArray[Any], seed: int = 0) -> Floats:
    """(N, 2) a UMAP layout of standardised activations (McInnes et al. 2018, arXiv:1802.03426).

    Raises:
        ValueError: umap-learn is not installed, or there are too few prompts.
    """
    check_umap()
    if len(features) < 5:
        raise ValueError(f"{len(features)} prompts are too few for UMAP; collect at least 5")
    import warnings
    from importlib import import_module

    rows = standardise(features.astype(np.float64), features.astype(np.float64))[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed rules out threads
        umap = import_module("umap").UMAP(n_neighbors=min(15, len(rows) - 1), random_state=seed)
        layout = umap.fit_transform(rows)
    return np.asarray(layout, dtype=np.float64)


def check_umap() -> None:
    """Refuse where umap-learn is not installed.

    Raises:
        ValueError: it is not.
    """
    from importlib.util import find_spec

    try:
        spec = find_spec("umap")
    except ValueError:  # taken out of what can be imported
        spec = None
    if spec is None or spec.origin is None:  # a folder of that name is no package
        raise ValueError("UMAP needs umap-learn, which is not installed: pip install 'lazarus_probe[umap]'")


def bag_of_words(texts: Sequence[str]) -> Floats:
    """(N, V) how often each word and mark occurs in each text: what a probe could know without a model."""
    split = [WORD.findall(text) for text in texts]
    numbers = {word: i for i, word in enumerate(sorted({word for words in split for word in words}))}
    if not numbers:
        return np.zeros((len(texts), 1))
    return bag_of_tokens([[numbers[word] for word in words] for words in split])


def rows_with(collected: Collected, values: Sequence[Any]) -> NDArray[np.intp]:
    """The prompts that have a value and a group."""
    pairs = zip(values, collected.prompts.groups, strict=True)
    return np.array(
        [i for i, (value, group) in enumerate(pairs) if value is not None and group is not None],
        dtype=np.intp,
    )


def _probed(
    name: str,
    collected: Collected,
    values: Sequence[Any],
    layers: Sequence[int],
    draws: int | None,
    seed: int,
) -> Probed:
    thing = "label" if name == "binary" else "category"
    if all(value is None for value in values):
        return Probed(name, {}, f"no prompt has a {thing}")
    if all(group is None for group in collected.prompts.groups):
        return Probed(name, {}, "no prompt has a group: a probe is scored on held-out templates")
    rows = rows_with(collected, values)
    texts, labels = [collected.prompts.texts[i] for i in rows], [str(values[i]) for i in rows]
    dataset = ProbeDataset(texts, labels, [str(collected.prompts.groups[i]) for i in rows])
    bag = {"bag_of_words": bag_of_words(texts)}
    no_tokens: list[list[int]] = [[]] * len(rows)  # a file of activations has words, not token ids
    inputs = {
        layer: ProbeInputs(dataset, no_tokens, texts, collected.hidden[layer][rows], bag) for layer in layers
    }
    try:
        scan = Scan(inputs, seed=seed, draws=draws, keep_blocks=True)
        return Probed(name, judged_probes(scan, beyond_largest_class(CLAIM, labels)))
    except ValueError as error:
        return Probed(name, {}, str(error))
