"""Models like the subject that lack what training put into them, whole or in the blocks alone.

What an untrained model has too is no matter of training. What a model has too that kept the trained embeddings, and
whose blocks compute nothing that was learnt, is no matter of the layers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args
from zlib import crc32

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten
from numpy.typing import NDArray

from lazarus_probe.anatomy.plain_weights import named_weights, weight_bytes
from lazarus_probe.spelling import one_of
from lazarus_probe.statistics.model_spread import FEWEST
from lazarus_probe.subject.kept_weights import KeptWeights
from lazarus_probe.subject.subject import Subject, arguments

if TYPE_CHECKING:
    import mlx.nn as nn

Lesion = Literal["new_blocks", "permuted_blocks"]
LESIONS: tuple[Lesion, ...] = get_args(Lesion)
COUNT = 5
FIRST_SEED = 1000
ControlKind = Literal["untrained", "new_blocks", "permuted_blocks"]
# Bytes of built models kept for the next prompts; small models take longer to build than to run on a few prompts.
MEMORY = 2**28
# With its size, since counting the bytes of hundreds of kept models takes longer than building another small one.
_BUILT: OrderedDict[tuple[str, int], tuple[Subject, int]] = OrderedDict()
_PERMUTED = KeptWeights()


def lesioned(subject: Subject, lesion: Lesion, seed: int = 0) -> Subject:
    """The model with its own embeddings, final norm and unembedding, and blocks that hold nothing learnt.

    Args:
        subject: the model; adapters are merged and quantised weights read as the numbers that they stand for.
        lesion: `new_blocks` initialises the blocks anew, as `Subject.untrained` does; `permuted_blocks` permutes the
            entries of each weight of a block, so that their distribution is kept.
        seed: of the initialisation, or of the permutations.

    Raises:
        ValueError: an unknown lesion, or a weight that a newly initialised model has no place for.
    """
    return _lesioned(subject, lesion, seed, subject.num_layers)


def _lesioned(subject: Subject, lesion: Lesion, seed: int, layers: int) -> Subject:
    """The same, with only the first blocks permuted: those of later layers are left as they are initialised."""
    if lesion not in LESIONS:
        raise ValueError(f"lesion {lesion!r} is unknown; {one_of(lesion, LESIONS)}")

    def whole() -> nn.Module:
        return _lesioned_model(subject, lesion, seed, layers)

    name = f"{subject.name}-{lesion}-{seed}"
    made = Subject.from_model(whole(), subject.tokenizer, name, subject.config)
    if ranks := subject.anatomy.ranks:
        return made.split(whole, ranks.parallel)
    return dataclasses.replace(made, group=subject.group)


def _lesioned_model(subject: Subject, lesion: Lesion, seed: int, layers: int) -> nn.Module:
    model = subject.fresh_model(seed)
    fresh: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
    loaded = []
    for name, value in _lesioned_weights(subject, lesion, seed, layers):
        if name not in fresh or fresh[name].shape != value.shape:
            shape = tuple(fresh[name].shape) if name in fresh else "none of that name"
            raise ValueError(
                f"{subject.name} cannot be lesioned: its weight {name} is {tuple(value.shape)}, and a newly "
                f"initialised model has {shape}"
            )
        loaded.append((name, value.astype(fresh[name].dtype)))
    model.load_weights(loaded, strict=False)
    return model


def _lesioned_weights(
    subject: Subject, lesion: Lesion, seed: int, layers: int
) -> Iterator[tuple[str, mx.array]]:
    """The weights that are not as initialised."""
    blocks, permuted = _paths(subject, subject.num_layers), _paths(subject, layers)
    fingerprint = subject.fingerprint  # looks at every weight
    for name, shape, read in named_weights(subject.whole() if subject.whole else subject.model):
        if not name.startswith(blocks):
            yield name, read()
        elif lesion == "permuted_blocks" and name.startswith(permuted):
            key = (fingerprint, seed, name)
            words = _PERMUTED.get(key)
            weight = read()
            if words is None:
                # A generator of its own for each weight, so that it is the same however many layers are permuted.
                order = random_order(int(np.prod(shape)), np.random.default_rng((seed, crc32(name.encode()))))
                words = _permuted_words(weight, order)
                _PERMUTED.keep(key, words)
            yield name, mx.array(words).view(weight.dtype)


def random_order(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(count,) a random permutation of 0 to count - 1, by sorting random numbers with the index in their lower bits.

    NumPy sorts 16 bits by radix, and what is almost in order in little more than one pass: the two take 1 to 19 ms of
    weights of SmolLM2 where sorting 64 bits takes 4 to 45 on an AMD processor, whose AVX-512 has no fast way to
    compress, and permuting them was the largest part of what a claim cost.
    """
    bits = max(count - 1, 0).bit_length()
    keys = rng.integers(0, 1 << (63 - bits), count, dtype=np.int64)
    keys <<= bits
    keys |= np.arange(count)
    keys = keys[np.argsort((keys >> 47).astype(np.uint16), kind="stable")]
    keys.sort(kind="stable")
    keys &= (1 << bits) - 1
    return keys


def _permuted_words(weight: mx.array, order: NDArray[np.int64]) -> NDArray[Any]:
    """A weight's entries in another order, gathered by NumPy: mlx takes 14 times as long on a CPU.

    They are whole numbers of the same size, because NumPy has no bfloat16.
    """
    words = np.array(weight.view({2: mx.uint16, 4: mx.uint32}[weight.dtype.size]))
    return words.reshape(-1)[order].reshape(weight.shape)


