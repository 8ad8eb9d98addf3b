"""Sources of the values that a sweep patches in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import Anatomy
from lazarus_probe.hooks.model_sites import resolve
from lazarus_probe.hooks.sites import Site
from lazarus_probe.subject import finite
from lazarus_probe.subject.batches import Prompt

# `interventions` has functions of the same meanings. An intervention is of one site and one run; a source has a value
# for whichever site, position and prompt a cell names, since rows of many cells run in one batch.


@dataclass(frozen=True)
class Zero:
    """Zeros. Zero is seldom a value the model meets: report `Mean` or `Resample` first.

    Example:
        >>> from lazarus_probe.sites import head_out
        >>> from lazarus_probe.sweep import Zero, kl, sweep
        >>> heads = [head_out(0, head) for head in range(4)]
        >>> result = sweep(subject, ["7*8="], heads, sources={"zero": Zero()}, metrics=[kl()], positions="all")
        >>> result.values["kl"].shape  # (prompts, sources, sites, positions)
        (1, 1, 4, 1)
    """


@dataclass(frozen=True, eq=False)
class Mean:
    """A fixed value for each site, usually its mean over reference prompts.

    Attributes:
        values: by site, the site's value at one position: (D,), (F,) for neurons, (H, Dh) for all heads. Heads of a
            sweep find theirs also in the value of all heads.

    Example:
        >>> from lazarus_probe import collect
        >>> from lazarus_probe.sites import mlp_out
        >>> from lazarus_probe.sweep import Mean, kl, sweep
        >>> sites = [mlp_out(layer) for layer in range(subject.num_layers)]
        >>> reference = collect(subject, ["The cat saw the ball.", "7*8=", "12+30="], sites)
        >>> means = Mean({site: rows.mean(axis=0) for site, rows in reference.items()})
        >>> result = sweep(subject, ["6*9="], sites, sources={"mean": means}, metrics=[kl()], positions="all")
        >>> result.grid("kl").shape
        (8, 1)
    """

    values: Mapping[Site | str, Any]


@dataclass(frozen=True, eq=False)
class Resample:
    """Values drawn from reference rows, as in causal scrubbing: one row for every prompt, site and position.

    Attributes:
        values: by site, rows (N, ...) of what `Mean` holds one of.
        seed: of the draws, which do not depend on how the sweep is batched.

    Example:
        >>> from lazarus_probe import collect
        >>> from lazarus_probe.sites import mlp_out
        >>> from lazarus_probe.sweep import Resample, kl, sweep
        >>> sites = [mlp_out(layer) for layer in range(subject.num_layers)]
        >>> reference = collect(subject, ["The cat saw the ball.", "7*8=", "12+30="], sites)
        >>> sources = {"resample": Resample(reference, seed=0)}
        >>> result = sweep(subject, ["6*9="], sites, sources=sources, metrics=[kl()], positions="last")
        >>> result.grid("kl").shape
        (8, 1)
    """

    values: Mapping[Site | str, Any]
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Donors:
    """Values that the sites have on other prompts: activation patching.

    Attributes:
        prompts: one for each target. With positions "all", the values at the positions of the prompt are replaced, and
            those at generated ones are left alone.
        equal_lengths: refuse a prompt that has not as many tokens as its target. Otherwise a position counts in either
            prompt by itself: from its start, or if negative, or "last", from its end. A cell whose position one of the
            two does not have is NaN. Positions "all" and the sites `scores` and `pattern` need equal lengths.

    Example:
        >>> from lazarus_probe.sweep import Donors, answer, sweep
        >>> sources = {"product": Donors(["7*8="]), "difference": Donors(["7-8="])}
        >>> result = sweep(subject, ["7+8="], ["resid_post.5"], sources=sources, metrics=[answer(4)], positions="last")
        >>> result.at("answer", prompt=0, source="product", position="last").tolist()
        ['56']
    """

    prompts: Sequence[Prompt]
    equal_lengths: bool = True


Source = Zero | Mean | Resample | Donors


@dataclass(frozen=True, eq=False)
class SiteValues:
    """Values (B, L, ...) of a site in a recorded run, of the positions from `start` on."""

    values: mx.array
    start: int = 0


@dataclass(frozen=True, eq=False)
class Values:
    """A source bound to a batch of prompts.

    Attributes:
        source: what was given.
        tables: by site, the values or the rows that `Mean` and `Resample` hold.
        prompts: (B,) which prompts of the sweep the batch holds; draws depend on it.
        donors: by site without its head, what was recorded on the donors.
        length: of the prompts, in tokens.
        blend: share of the source's value in what is put in; the rest is the run's own.
    """

    source: Source
    tables: Mapping[Site, mx.array]
    prompts: NDArray[np.intp]
    length: int
    donors: Mapping[Site, SiteValues] = field(default_factory=dict)
    blend: float = 1.0

    def until(self, end: int) -> int:
        """Up to where there are values in a sequence of `end` positions: donors have none for what is generated."""
        return min(end, self.length) if isinstance(self.source, Donors) else end

    def at(self, site: Site, rows: NDArray[np.intp], positions: NDArray[np.intp]) -> mx.array:
        """Values (*positions.shape, ...), or what broadcasts to them, for prompts `rows` of the batch.

        Positions are those of the donors, where there are donors.
        """
        if isinstance(self.source, Zero):
            return mx.array(0.0)
        if isinstance(self.source, Mean):
            return self.tables[site]
        rows = rows.reshape(-1, *[1] * (positions.ndim - 1))
        if isinstance(self.source, Resample):
            table = self.tables[site]
            return table[indices(self._draw(site, rows, positions, table.shape[0]))]
        recorded = self.donors[Site(site.kind, site.layer)]
        at = (indices(rows), indices(positions - recorded.start))
        return recorded.values[at] if site.head is None else recorded.values[(*at, site.head)]

    def _draw(
        self, site: Site, rows: NDArray[np.intp], positions: NDArray[np.intp], count: int
    ) -> NDArray[np.intp]:
        mixed: Any = np.uint64(getattr(self.source, "seed", 0) % 2**64)
        for part in (hash_of(str(site)), self.prompts[rows].astype(np.uint64), positions.astype(np.uint64)):
            mixed = _mixed(mixed ^ part)
        return np.asarray(mixed % np.uint64(count), dtype=np.intp)


def tables(source: Source, name: str, sites: Sequence[Site], anatomy: Anatomy) -> dict[Site, mx.array]:
    """The values of a `Mean`, or the rows of a `Resample`, for every site of a sweep.

    Raises:
        ValueError: a site has none.
    """
    if not isinstance(source, Mean | Resample):
        return {}
    values = {resolve(site, anatomy): value for site, value in source.values.items()}
    return {site: _table(values, site, name, isinstance(source, Resample)) for site in sites}


def _table(values: Mapping[Site, Any], site: Site, name: str, rows: bool) -> mx.array:
    all_heads = Site(site.kind, site.layer)
    if site not in values and all_heads not in values:
        raise ValueError(f"source {name!r} has no value for {site}; give one for every site of the sweep")
    value = mx.array(values.get(site, values.get(all_heads)))
    if rows and (value.ndim == 0 or value.shape[0] == 0):
        raise ValueError(f"source {name!r} has no rows for {site}; give an array (N, ...)")
    if site not in values:
        value = value[:, site.head] if rows else value[site.head]
    return finite.whole(value, site.kind)


def hash_of(text: str) -> np.uint64:
    """A number for a text that is the same in every process."""
    import hashlib

    return np.uint64(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big"))


def _mixed(number: Any) -> Any:
    # The finaliser of splitmix64 (Steele et al. 2014): neighbouring inputs give unrelated outputs.
    with np.errstate(over="ignore"):
        number = number + np.uint64(0x9E3779B97F4A7C15)
        number = (number ^ (number >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        number = (number ^ (number >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return number ^ (number >> np.uint64(31))


def indices(numbers: NDArray[np.intp]) -> mx.array:
    """Numbers with which mlx can index."""
    return mx.array(numbers.astype(np.int32))
