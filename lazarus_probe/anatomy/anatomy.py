"""Where the parts of a model are, read off a run of its own code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from lazarus_probe.anatomy.forward_pass import cache_entries, new_cache
from lazarus_probe.anatomy.observe import BATCH, LENGTH, Call, Observation, observe
from lazarus_probe.anatomy.parts import Parts, is_value, parts_of
from lazarus_probe.anatomy.tensor_parallel import Ranks, split_module
from lazarus_probe.taps import Tap, tapped

# What is read by parts that may be split over processes.
READS = {"o_proj": "head_out", "down_proj": "neurons", "experts": "expert_out"}


class UnsupportedArchitecture(ValueError):  # noqa: N818 - the name says it
    """A model that does not run as a stack of blocks on a residual stream.

    Example:
        >>> import mlx.nn as nn
        >>> from lazarus_probe import Subject
        >>> from lazarus_probe.subject import UnsupportedArchitecture
        >>> try:
        ...     Subject.from_model(nn.Linear(4, 4))
        ... except UnsupportedArchitecture as error:
        ...     print(error)
        Linear has no layers; a language model of mlx-lm has
    """


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The modules that sites refer to, and the sizes of what passes through them.

    Attributes:
        model: the whole model, from token ids to logits.
        blocks: the blocks in the order they run.
        parts: the parts of each block.
        embedding_path: the module that turns token ids into vectors.
        hidden_size: width D of the residual stream.
        vocab_size: width V of the logits.
        stream_axis: the axis of the residual that runs over parallel streams, where the model carries several.
        resid_argument: which argument of a block is the residual, by position or name.
        skippable: whether a block needs nothing of those below it but the residual, so that they can be passed
            through. Blocks that hand on more, or read the cache of another, do.
        resolved: sites already checked against this anatomy.
        ranks: how values are divided where each process holds a part of the model; None where this one holds it all.

    Example:
        >>> anatomy = subject.anatomy
        >>> anatomy.num_layers, anatomy.hidden_size, anatomy.vocab_size
        (8, 128, 2003)
        >>> anatomy.parts[0].attention, anatomy.parts[0].down_proj
        ('self_attn', 'mlp.down_proj')
    """

    model: nn.Module
    blocks: tuple[nn.Module, ...]
    parts: tuple[Parts, ...]
    embedding_path: str
    hidden_size: int
    vocab_size: int
    stream_axis: int | None = None
    resid_argument: int | str = 0
    skippable: bool = True
    resolved: dict[Any, Any] = field(default_factory=dict, repr=False)
    ranks: Ranks | None = field(default=None, repr=False)

    @property
    def num_layers(self) -> int:
        """How many blocks the model has."""
        return len(self.blocks)

    @property
    def embedding(self) -> nn.Module:
        """The module that turns token ids into vectors."""
        return at_path(self.model, self.embedding_path)

    def part(self, name: str, layer: int) -> nn.Module:
        """A part of a block, by the name it has in `Parts`.

        It is read from the live model, so that adapters put in its place later (LoRA) are found.

        Raises:
            KeyError: the block has no such part.
            UnsupportedArchitecture: it reads values of which this process holds a part.
        """
        if self.ranks and name in READS and (layer, READS[name]) in self.ranks.divided:
            raise UnsupportedArchitecture(
                f"block {layer} has a part of {name} in each of {self.ranks.group.size()} processes; what needs all of "
                "it needs the whole model in one process: load it without `parallel`"
            )
        return self.own_part(name, layer)

    def own_part(self, name: str, layer: int) -> nn.Module:
        """The same, also where it is this process' part of it: for who knows which values it reads."""
        path = getattr(self.parts[layer], name)
        if path is None:
            raise KeyError(f"block {layer} has no {name}")
        return at_path(self.blocks[layer], path)


def at_path(module: nn.Module, path: str) -> Any:
    """The module at a dotted path, such as `self_attn.o_proj` or `experts.0`."""
    part: Any = module
    for name in path.split(".") if path else ():
        part = part[int(name)] if isinstance(part, list | tuple) else getattr(part, name)
    return part


