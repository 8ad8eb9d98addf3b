"""The result of a sweep: labelled arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.files.arrays import read_arrays
from lazarus_probe.files.damage import DAMAGED
from lazarus_probe.files.plain_json import parse_json
from lazarus_probe.files.whole_files import whole_file
from lazarus_probe.hooks.sites import Site
from lazarus_probe.subject.batches import Prompt
from lazarus_probe.sweep.grid import Position

DIMS = ("prompt", "source", "site", "position")
Numbers = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Sweep:
    """Metrics of every cell of a sweep.

    Attributes:
        prompts: the targets; token ids as numbers separated by spaces.
        sources: their names.
        sites: that were patched.
        positions: integers, of which negative ones count from each prompt's end and the others from its start, or
            "last" or "all".
        values: by metric (prompts, sources, sites, positions); NaN, or an empty answer, where a prompt has no such
            position or the cell was not requested.
        baseline: by metric (prompts,), of the unpatched targets.
        donors: by metric (prompts, sources), of the unpatched donors; NaN or empty for sources without prompts.
        routes: by site how it was computed: "suffix", "layers" or "full"; see `routes`.

    Example:
        >>> from lazarus_probe.sweep import Donors, Sweep, logit_diff, sweep
        >>> metric = logit_diff("56", "15")
        >>> sources = {"product": Donors(["7*8="])}
        >>> result = sweep(subject, ["7+8="], ["resid_post.5"], sources=sources, metrics=[metric])
        >>> result.dims
        ('prompt', 'source', 'site', 'position')
        >>> bool(result.normalised("logit_diff")[0, 0, 0, -1] > 0.9)
        True
        >>> result.save("patching.npz")
        >>> Sweep.load("patching.npz").sites == result.sites
        True
    """

    prompts: tuple[str, ...]
    sources: tuple[str, ...]
    sites: tuple[Site, ...]
    positions: tuple[Position, ...]
    values: Mapping[str, Numbers]
    baseline: Mapping[str, Numbers] = field(default_factory=dict)
    donors: Mapping[str, Numbers] = field(default_factory=dict)
    routes: tuple[str, ...] = ()

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the axes."""
        return DIMS

    @property
    def coords(self) -> dict[str, tuple[Any, ...]]:
        """Labels of every axis."""
        labels = (self.prompts, self.sources, self.sites, self.positions)
        return dict(zip(DIMS, labels, strict=True))

    @property
    def route(self) -> str:
        """How the cells were computed, such as "suffix"; several routes are joined by commas."""
        return ", ".join(dict.fromkeys(self.routes))

    def at(
        self,
        metric: str,
        *,
        prompt: int | str | None = None,
        source: str | None = None,
        site: Site | str | None = None,
        position: Position | None = None,
    ) -> Any:
        """A metric's values at labels; an axis without a label is kept. A prompt may be given by its index.

        Raises:
            KeyError: an unknown metric or label.
        """
        labels = (prompt, source, None if site is None else Site.parse(site), position)
        indices = tuple(
            slice(None) if label is None else self._index(axis, label)
            for axis, label in zip(DIMS, labels, strict=True)
        )
        return self._metric(metric)[indices]

    def grid(
        self,
        metric: str,
        source: str | None = None,
        kind: str | None = None,
        prompt: int | None = None,
        head: int | None = None,
    ) -> Numbers:
        """Layers by positions of one kind of site: the mean over prompts that have the position, or one prompt's.

        Args:
            metric: its name; an answer needs a prompt.
            source: its name; may be left out if there is one.
            kind: of the sites, as in "resid_post"; may be left out if there is one.
            prompt: its index.
            head: for sites of single heads.

        Raises:
            KeyError: an unknown metric or label, or one that is needed and not given.
        """
        source = source if source is not None else _only("source", self.sources)
        kind = kind if kind is not None else _only("kind", tuple({site.kind for site in self.sites}))
        rows = [row for row, site in enumerate(self.sites) if (site.kind, site.head) == (kind, head)]
        if not rows:
            raise KeyError(f"no site of kind {kind!r} and head {head}; the sites are {_names(self.sites)}")
        rows.sort(key=lambda row: self.sites[row].layer or 0)
        values = self._metric(metric)[:, self._index("source", source)][:, rows]
        if prompt is not None:
            return np.asarray(values[prompt])
        if values.dtype.kind not in "fiu":
            raise KeyError("answers have no mean; give prompt=")
        return mean_defined(values)

    def normalised(self, metric: str) -> Numbers:
        """(value - baseline) / (donor - baseline): 0 for no effect, 1 where the patch carries the whole difference.

        The array has the shape of `values`; it is NaN for sources without prompts.
        """
        values, base = self._metric(metric), self.baseline[metric][:, None, None, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((values - base) / (self.donors[metric][:, :, None, None] - base))

    def save(self, path: str | Path) -> None:
        """Write one .npz file, whole or not at all and without pickle."""
        labels = {
            "prompts": self.prompts,
            "sources": self.sources,
            "sites": [str(site) for site in self.sites],
            "positions": self.positions,
            "routes": self.routes,
        }
        arrays = {
            f"{part}:{name}": array
            for part in ("values", "baseline", "donors")
            for name, array in getattr(self, part).items()
        }
        with whole_file(Path(path)) as aside, aside.open("wb") as file:
            np.savez_compressed(file, labels=np.array(json.dumps(labels)), **arrays)

    @classmethod
    def load(cls, path: str | Path) -> Sweep:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged, or not a sweep.
        """
        parts: dict[str, dict[str, Numbers]] = {"values": {}, "baseline": {}, "donors": {}}
        try:
            arrays = read_arrays(path)
            labels = parse_json(str(arrays["labels"]))
            for name, array in arrays.items():
                part, _, metric = name.partition(":")
                if metric:
                    parts[part][metric] = array
            labels["sites"] = [Site.parse(site) for site in labels["sites"]]
            fields: dict[str, Any] = {name: tuple(values) for name, values in labels.items()} | parts
            return cls(**fields)
        except FileNotFoundError:
            raise
        except DAMAGED as error:
            raise ValueError(f"{path} is not a saved sweep ({error})") from None

    def _metric(self, name: str) -> Numbers:
        if name not in self.values:
            raise KeyError(f"no metric {name!r}; the metrics are {', '.join(self.values)}")
        return self.values[name]

    def _index(self, axis: str, label: Any) -> int:
        labels = self.coords[axis]
        if axis == "prompt" and isinstance(label, int):
            return range(len(labels))[label]
        if label not in labels:
            raise KeyError(f"no {axis} {str(label)!r}; there are {_names(labels)}")
        return labels.index(label)


def names_of(prompts: Sequence[Prompt]) -> tuple[str, ...]:
    """Labels of prompts: texts as they are, token ids as numbers separated by spaces."""
    return tuple(prompt if isinstance(prompt, str) else " ".join(map(str, prompt)) for prompt in prompts)


def _only(parameter: str, labels: tuple[str, ...]) -> str:
    if len(labels) != 1:
        raise KeyError(f"the sweep has several: give {parameter}=, one of {', '.join(sorted(labels))}")
    return labels[0]


def _names(labels: tuple[Any, ...]) -> str:
    shown = ", ".join(str(label) for label in labels[:8])
    return f"{shown}, ... ({len(labels)} in all)" if len(labels) > 8 else shown


def mean_defined(values: Numbers, axis: int = 0) -> Numbers:
    """The mean along an axis of the values that are not NaN; NaN where there is none."""
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(defined, values, 0).sum(axis=axis) / defined.sum(axis=axis))
