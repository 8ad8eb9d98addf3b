"""The training loop: a generator of compiled steps that the caller can stop after any step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from math import cos, isfinite, pi
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn
from mlx import optimizers
from mlx.utils import tree_flatten, tree_map

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.anatomy.finite_weights import bad_weight
from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.anatomy.random_state import random_key, set_random_key
from lazarus_probe.training.forward import in_mode
from lazarus_probe.training.over_processes import own_randomness, rows_of_process, summed

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject
    from lazarus_probe.training.losses import Loss

SHAPES_KEPT = 64


class Diverged(FloatingPointError):  # noqa: N818 - what happened to the training, as StopIteration is
    """A loss or gradient is not finite; the weights are those of the previous step, which may be the cause.

    Attributes:
        step: the failed step.
        value: the loss, or the norm of the gradient if the loss is finite.
    """

    def __init__(
        self, step: int, value: float, quantity: str = "loss", remedy: str = "lower the learning rate"
    ) -> None:
        super().__init__(f"the {quantity} is {value} at step {step}; {remedy}")
        self.step, self.value = step, value


@dataclass(frozen=True)
class Optimisation:
    """The optimiser settings: AdamW (Loshchilov & Hutter 2019), a linear warm-up, then a cosine decay.

    Attributes:
        learning_rate: peak learning rate.
        steps: number of steps.
        warmup: steps until the peak learning rate is reached.
        final_learning_rate: learning rate of the last step.
        weight_decay: decoupled, multiplied by the learning rate.
        clip_norm: maximum norm of the gradient over all weights; None does not clip.
    """

    learning_rate: float
    steps: int
    warmup: int = 0
    final_learning_rate: float = 0.0
    weight_decay: float = 0.01
    clip_norm: float | None = 1.0

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 1 on."""
        if step <= self.warmup:
            return self.learning_rate * step / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        span = self.learning_rate - self.final_learning_rate
        return self.final_learning_rate + span * 0.5 * (1 + cos(pi * min(1.0, progress)))


@dataclass(frozen=True)
class Step:
    """The statistics of one step, computed before its update.

    Attributes:
        step: its number, from 1.
        loss: in nats.
        parts: the parts of the loss, by name.
        learning_rate: of the step.
        grad_norm: norm of the gradient over all weights, before clipping.
        tokens: number of positions run, padding included.
    """

    step: int
    loss: float
    parts: dict[str, float]
    learning_rate: float
    grad_norm: float
    tokens: int


def optimizer_for(optimisation: Optimisation) -> Any:
    """AdamW with bias correction, as published."""
    return optimizers.AdamW(
        optimisation.rate(1), weight_decay=optimisation.weight_decay, bias_correction=True
    )


def steps(
    model: nn.Module,
    loss: Loss,
    micro_batches: Iterator[Sequence[tuple[mx.array, ...]]],
    optimisation: Optimisation,
    optimizer: Any = None,
    start: int = 0,
    runs: int = 1,
    group: Any = None,
) -> Iterator[Step]:
    """Train the trainable weights of a model, one step per item of this generator.

    Micro-batches are pulled lazily, so they may be sampled from the current model. Losses and gradients of a step's
    micro-batches are SUMMED, since each contributes its share of the step's mean. Forward, backward and update are
    compiled once per shape of a micro-batch, so shapes should be few. Within a step the model is in training mode;
    between steps it is in its previous mode.

    Stopping is up to the caller: any finite loss is accepted, however high.

    Args:
        model: the model; `freeze` and `unfreeze` choose its trainable weights before the first step.
        loss: from the arrays of a micro-batch to its share of the loss and of the loss's parts.
        micro_batches: the micro-batches of each step; the training ends where they end.
        optimisation: rates, decay and clipping.
        optimizer: one restored by `load_state`; None creates a new one.
        start: steps already made.
        runs: number of trainings side by side; trainable weights then have the run as their first axis, and each run
            is clipped by its own norm. A step reports the largest.
        group: processes that compute a step together. Each is given all micro-batches, which are `Batch`es, runs its
            own rows of them, and makes the same update, since losses and gradients are summed over the processes.

    Yields:
        Each step, after its update.

    Raises:
        Diverged: a loss or gradient is not finite. Weights and optimizer are those of the last good step.
        ValueError: nothing is trainable, or a step has no micro-batches.
    """
    if not tree_flatten(model.trainable_parameters()):
        raise ValueError("no weight is trainable; attach an adapter, or unfreeze something")
    optimizer = optimizer_for(optimisation) if optimizer is None else optimizer
    optimizer.init(model.trainable_parameters())
    update = _Update(model, loss, optimizer, optimisation.clip_norm, runs, group)
    for step in range(start + 1, optimisation.steps + 1):
        batches = next(micro_batches, None)
        if batches is None:
            return
        if not batches:
            raise ValueError(f"step {step} has no micro-batches; give at least one")
        rate, before = optimisation.rate(step), optimizer.learning_rate
        optimizer.learning_rate = rate
        total, parts, norm = update(batches) if group is None else _together(update, batches, group)
        if not (isfinite(total) and isfinite(norm)):
            optimizer.learning_rate = before
            quantity, value = ("norm of the gradient", norm) if isfinite(total) else ("loss", total)
            raise Diverged(step, value, quantity, _remedy(model))
        tokens = sum(batch[0].size for batch in batches)
        yield Step(step, total, parts, rate, norm, tokens)