def architecture(model: nn.Module) -> str:
    """What mlx-lm calls a model's architecture, as in `llama`."""
    return type(model).__module__.rpartition(".")[2]


def anatomy_of(model: nn.Module) -> Anatomy:
    """Find the parts of a model by watching it run on a few tokens, without computing anything.

    Raises:
        UnsupportedArchitecture: it is no stack of blocks that each run once on a residual stream, its own code
            cannot run here, or this process holds only a part of it.
    """
    if part := split_module(model):
        raise UnsupportedArchitecture(
            f"{architecture(model)} is not whole here: {part}, so that its heads and neurons would be numbered "
            "wrongly; give the whole model"
        )
    if not hasattr(model, "layers"):
        raise UnsupportedArchitecture(f"{type(model).__name__} has no layers; a language model of mlx-lm has")
    if not list(_flat(model.layers)):
        raise UnsupportedArchitecture(f"{type(model).__name__} has no layers; at least one block is needed")
    observation = _observed(model)
    blocks = _blocks(model, observation)
    resid = blocks[0].first
    width = resid.shape[-1]
    argument = _resid_argument(blocks)
    modules = tuple(call.module for call in blocks)
    parts = _parts(observation, blocks)
    return Anatomy(
        model=model,
        blocks=modules,
        parts=_with_true_middles(model, modules, parts, argument, observation.tokens),
        embedding_path=_embedding(observation, blocks, width).path,
        hidden_size=width,
        vocab_size=_logits(observation).shape[-1],
        stream_axis=_stream_axis(resid),
        resid_argument=argument,
        skippable=_skippable(model, observation, blocks, argument),
    )


def parts_seen(model: nn.Module) -> tuple[Parts, ...]:
    """The parts of each block as one run shows them, also of a model of which this process holds a part."""
    observation = _observed(model)
    return _parts(observation, _blocks(model, observation))


def _parts(observation: Observation, blocks: Sequence[Call]) -> tuple[Parts, ...]:
    entries = {id(entry) for entry in cache_entries(observation.cache)}
    width = blocks[0].first.shape[-1]
    return tuple(parts_of(observation, call, entries, width) for call in blocks)


def _with_true_middles(
    model: nn.Module,
    blocks: tuple[nn.Module, ...],
    parts: tuple[Parts, ...],
    argument: int | str,
    tokens: mx.array,
) -> tuple[Parts, ...]:
    """The parts, of which only those have a middle whose block adds the MLP's output to what the MLP's norm was given.

    Each block is run from zeros on two equal rows, its attention and MLP put to zero and its middle to 0 in one row and
    1 in the other: of what leaves it little more than sums is computed, no weight is read for what was put to zero.
    """
    layers = [layer for layer, block_parts in enumerate(parts) if block_parts.mid]
    if not layers:
        return parts
    left = _leaving(model, blocks, parts, argument, mx.concatenate([tokens[:1], tokens[:1]]))
    moved: Any = mx.stack([mx.any(value[0] != value[1]) for value in left]).tolist()
    lost = {layer for layer in layers if not moved[layer]}
    return tuple(
        replace(block_parts, mid=None) if layer in lost else block_parts
        for layer, block_parts in enumerate(parts)
    )


def _leaving(
    model: nn.Module,
    blocks: tuple[nn.Module, ...],
    parts: tuple[Parts, ...],
    argument: int | str,
    tokens: mx.array,
) -> list[mx.array]:
    left: list[mx.array] = []

    def put(value: mx.array) -> None:
        value[...] = mx.broadcast_to(mx.arange(2)[:, None, None], value.shape).astype(value.dtype)

    taps = []
    for block, block_parts in zip(blocks, parts, strict=True):
        taps += [Tap(block, before=mx.zeros_like, argument=argument), Tap(block, after=left.append)]
        paths = [path for path in (block_parts.attention, block_parts.mixer, block_parts.mlp) if path]
        taps += [Tap(at_path(block, path), after=mx.zeros_like) for path in paths]
        taps += [Tap(at_path(block, block_parts.mid), before=put)] if block_parts.mid else []
    with tapped(taps):
        model(tokens, cache=new_cache(model))
    return left


