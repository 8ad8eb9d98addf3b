"""What looking and touching cost beside the plain forward, and what the plugin costs a session that has no claims.

Nothing here is asserted in seconds: read the ratios within a group.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from lazarus_probe import Subject, hooked
from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.hooks.interventions import patch, zero

ROOT = Path(__file__).parents[2]
INSTALLED = any(entry.name == "lazarus_probe" for entry in entry_points(group="pytest11"))
PLUGIN = "lazarus_probe" if INSTALLED else "lazarus_probe.plugin"


@pytest.fixture(scope="module")
def organism() -> Subject:
    return Subject.load("organism")


@pytest.fixture(scope="module")
def medium() -> Subject:
    """A random Llama of 16 layers and width 1024."""
    from mlx_lm.models.llama import Model, ModelArgs

    args = ModelArgs(
        model_type="llama",
        hidden_size=1024,
        num_hidden_layers=16,
        intermediate_size=2816,
        num_attention_heads=16,
        num_key_value_heads=8,
        rms_norm_eps=1e-5,
        vocab_size=2048,
    )
    mx.random.seed(0)
    model = Model(args)
    mx.eval(model.parameters())
    return Subject.from_model(model, name="medium")


def plain(subject: Subject, tokens: mx.array) -> None:
    mx.eval(forward(subject.model, tokens))


def residuals(subject: Subject, tokens: mx.array) -> None:
    sites = [f"resid_post.{layer}" for layer in range(subject.num_layers)]
    with hooked(subject, sites) as captures:
        logits = forward(subject.model, tokens)
    mx.eval(logits, *captures.values())


def zeroed(subject: Subject, tokens: mx.array) -> None:
    with hooked(subject, interventions=zero(f"mlp_out.{subject.num_layers // 2}")):
        logits = forward(subject.model, tokens)
    mx.eval(logits)


def patched(subject: Subject, tokens: mx.array) -> None:
    value = mx.ones(subject.anatomy.hidden_size)
    with hooked(subject, interventions=patch(f"resid_post.{subject.num_layers // 2}", value, "last")):
        logits = forward(subject.model, tokens)
    mx.eval(logits)


RUNS = {"plain": plain, "all residuals": residuals, "zero one MLP": zeroed, "patch one position": patched}
SHAPES = [("organism", 1, 8), ("organism", 16, 32), ("medium", 1, 32)]


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS.keys())
@pytest.mark.parametrize(("name", "rows", "length"), SHAPES, ids=[f"{n} {b}x{t}" for n, b, t in SHAPES])
def test_forward(
    benchmark: Any,
    request: pytest.FixtureRequest,
    name: str,
    rows: int,
    length: int,
    run: Callable[..., None],
):
    """A forward with hooks does what the plain one does, and the plain forward is the group's yardstick."""
    subject = request.getfixturevalue(name)
    tokens = mx.random.randint(0, 1000, (rows, length), key=mx.random.key(0))
    benchmark.group = f"forward, {name} {rows}x{length}"
    run(subject, tokens)
    benchmark(run, subject, tokens)


@pytest.mark.parametrize(
    "switch", ["no:lazarus_probe", PLUGIN], ids=["without the plugin", "with the plugin"]
)
def test_collection(benchmark: Any, tmp_path: Path, switch: str):
    """Collecting an empty folder, with and without the plugin: what every session of a user pays."""
    benchmark.group = "collection of an empty folder"
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", switch]
    found = benchmark.pedantic(
        subprocess.run, (command,), {"cwd": tmp_path, "capture_output": True}, rounds=5, warmup_rounds=1
    )
    assert found.returncode == pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.mark.slow
def test_suite(benchmark: Any, tmp_path: Path):
    """The whole of hypotheses/ on the organism, once; its report is thrown away and no baseline is asked."""
    benchmark.group = "hypotheses on the organism"
    command = [sys.executable, "-m", "pytest", "hypotheses", "--model", "organism", "-q"]
    command += ["--probe-report", str(tmp_path), "--probe-baseline", "none"]
    command += [] if INSTALLED else ["-p", PLUGIN]
    found = benchmark.pedantic(subprocess.run, (command,), {"cwd": ROOT, "capture_output": True}, rounds=1)
    assert found.returncode in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED), found.stdout.decode()[
        -2000:
    ]
