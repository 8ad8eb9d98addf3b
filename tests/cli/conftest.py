"""Where commands share a model, and interrupts that come at a known step of a training."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

# Folders of commands that read a model and change none.
READING = {
    "ablation",
    "attribution",
    "capture",
    "circuit",
    "circuits",
    "generation",
    "lens",
    "patching",
    "probing",
    "steering",
    "studies",
}


@pytest.fixture(scope="module", autouse=True)
def _read_alone(request: pytest.FixtureRequest) -> None:
    """In these folders a bundled model is loaded once for a file."""
    if request.path.parent.name in READING:
        request.getfixturevalue("loaded_once")


@pytest.fixture(scope="module", autouse=True)
def _few(few_models: None) -> None:
    """Commands are held against three control models of a kind; what differs with five is the analysis's own test."""


@pytest.fixture
def interrupt_after() -> Callable[[int], AbstractContextManager[None]]:
    """A context in which the command that trains in this process is sent SIGINT at the end of a step."""

    @contextmanager
    def bar(step: int) -> Iterator[Callable[[int, float], None]]:
        yield lambda now, _loss: signal.raise_signal(signal.SIGINT) if now == step else None

    @contextmanager
    def armed(step: int) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for module in ("organism", "progress"):
                patch.setattr(f"lazarus_probe.cli.{module}.bar", lambda *_: bar(step))
            yield

    return armed
