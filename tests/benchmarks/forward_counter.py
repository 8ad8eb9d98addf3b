"""A pytest plugin that counts forward passes by claim: `-p forward_counter`, with `tests/benchmarks` in PYTHONPATH.

For each claim: forwards, which run all blocks; rows and tokens in them; and rows that are a second time the same prompt
on the same model from its start, without hooks and with some. A row without hooks that comes twice is a pass for
nothing; one with hooks may be read elsewhere or edited otherwise. Block tokens are tokens through any block, also of
runs that begin in the middle, by the number of blocks.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Generator, Hashable
from typing import Any

import pytest

from lazarus_probe.tables import Column, Table
from lazarus_probe.taps import is_tapped

# isort: split
import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

COUNTS: dict[str, Counter[str]] = {}
SEEN: set[Hashable] = set()
KEYS: dict[int, tuple[Any, Hashable]] = {}
current = ["outside of claims"]
block_tokens = [0]


def key_of(model: nn.Module) -> Hashable:
    """What tells a model from others, and is the same of two that were built alike: some weights of its last block."""
    reference, key = KEYS.get(id(model), (None, None))
    if reference is None or reference() is not model:
        parameters = sorted(tree_flatten(model.layers[-1].parameters()))
        matrices = [weight for _, weight in parameters if weight.ndim == 2]
        key = tuple(np.array(weight[:2, :8].astype(mx.float32)).tobytes() for weight in matrices)
        KEYS[id(model)] = weakref.ref(model), key
    return key


def counted(call: Callable[..., Any]) -> Callable[..., Any]:
    """A model's call that is counted."""

    def run(model: nn.Module, inputs: mx.array, cache: Any = None, *args: Any, **kwargs: Any) -> Any:
        count = COUNTS.setdefault(current[0], Counter())
        from_start = not any(getattr(entry, "offset", 0) for entry in cache or ())
        before = block_tokens[0]
        logits = call(model, inputs, cache, *args, **kwargs)
        passed = (block_tokens[0] - before) / len(model.layers)
        count["block tokens"] += round(passed)
        if passed >= inputs.size:
            count.update(forwards=1, rows=inputs.shape[0], tokens=inputs.size)
            hooks = "hooked" if is_tapped(model) else "plain"
            for row in np.array(inputs) if from_start else ():
                seen = (hooks, key_of(model), row.tobytes())
                count[f"again, {hooks}"] += seen in SEEN
                SEEN.add(seen)
        return logits

    return run


def passed_on(call: Callable[..., Any]) -> Callable[..., Any]:
    """A block's call whose tokens are counted."""

    def run(block: nn.Module, resid: mx.array, *args: Any, **kwargs: Any) -> Any:
        block_tokens[0] += resid.shape[0] * resid.shape[1]
        return call(block, resid, *args, **kwargs)

    return run


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Count the calls of llamas, as all bundled models and SmolLM2 are."""
    from mlx_lm.models import llama

    llama.Model.__call__ = counted(llama.Model.__call__)
    llama.TransformerBlock.__call__ = passed_on(llama.TransformerBlock.__call__)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    marker = item.get_closest_marker("claim")
    current[0] = marker.args[0] if marker else item.nodeid
    try:
        return (yield)
    finally:
        current[0] = "outside of claims"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table, most tokens first, with the sum."""
    names = ("forwards", "rows", "tokens", "again, plain", "again, hooked", "block tokens")
    rows = sorted(COUNTS.items(), key=lambda item: -item[1]["block tokens"])
    total: Counter[str] = sum(COUNTS.values(), Counter())
    table = Table(
        ("claim", *(Column(name, "d") for name in names)),
        [(claim, *(count[name] for name in names)) for claim, count in [*rows, ("all", total)]],
    )
    terminalreporter.write_line("\n".join(table.lines()))
