"""A change of a model: which one, and how it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten
from numpy.typing import NDArray

from lazarus_probe.anatomy.plain_weights import named_weights
from lazarus_probe.checkpoints.save import save_checkpoint

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Weights = dict[str, mx.array]
Change = tuple[str, str, Callable[[Weights], None]]  # its kind, its place, and what makes it


@dataclass(frozen=True)
class Mutant:
    """A changed model.

    Attributes:
        kind: of the change, as in `head zeroed`.
        place: where in the model, as in `L3H2`; empty for the whole of it.
        harmless: whether the model computes what it did, or a rounding of it.
        change: edits the weights by name; None where they stay.
        environment: variables that its suite runs under.
        arguments: of pytest, for its suite.
    """

    kind: str
    place: str
    harmless: bool
    change: Callable[[Weights], None] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The kind and the place."""
        return f"{self.kind} {self.place}".strip()


def weights_of(subject: Subject) -> Weights:
    """Every weight of a model by name in float32, adapters merged and quantised weights read as what they stand for."""
    return {name: read().astype(mx.float32) for name, _, read in named_weights(subject.model)}


def changed_weights(subject: Subject, mutant: Mutant) -> Weights:
    """The weights of a mutant in the precision of the model.

    Raises:
        ValueError: the change left a weight of another shape, or one that is not finite.
    """
    weights = weights_of(subject)
    before = {name: value.shape for name, value in weights.items()}
    if mutant.change is not None:
        mutant.change(weights)
    for name, value in weights.items():
        if before.get(name) != value.shape:
            raise ValueError(f"{mutant.name}: weight {name} became {value.shape}, it was {before.get(name)}")
        if not mx.isfinite(value).all().item():
            raise ValueError(f"{mutant.name}: weight {name} holds numbers that are not finite")
    dtype = getattr(mx, subject.dtype) if subject.dtype in ("float16", "bfloat16") else mx.float32
    return {name: value.astype(dtype) for name, value in weights.items()}


@contextmanager
def changed(subject: Subject, mutant: Mutant) -> Iterator[None]:
    """The model changed while the block runs; its own weights come back after it.

    Raises:
        ValueError: as `changed_weights`, or a model that is quantised or has an adapter on it.
    """
    own = dict(tree_flatten(subject.model.parameters()))
    weights = changed_weights(subject, mutant)
    if weights.keys() != own.keys():
        raise ValueError(
            f"{subject.name} is quantised or has an adapter: give the checkpoint that it was made from, or one with "
            "the adapter fused into it"
        )
    subject.model.load_weights([*weights.items()])
    try:
        yield
    finally:
        subject.model.load_weights([*own.items()])


def write_mutant(subject: Subject, mutant: Mutant, folder: Path) -> Path:
    """Write a mutant as a checkpoint folder, which any command takes as a model; returns the folder.

    Raises:
        ValueError: as `changed_weights`.
        OSError: it cannot be written.
    """
    weights = changed_weights(subject, mutant)
    return save_checkpoint(folder, weights, subject.config, subject.tokenizer, subject.path)


def random_rotation(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A random orthogonal matrix, uniform over rotations and reflections (Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return np.asarray(q * np.sign(np.diag(r)), dtype=np.float32)
