"""Activations by content: computed once, kept in memory and, where requested, on disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import mlx.core as mx
import numpy as np

from lazarus_probe.backend import choose_blas
from lazarus_probe.hooks.activations import Activations, At, collect, plain_at
from lazarus_probe.hooks.entries import Entry, Folder, digest, read_only
from lazarus_probe.hooks.model_sites import resolve
from lazarus_probe.hooks.sites import Site
from lazarus_probe.subject.batches import Prompt, encode_all
from lazarus_probe.subject.control_models import ControlModel, built
from lazarus_probe.subject.fast_gates import VARIABLE as GATES
from lazarus_probe.subject.subject import Subject
from lazarus_probe.taps import is_tapped
from lazarus_probe.versions import version_of
from lazarus_probe.warn import warn

FORMAT = "1"  # to be raised whenever files are laid out otherwise, or a corrected hook gives other values
# What holds MKL and OpenBLAS to the instructions of an older processor.
INSTRUCTIONS = ("MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR", "OPENBLAS_CORETYPE")
MEMORY = 2**30
DISK = 10 * 2**30


class ActivationStore:
    """What `collect` returns, computed once for a content, whoever asks.

    Values are known by all that determines them: the subject's fingerprint, the prompts' token ids, site and
    position, and the versions and the device they are computed with. So the same model loaded twice shares
    them, and another model, or the same one under another mlx-lm or BLAS, does not. A control model is known by its
    recipe, and built only where its values are missing.

    Inside `hooked`, or any other hooks on the model, values are computed as they are there, and neither looked
    up nor kept: an edited run is never taken for the model's own.

    Weights that training or an adapter replaced make another fingerprint; a weight changed in place, such as
    `weight[0] = 1`, is not seen, and the values of the old one come back.

    With a folder, processes share what they keep, and one that needs what another is computing waits for it. Of a model
    that is split over processes, or whose batches are dealt to them, values are kept in memory alone.
    Not thread-safe, as hooks are not.

    Args:
        memory: bytes kept in memory at most, the least recently used dropped first. Larger values are
            returned and not kept.
        folder: where values are kept on disk as well, for other processes and later runs; made if missing.
            One safetensors file a site and pass, with its description as metadata.
        disk: bytes kept in the folder at most, over all models, the least recently used removed first.

    Attributes:
        passes: runs over a set of prompts that this store had to make.
        hits: requested values that were in memory or on disk.
        nbytes: bytes kept in memory now.

    Raises:
        ValueError: a negative size.
        OSError: the folder cannot be made, read or written.

    Example:
        >>> from lazarus_probe.hooks import ActivationStore
        >>> store = ActivationStore(folder="activations")
        >>> first = store.get(subject, ["7*8=", "6*9="], ["resid_post.4"])
        >>> again = store.get(subject, ["7*8=", "6*9="], ["resid_post.4"])
        >>> store.passes, store.hits
        (1, 1)
    """

    def __init__(self, memory: int = MEMORY, folder: str | Path | None = None, disk: int = DISK) -> None:
        for name, size in (("memory", memory), ("disk", disk)):
            if size < 0:
                raise ValueError(f"{name} is {size} bytes; give 0 to keep nothing there, or more")
        self.passes, self.hits, self.nbytes = 0, 0, 0
        self._memory = memory
        self._kept: OrderedDict[str, np.ndarray] = OrderedDict()
        self._folder = None if folder is None else Folder.at(folder, disk)

    def get(
        self,
        subject: Subject | ControlModel,
        prompts: Sequence[Prompt],
        sites: Sequence[Site | str],
        at: At = "last",
    ) -> Activations:
        """What `collect` returns and raises; only the sites not yet kept are computed, in one pass.

        The arrays are shared with the store, and read-only. A file that is damaged, or not what its name says,
        is computed again and replaced, with a warning that names it.
        """
        requested = [Site.parse(site) for site in sites]
        origin = subject.origin if isinstance(subject, ControlModel) else subject
        if not requested or (origin is subject and is_tapped(origin.model)):
            return self._computed(subject, prompts, requested, at)
        encoded = encode_all(origin, prompts)
        content = _content(subject.fingerprint, origin, encoded, at)
        resolved = {site: resolve(site, origin.anatomy) for site in requested}
        entries = {site: Entry({**content, "site": str(site)}) for site in resolved.values()}
        activations = self._remembered(entries)
        missing = {site: entry for site, entry in entries.items() if site not in activations}
        if missing:
            activations |= self._fetched(subject, encoded, missing, at, digest(content))
            self._warn()
        return {site: activations[resolved[site]] for site in requested}

    def get_of_models(
        self,
        requests: Sequence[tuple[Subject | ControlModel, Sequence[Site]]],
        prompts: Sequence[Prompt],
        at: At = "last",
    ) -> list[Activations]:
        """`get` of several models with the sites of each; those that another process computes now come last.

        So two processes that need the same share the passes, where each would wait for the other's.
        """
        activations: dict[int, Activations] = {}
        for waits in (False, True):
            for number, (model, sites) in enumerate(requests):
                if number not in activations and (waits or not self._is_elsewhere(model, prompts, at)):
                    activations[number] = self.get(model, prompts, sites, at)
        return [activations[number] for number in range(len(requests))]

    def _is_elsewhere(self, subject: Subject | ControlModel, prompts: Sequence[Prompt], at: At) -> bool:
        """Whether another process computes values of these prompts."""
        if self._folder is None:
            return False
        origin = subject.origin if isinstance(subject, ControlModel) else subject
        content = _content(subject.fingerprint, origin, encode_all(origin, prompts), at)
        return self._folder.is_locked(subject.fingerprint, digest(content))

    def _computed(
        self, subject: Subject | ControlModel, prompts: Sequence[Prompt], sites: Sequence[Site], at: At
    ) -> Activations:
        activations = collect(built(subject, _depth(sites)), prompts, sites, at)
        self.passes += 1
        return {site: read_only(values) for site, values in activations.items()}

    def _remembered(self, entries: Mapping[Site, Entry]) -> Activations:
        in_memory = {site: entry for site, entry in entries.items() if entry.address in self._kept}
        for entry in in_memory.values():
            self._kept.move_to_end(entry.address)
        self.hits += len(in_memory)
        return {site: self._kept[entry.address] for site, entry in in_memory.items()}

    def _fetched(
        self,
        subject: Subject | ControlModel,
        encoded: Sequence[Prompt],
        missing: Mapping[Site, Entry],
        at: At,
        name: str,
    ) -> Activations:
        """Values from the folder, and from one pass those that are not there."""
        origin = subject.origin if isinstance(subject, ControlModel) else subject
        # Processes of one run have to compute alike, whatever one of them finds on its disk.
        if self._folder is None or origin.anatomy.ranks or origin.group:
            activations = self._computed(subject, encoded, list(missing), at)
        else:
            with self._folder.locked(subject.fingerprint, name):
                activations = self._read(self._folder, missing)
                if rest := [site for site in missing if site not in activations]:
                    new = self._computed(subject, encoded, rest, at)
                    self._folder.write({missing[site]: values for site, values in new.items()})
                    activations |= new
        for site, values in activations.items():
            self._keep(missing[site].address, values)
        return activations

    def _read(self, folder: Folder, entries: Mapping[Site, Entry]) -> Activations:
        read = {site: folder.read(entry) for site, entry in entries.items()}
        on_disk = {site: values for site, values in read.items() if values is not None}
        self.hits += len(on_disk)
        return on_disk

    def _keep(self, address: str, values: np.ndarray) -> None:
        if values.nbytes > self._memory:
            return
        self._kept[address] = values
        self.nbytes += values.nbytes
        while self.nbytes > self._memory:
            self.nbytes -= self._kept.popitem(last=False)[1].nbytes

    def _warn(self) -> None:
        # Only now: where warnings are errors, the damaged file is replaced already and the next run is well.
        while self._folder and self._folder.problems:
            warn(self._folder.problems.pop(0))


def _depth(sites: Sequence[Site]) -> int | None:
    """How many blocks are computed for sites; None for all of them, as for logits."""
    layers = [-1 if site.kind == "embed" else site.layer for site in sites]
    return None if None in layers else 1 + max((layer for layer in layers if layer is not None), default=-1)


def _content(fingerprint: str, subject: Subject, encoded: Sequence[Sequence[int]], at: At) -> dict[str, str]:
    """All that determines a pass; with its site, all that determines an entry."""
    return {
        "format": FORMAT,
        "computed_by": f"{_versions()} on {mx.default_device().type}, {_kernels()}",
        "fingerprint": fingerprint,
        "prompts": digest(encoded),
        "n": str(len(encoded)),
        "at": json.dumps(plain_at(at)),
        "bos": str(getattr(subject.tokenizer, "bos_token_id", None)),  # which a mean leaves out
    }


@cache
def _versions() -> str:
    names = [f"{package} {version_of(package)}" for package in ("mlx", "mlx-lm", "lazarus_probe")]
    return ", ".join([*names, f"code {_code()}"])


def _code() -> str:
    """A digest of what values are computed with here, which changes between two versions that share a number."""
    root = Path(__file__).parents[1]
    text = hashlib.sha256()
    for package in ("adapters", "anatomy", "checkpoints", "hooks", "subject", "taps"):
        for path in sorted((root / package).glob("*.py")):
            text.update(path.name.encode() + path.read_bytes())
    return text.hexdigest()[:16]


def _kernels() -> str:
    """The BLAS, the instructions that it was held to, and whose gates: other kernels round otherwise."""
    held = [f"{name}={os.environ[name]}" for name in (*INSTRUCTIONS, GATES) if name in os.environ]
    return ", ".join([str(choose_blas()), *held])