def _together(
    update: _Update, batches: Sequence[tuple[mx.array, ...]], group: Any
) -> tuple[float, dict[str, float], float]:
    with own_randomness(group):
        return update([rows_of_process(batch, group.rank(), group.size()) for batch in batches])


def _remedy(model: nn.Module) -> str:
    if weight := bad_weight(model):
        return f"{weight} before this step: give other weights"
    half = any(value.dtype == mx.float16 for _, value in tree_flatten(model.parameters()))
    return "train in float32 or bfloat16, since float16 ends at 65504" if half else "lower the learning rate"


class _Update:
    """One update of the weights from a list of micro-batches, compiled."""

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        optimizer: Any,
        clip_norm: float | None,
        runs: int,
        group: Any,
    ) -> None:
        self.group = group
        self.model, self.optimizer, self.clip_norm, self.runs = model, optimizer, clip_norm, runs
        self.grad = nn.value_and_grad(model, loss)
        self.state = [model.state, optimizer.state, mx.random.state]
        self.traced: set[Any] = set()
        self.compiled = self._compile()

    def _compile(self) -> Callable[..., Any]:
        return mx.compile(self._run, inputs=self.state, outputs=self.state)

    def __call__(self, batches: Sequence[tuple[mx.array, ...]]) -> tuple[float, dict[str, float], float]:
        sums: Any = None
        for index, batch in enumerate(batches):
            sums = self._call(tuple(batch), sums, index == len(batches) - 1)
            # Otherwise the graphs of all micro-batches would be in memory at once.
            mx.eval(sums, self.state)
        total, parts, norm = sums
        return total.item(), {name: value.item() for name, value in parts.items()}, norm.item()

    def _call(self, batch: tuple[mx.array, ...], before: Any, last: bool) -> Any:
        key = (tuple((array.shape, array.dtype) for array in batch), before is None, last)
        if key not in self.traced and len(self.traced) >= SHAPES_KEPT:
            self.traced, self.compiled = set(), self._compile()
        # In every call, not in those alone that trace: without compilation (MLX_DISABLE_COMPILE) each runs the model.
        with in_mode(self.model, training=True), _restored_on_error(self.state):
            result = self.compiled(batch, before, last)
        self.traced.add(key)
        return result

    def _run(self, batch: tuple[mx.array, ...], before: Any, last: bool) -> Any:
        (total, parts), grads = self.grad(*batch)
        sums = (total, parts, grads)
        if before is not None:
            sums = tree_map(mx.add, sums, before)
        if not last:
            return sums
        return self._apply(*(sums if self.group is None else summed(sums, self.group)))

    def _apply(self, total: mx.array, parts: dict[str, mx.array], grads: Any) -> Any:
        squares = [
            grad.astype(mx.float32).square().reshape(self.runs, -1).sum(axis=1)
            for _, grad in tree_flatten(grads)
        ]
        # Stacked, since a compiled chain of additions would be a new kernel for every number of weights.
        norms = mx.sqrt(mx.stack(squares).sum(axis=0))
        if self.clip_norm is not None:
            factors = mx.minimum(self.clip_norm / (norms + 1e-6), 1.0)
            grads = tree_map(lambda grad: self._by_run(grad, factors), grads)
        # A sum is not finite if any norm is not; a maximum may ignore a NaN.
        norm = mx.where(mx.isfinite(norms).all(), norms.max(), norms.sum())
        good = mx.isfinite(total) & mx.isfinite(norm)
        old_weights = tree_map(lambda value: value, self.model.trainable_parameters())
        old_state = tree_map(lambda value: value, self.optimizer.state)
        self.optimizer.update(self.model, grads)
        self.model.update(_selected(good, self.model.trainable_parameters(), old_weights))
        _put(self.optimizer.state, _selected(good, self.optimizer.state, old_state))
        return total, parts, norm

    def _by_run(self, grad: mx.array, factors: mx.array) -> mx.array:
        shape = (self.runs, *[1] * (grad.ndim - 1)) if self.runs > 1 else (1,) * grad.ndim
        return grad * factors.reshape(shape).astype(grad.dtype)


