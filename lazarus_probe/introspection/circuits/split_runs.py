"""Runs of a model in which every receiver is given an input of its own.

The model's own code runs, block by block. Each head's queries, keys and values are computed from an input of its own,
and its contribution is what the output projection makes of it alone: by slices of the projections where these are known
to be the heads', else on copies of the block's input, one for each head. What a block returns is not used: the residual
stream is the sum of what was sent.
"""

# ruff: noqa: N806 - R, L, D, H, S and N are the names that the field and this room give to these sizes

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import mlx.core as mx

from lazarus_probe.anatomy.anatomy import at_path
from lazarus_probe.anatomy.forward_pass import new_cache
from lazarus_probe.introspection.circuits.edges.edge_graph import EdgeGraph
from lazarus_probe.introspection.circuits.head_projections import contributions, project_apart
from lazarus_probe.taps import Inside, Tap, argument, original, tapped, with_argument
from lazarus_probe.taps.kernel import Step

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

STEPS: dict[str, Step] = {"q": "queries", "k": "keys", "v": "values"}


@dataclass(eq=False)
class Stream:
    """What was sent into the residual stream so far in one run of R prompts.

    Attributes:
        sent: arrays (n, R, L, D) of what senders wrote, in their order.
        constant: what is always added, such as the biases of output projections; it broadcasts to (R, L, D).
        total: (R, L, D) the sum of all that.
    """

    sent: list[mx.array] = field(default_factory=list)
    constant: mx.array = field(default_factory=lambda: mx.zeros((1,)))
    total: mx.array = field(default_factory=lambda: mx.zeros((1,)))

    def add(self, values: mx.array) -> None:
        """Add what some senders write (n, R, L, D)."""
        self.sent.append(values)
        self.total = self.total + values.sum(axis=0)

    def add_constant(self, value: mx.array) -> None:
        """Add what belongs to no sender."""
        self.constant, self.total = self.constant + value, self.total + value

    @property
    def all(self) -> mx.array:
        """(n, R, L, D) what each sender wrote so far."""
        return mx.concatenate(self.sent)


# From some receivers, by their range in the graph, and the stream so far to their inputs (n, R, L, D).
Hear = Callable[[range, Stream], mx.array]


@dataclass(frozen=True, eq=False)
class Splitting:
    """A model whose nodes can be told apart, and the factors that its blocks multiply what is sent by.

    Attributes:
        subject: the model.
        graph: its nodes and edges.
        factors: by block, of its attention and of its MLP; mostly 1.
        slices: by block the paths of the projections whose slices are the heads', as of `sliceable`; empty where heads
            are computed on copies.
    """

    subject: Subject
    graph: EdgeGraph
    factors: tuple[tuple[float, float], ...]
    slices: tuple[Mapping[str, str], ...]


@dataclass(frozen=True, eq=False)
class Below:
    """What is known of a run below a block, from which it begins.

    Attributes:
        layer: the first block that runs; the number of blocks for the logits alone.
        sent: (n, R, L, D) what the senders below wrote.
        constant: what is always added to it, as in `Stream`.
    """

    layer: int
    sent: mx.array
    constant: mx.array

    @property
    def stream(self) -> Stream:
        """The stream that enters the block."""
        return Stream([self.sent], self.constant, self.sent.sum(axis=0) + self.constant)


def hear_all(receivers: range, stream: Stream) -> mx.array:
    """Every receiver hears everything, as in the plain model."""
    return mx.broadcast_to(stream.total[None], (len(receivers), *stream.total.shape))


def run_split(
    splitting: Splitting,
    tokens: mx.array,
    hear: Hear = hear_all,
    embedded: mx.array | None = None,
    below: Below | None = None,
) -> tuple[mx.array, Stream]:
    """Logits (R, V) at the last position, and what was sent.

    Can be differentiated with respect to whatever `hear` adds.

    Args:
        splitting: the model.
        tokens: (R, L).
        hear: what receivers hear.
        embedded: (R, L, D) in place of what enters the first block.
        below: what is known of the run already; the blocks below do not run.
    """
    run = _Run(splitting, tokens.shape, hear, embedded, below)
    anatomy = splitting.subject.anatomy
    cache = new_cache(anatomy.model)
    run.entries = {id(entry): index for index, entry in enumerate(cache)}
    taps = [
        Tap(block, around=partial(run.block, layer, run.receivers_of(layer)))
        for layer, block in enumerate(anatomy.blocks)
    ]
    with tapped(taps):
        return anatomy.model(tokens, cache=cache)[:, -1], run.stream