def _paths(subject: Subject, layers: int) -> tuple[str, ...]:
    """What the names of the first blocks' weights begin with, those of parts that later blocks share too."""
    parts = {id(part) for block in subject.anatomy.blocks[:layers] for part in block.modules()}
    return tuple(f"{path}." for path, module in subject.model.named_modules() if id(module) in parts)


class NotBuiltError(AttributeError):
    """A control model was used as the subject that it becomes once it is built."""


@dataclass(frozen=True, eq=False)
class ControlModel:
    """A model to compare the subject with, built when its values are needed, and known without being built.

    Attributes:
        origin: the subject.
        kind: `untrained`, or how it is lesioned.
        seed: of its random weights.
    """

    origin: Subject
    kind: ControlKind
    seed: int

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"{self.origin.name}-{self.kind}-{self.seed}"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that determines it: architecture and seed, and of a lesioned model the subject's weights."""
        recipe = {
            "architecture": architecture(self.origin),
            "dtype": self.origin.dtype,
            "kind": self.kind,
            "seed": self.seed,
            "weights": None if self.kind == "untrained" else self.origin.fingerprint,
        }
        return hashlib.sha256(json.dumps(recipe, sort_keys=True, default=str).encode()).hexdigest()

    def __getattr__(self, name: str) -> Any:
        """Say where a subject's own names are, which this has only once it is built."""
        raise NotBuiltError(
            f"{self.name} is not built yet and has no {name!r}: use model.build(), which is a Subject"
        )

    def build(self, layers: int | None = None) -> Subject:
        """The model itself; the last ones are kept, as far as they are small.

        Its weights are computed where they are first used.

        Args:
            layers: how many blocks are used, from the first; by default all. Those after them are not lesioned.
        """
        depth = self.origin.num_layers if layers is None else layers
        key = (self.fingerprint, depth if self.kind == "permuted_blocks" else self.origin.num_layers)
        if key in _BUILT:
            _BUILT.move_to_end(key)
            return _BUILT[key][0]
        made = self._built(depth)
        _BUILT[key] = (made, weight_bytes(made.model))
        held = sum(size for _, size in _BUILT.values())
        while held > MEMORY:
            _, (_, size) = _BUILT.popitem(last=False)
            held -= size
        return made

    def _built(self, layers: int) -> Subject:
        if self.kind == "untrained":
            return self.origin.untrained(self.seed)
        return _lesioned(self.origin, self.kind, self.seed, layers)


def built(model: ControlModel | Subject, layers: int | None = None) -> Subject:
    """The model, made if it was not yet, as `ControlModel.build` does."""
    return model.build(layers) if isinstance(model, ControlModel) else model


def architecture(subject: Subject) -> dict[str, Any]:
    """What a model is built from: the module of its code and its arguments, as plain data."""
    return {
        "code": f"{type(subject.model).__module__}.{type(subject.model).__qualname__}",
        **dataclasses.asdict(arguments(subject.model)),
    }


ControlModels = Iterable[ControlModel | Subject]


def untrained_models(subject: Subject, count: int = COUNT) -> Iterator[Subject]:
    """Untrained models of the subject's architecture, each made when its turn comes.

    Example:
        >>> from lazarus_probe.subject import untrained_models
        >>> [model.name for model in untrained_models(subject, count=3)]
        ['organism-untrained-1000', 'organism-untrained-1001', 'organism-untrained-1002']
    """
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        yield subject.untrained(seed)


def control_models(
    subject: Subject, kind: ControlKind = "untrained", count: int = COUNT, first: int = FIRST_SEED
) -> tuple[ControlModel, ...]:
    """Untrained or lesioned models, of the seeds from `first` on, built only where their values are not known yet."""
    return tuple(ControlModel(subject, kind, seed) for seed in range(first, first + count))


def checked_models(subject: Subject, models: ControlModels) -> tuple[ControlModel | Subject, ...]:
    """The untrained models, if a control can be made of them.

    Raises:
        ValueError: one model alone, fewer than three, the same one twice, or one of another architecture.
    """
    right = f"give at least {FEWEST} untrained models, as `untrained_models(subject)` does"
    if isinstance(models, ControlModel | Subject):
        raise ValueError(f"one untrained model, {models.name}, shows no spread between such models; {right}")
    listed = tuple(models)
    if len(listed) < FEWEST:
        raise ValueError(f"{len(listed)} untrained models show no spread between such models; {right}")
    expected = architecture(subject)
    for model in listed:
        actual = architecture(model.origin if isinstance(model, ControlModel) else model)
        if wrong := [name for name in expected if actual.get(name, "absent") != expected[name]]:
            name = wrong[0]
            raise ValueError(
                f"{model.name} is of another architecture than {subject.name}: its {name} is "
                f"{actual.get(name, 'absent')}, not {expected[name]}; {right}"
            )
    if len({model.fingerprint for model in listed}) < len(listed):
        names = ", ".join(model.name for model in listed)
        raise ValueError(f"the untrained models {names} hold one model twice; give each another seed")
    return listed


def faced(subject: Subject, untrained: ControlModels) -> dict[str, tuple[ControlModel | Subject, ...]]:
    """All models that a claim about layers is held against: untrained ones, and as many lesioned ones of each kind.

    Raises:
        ValueError: as `checked_models`.
    """
    models = checked_models(subject, untrained)
    return {
        "untrained": models,
        **{lesion: control_models(subject, lesion, len(models)) for lesion in LESIONS},
    }