def _selected(good: mx.array, new: Any, old: Any) -> Any:
    return tree_map(lambda ours, theirs: mx.where(good, ours, theirs), new, old)


def _put(tree: Any, values: Any) -> None:
    """Replace the arrays of a tree in place: `mx.compile` looks for its outputs in the tree it was given."""
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        if isinstance(tree[key], mx.array):
            tree[key] = values[key]
        elif isinstance(tree[key], dict | list | tuple):
            _put(tree[key], values[key])


@contextmanager
def _restored_on_error(state: list[Any]) -> Iterator[None]:
    """Restore the arrays of the state if an error leaves those of an unfinished trace in it."""
    before, key = tree_map(lambda value: value, state), random_key()
    try:
        yield
    except BaseException:
        _put(state, before)
        set_random_key(key)
        raise


@contextmanager
def grad_checkpointed(subject: Subject) -> Iterator[None]:
    """Gradient checkpointing: blocks keep only their input for the backward pass, where they are run a second time.

    Less memory for about a third more work; the gradients are the same (Chen et al. 2016). Activations captured inside
    a block, rather than before or after it, then cannot be part of a loss.

    Raises:
        UnsupportedArchitecture: a block reads what another block left in its cache, so it cannot be run again.
    """
    blocks: list[tuple[Any, Any]] = [(block, type(block)) for block in subject.anatomy.blocks]
    tokens = mx.arange(1, 5)[None] % subject.anatomy.vocab_size
    with in_mode(subject.model, training=False):
        plain = forward(subject.model, tokens)
    try:
        for block, cls in blocks:
            object.__setattr__(block, "__class__", _rerun(cls))
        with in_mode(subject.model, training=False):
            _check_same(subject, plain, tokens)
        yield
    finally:
        for block, cls in blocks:
            object.__setattr__(block, "__class__", cls)


def _check_same(subject: Subject, plain: mx.array, tokens: mx.array) -> None:
    try:
        same = bool(mx.allclose(forward(subject.model, tokens), plain, rtol=1e-3, atol=1e-3).item())
    except (AttributeError, TypeError, ValueError):
        same = False
    if not same:
        raise UnsupportedArchitecture(
            f"the blocks of {subject.name} read what others left in their caches and cannot be run twice; "
            "train without gradient checkpointing"
        )


@cache
def _rerun(cls: Any) -> type:
    """A subclass of a block's class, under the same name, that is run again in the backward pass."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        own = self.trainable_parameters()

        def run(weights: Any, *args: Any, **kwargs: Any) -> Any:
            self.update(weights)
            try:
                # The second run must not find in its cache what the first one left there.
                options = {name: _fresh(value) for name, value in kwargs.items()}
                return cls.__call__(self, *map(_fresh, args), **options)
            finally:
                self.update(own)

        return mx.checkpoint(run)(own, *args, **kwargs)

    names = {"__call__": call, "__module__": cls.__module__, "__qualname__": cls.__qualname__}
    return type(cls.__name__, (cls,), names)


def _fresh(value: Any) -> Any:
    from mlx_lm.models.cache import _BaseCache

    return deepcopy(value) if isinstance(value, _BaseCache) else value