class _Run:
    """One forward pass."""

    def __init__(
        self,
        splitting: Splitting,
        shape: tuple[int, ...],
        hear: Hear,
        embedded: mx.array | None,
        below: Below | None,
    ) -> None:
        self.splitting, self.shape, self.hear, self.embedded = splitting, shape, hear, embedded
        self.anatomy, self.below = splitting.subject.anatomy, below
        self.stream = Stream() if below is None else below.stream
        self.entries = dict[int, int]()

    def receivers_of(self, layer: int) -> dict[str, range]:
        """By what they read the receivers of a block; the logits are those of a block past the last."""
        ranges = dict[str, range]()
        for index, receiver in enumerate(self.splitting.graph.receivers):
            if (len(self.anatomy.blocks) if receiver.layer is None else receiver.layer) == layer:
                first = ranges[receiver.reads].start if receiver.reads in ranges else index
                ranges[receiver.reads] = range(first, index + 1)
        return ranges

    def block(
        self,
        layer: int,
        receivers: dict[str, range],
        call: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """What takes the place of a block's call."""
        resid = argument(args, kwargs, self.anatomy.resid_argument)
        if self.below is not None and layer < self.below.layer:
            return self._leaving(layer, resid)
        if layer == 0 and self.below is None:
            start = resid if self.embedded is None else self.embedded
            self.stream.add(start.astype(mx.float32)[None])
        again = partial(self._call, call, args, kwargs, resid.dtype)
        # Queries, keys and values are heard at once, as what was sent before is the same for all of them.
        first = receivers["q"].start
        heard = self.hear(range(first, receivers["v"].stop), self.stream)
        inputs = {step: heard[receivers[step].start - first : receivers[step].stop - first] for step in STEPS}
        compute = self._sliced if self.splitting.slices[layer] else self._on_copies
        taps = compute(layer, inputs, again)
        taps.append(Tap(self.anatomy.part("o_proj", layer), before=partial(self._send_heads, layer)))
        if "mlp" in receivers:
            hear_mlp = partial(self._hear_mlp, receivers["mlp"], resid.dtype)
            taps += [
                Tap(self.anatomy.part("mid", layer), before=hear_mlp),
                Tap(self.anatomy.part("mlp", layer), after=partial(self._send_mlp, layer)),
            ]
        with tapped(taps):
            # The block's own input is zero here: what still read it would be no edge, and would show in the logits.
            output = again(mx.zeros(resid.shape))
        total = self._leaving(layer, resid)
        return (total, *output[1:]) if isinstance(output, tuple) else total

    def _leaving(self, layer: int, resid: mx.array) -> mx.array:
        """What a block hands on; the last one what the logits hear, at the last position, as no other needs logits."""
        total = self.stream.total
        if layer == len(self.anatomy.blocks) - 1:
            total = self.hear(self.receivers_of(layer + 1)["logits"], self.stream)[0][:, -1:]
        return total.astype(resid.dtype)

    def _call(
        self,
        call: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        dtype: Any,
        resid: mx.array,
    ) -> Any:
        """The block's own code on a residual stream, with an empty cache."""
        args, kwargs = with_argument(args, kwargs, self.anatomy.resid_argument, resid.astype(dtype))
        return call(*map(self._fresh, args), **{name: self._fresh(value) for name, value in kwargs.items()})

    def _fresh(self, value: Any) -> Any:
        index = self.entries.get(id(value))
        return value if value is None or index is None else new_cache(self.anatomy.model)[index]

    def _sliced(self, layer: int, inputs: dict[str, mx.array], again: Callable[[mx.array], Any]) -> list[Tap]:
        """Taps that give the projections' outputs, each head's of its own input (n, R, L, D), from slices of them."""
        slices, block = self.splitting.slices[layer], self.anatomy.blocks[layer]
        modules = {step: at_path(block, slices[step]) for step in STEPS}
        # The norm is the model's own: the block runs on all inputs up to its projections, and no further.
        seen: dict[str, mx.array] = {}

        def see(step: str, value: mx.array) -> None:
            seen[step] = value
            if len(seen) == len(modules):
                raise Enough

        with tapped([Tap(module, before=partial(see, step)) for step, module in modules.items()]):
            up_to(
                lambda: again(
                    mx.concatenate([value.reshape(-1, *value.shape[2:]) for value in inputs.values()])
                )
            )
        start, taps = 0, []
        for step, value in inputs.items():
            stop = start + len(value) * value.shape[1]
            projected = project_apart(modules[step], seen[step][start:stop].reshape(value.shape))
            taps.append(Tap(modules[step], instead=partial(_given, projected)))
            start = stop
        return taps

    def _on_copies(
        self, layer: int, inputs: dict[str, mx.array], again: Callable[[mx.array], Any]
    ) -> list[Tap]:
        """Taps that give queries, keys and values, each head's of its own input (n, R, L, D)."""
        attention = self.anatomy.part("attention", layer)
        return [
            Tap(
                attention,
                inside=Inside(STEPS[step], partial(_given, self._projected(layer, step, value, again))),
            )
            for step, value in inputs.items()
        ]

    def _projected(
        self, layer: int, step: str, heard: mx.array, again: Callable[[mx.array], Any]
    ) -> mx.array:
        """Queries, keys or values (R, L, n, Dh), each head's of its own input (n, R, L, D)."""
        attention = self.anatomy.part("attention", layer)
        seen = look_inside(attention, step, lambda: again(heard.reshape(-1, *heard.shape[2:])))
        heads = seen.reshape(*heard.shape[:2], *seen.shape[1:])
        return mx.stack([heads[head, :, :, head] for head in range(len(heads))], axis=2)

    def _send_heads(self, layer: int, value: mx.array) -> None:
        """Split what the output projection (R, L, H * Dh) reads into what each head contributes."""
        module, H = self.anatomy.part("o_proj", layer), self.splitting.graph.blocks[layer].heads
        heads = value.reshape(*value.shape[:2], H, -1)
        factor = self.splitting.factors[layer][0]
        if self.splitting.slices[layer]:
            terms, bias = contributions(module, heads)
        else:
            project, own = original(module), mx.eye(H, dtype=value.dtype)[:, None, None, :, None]
            bias = project(mx.zeros_like(value[:1]))
            terms = project((heads[None] * own).reshape(-1, *value.shape[1:]))
            terms = terms.reshape(H, *value.shape[:2], -1) - bias
        self.stream.add(factor * terms.astype(mx.float32))
        self.stream.add_constant(factor * bias.astype(mx.float32))

    def _hear_mlp(self, receivers: range, dtype: Any, _: mx.array) -> mx.array:
        return self.hear(receivers, self.stream)[0].astype(dtype)

    def _send_mlp(self, layer: int, value: mx.array) -> None:
        self.stream.add(self.splitting.factors[layer][1] * value.astype(mx.float32)[None])


class Enough(Exception):  # noqa: N818 - no error
    """Ends a run in which what was looked for was seen."""


def up_to(run: Callable[[], Any]) -> None:
    """Run until a tap has seen enough."""
    with suppress(Enough):
        run()


def look_inside(attention: Any, step: str, run: Callable[[], Any]) -> mx.array:
    """Queries, keys or values of a run, which is not computed past them."""
    seen: list[mx.array] = []

    def see(value: mx.array) -> None:
        seen.append(value)
        raise Enough

    with tapped([Tap(attention, inside=Inside(STEPS[step], see))]):
        up_to(run)
    return seen[0]


def _given(value: mx.array, _: mx.array) -> mx.array:
    return value