def _observed(model: nn.Module) -> Observation:
    try:
        return observe(model)
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        raise UnsupportedArchitecture(f"{architecture(model)} cannot run here: {detail}") from error


def _logits(observation: Observation) -> Any:
    logits = observation.calls[0].first
    if not isinstance(logits, mx.array) or logits.shape[:2] != (BATCH, LENGTH):
        shape = getattr(logits, "shape", type(logits).__name__)
        raise UnsupportedArchitecture(f"the model returns {shape}, not logits (B, L, V)")
    return logits


def _blocks(model: nn.Module, observation: Observation) -> list[Call]:
    """The call of each block; layers the model keeps and does not run, as for prediction of later tokens, are none."""
    layers = list(_flat(getattr(model, "layers", ())))
    layer_ids = {id(layer) for layer in layers}
    calls = [call for call in observation.calls if id(call.module) in layer_ids]
    if not calls:
        raise UnsupportedArchitecture(
            f"{architecture(model)} runs none of its {len(layers)} layers; a stack of called blocks is needed"
        )
    for call in calls:
        times = sum(call_again.module is call.module for call_again in calls)
        if times > 1:
            raise UnsupportedArchitecture(
                f"{call.path} runs {times} times in one forward pass; each block must run once"
            )
        if not _is_resid(call.first):
            raise UnsupportedArchitecture(f"{call.path} returns no residual stream (B, L, D)")
    return calls


def _resid_argument(blocks: Sequence[Call]) -> int | str:
    """The argument in which a block is given what the block before it returned."""
    for before, call in pairwise(blocks):
        for name, arg in zip(call.names, call.args, strict=True):
            if arg is before.first:
                return name
    # The model does something to the residual between its blocks.
    call = blocks[-1]
    arguments = [name for name, arg in zip(call.names, call.args, strict=True) if _is_resid(arg)]
    if not arguments:
        raise UnsupportedArchitecture(f"{call.path} is given no residual stream (B, L, D)")
    return arguments[0]


def _skippable(
    model: nn.Module, observation: Observation, blocks: Sequence[Call], argument: int | str
) -> bool:
    if any(isinstance(call.output, tuple) for call in blocks):
        return False
    entries = [
        id(arg) for call in blocks for arg in call.args if any(arg is entry for entry in observation.cache)
    ]
    if len(set(entries)) < len(entries):
        return False
    taps = [Tap(call.module, instead=lambda value: value, argument=argument) for call in blocks[:-1]]
    try:
        with tapped(taps):
            model(observation.tokens, cache=new_cache(model))
    except (AttributeError, TypeError, ValueError, KeyError, IndexError):
        return False
    return True


def _flat(layers: Any) -> Iterator[nn.Module]:
    for layer in layers:
        if isinstance(layer, list | tuple):
            yield from _flat(layer)
        elif layer is not None:
            yield layer


def _is_resid(value: Any) -> bool:
    return isinstance(value, mx.array) and (is_value(value) or _stream_axis(value) is not None)


def _stream_axis(value: mx.array) -> int | None:
    if value.ndim != 4:
        return None
    if value.shape[:2] == (BATCH, LENGTH):
        return 2
    return 0 if value.shape[1:3] == (BATCH, LENGTH) else None


def _embedding(observation: Observation, blocks: Sequence[Call], width: int) -> Call:
    """The call that turns the token ids into vectors: one with a weight of its own, else what is made of several."""
    candidates = [
        call
        for call in observation.calls
        if call.args
        and call.args[0] is observation.tokens
        and is_value(call.first)
        and not any(block.within(call) for block in blocks)
    ]
    candidates.sort(key=lambda call: (call.first.shape[-1] != width, "weight" not in call.module))
    if not candidates:
        raise UnsupportedArchitecture("no module of the model takes the token ids and returns vectors")
    return candidates[0]
