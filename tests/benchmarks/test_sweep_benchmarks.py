"""What a cell of a sweep costs, in plain forwards of its prompt: `python tests/benchmarks/test_sweep_benchmarks.py`.

Under pytest nothing is asserted in seconds; run as a script it prints the ratios, medians of interleaved CPU times.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from lazarus_probe.subject import Subject, forward

import mlx.core as mx  # isort: skip
import numpy as np  # isort: skip
import pytest  # isort: skip

from lazarus_probe.sweep import Donors, Zero, answer, attribution, correlation, logit_diff, sweep

SIZES = {"small": (256, 8, 688, 8, 4), "medium": (1024, 16, 2816, 16, 8)}
VOCABULARY = 2048
METRIC = logit_diff(1, 2)


@cache
def subject_of(size: str) -> Subject:
    """A random Llama."""
    from mlx_lm.models.llama import Model, ModelArgs

    width, layers, mlp, heads, kv_heads = SIZES[size]
    mx.random.seed(0)
    model = Model(
        ModelArgs(
            model_type="llama",
            hidden_size=width,
            num_hidden_layers=layers,
            intermediate_size=mlp,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            rms_norm_eps=1e-5,
            vocab_size=VOCABULARY,
        )
    )
    mx.eval(model.parameters())
    return Subject.from_model(model, name=size)


def prompts(length: int) -> tuple[list[list[int]], list[list[int]]]:
    """A target and a donor that differ from the first token on, so that no cell is saved."""
    rows = np.random.default_rng(0).integers(0, VOCABULARY // 2, (2, length))
    rows[1] += VOCABULARY // 2
    return rows[:1].tolist(), rows[1:].tolist()


def residuals(subject: Subject) -> list[str]:
    return [f"resid_post.{layer}" for layer in range(subject.num_layers)]


def plain(subject: Subject, length: int) -> None:
    mx.eval(forward(subject.model, mx.array(prompts(length)[0])))


def whole_grid(subject: Subject, length: int) -> Any:
    target, donor = prompts(length)
    return sweep(subject, target, residuals(subject), sources={"donor": Donors(donor)}, metrics=[METRIC])


def last_position(subject: Subject, length: int) -> Any:
    target, donor = prompts(length)
    sources = {"donor": Donors(donor)}
    return sweep(subject, target, residuals(subject), sources=sources, metrics=[METRIC], positions="last")


def ablation(subject: Subject, length: int) -> Any:
    sites = [f"mlp_out.{layer}" for layer in range(subject.num_layers)]
    target = prompts(length)[0]
    return sweep(subject, target, sites, sources={"zero": Zero()}, metrics=[answer(8)], positions="all")


def gradient(subject: Subject, length: int) -> Any:
    return attribution(subject, *prompts(length), residuals(subject), METRIC)


CASES = [
    ("small", 32, whole_grid),
    ("small", 32, last_position),
    ("small", 32, ablation),
    ("small", 32, gradient),
    ("small", 128, last_position),
    ("medium", 32, last_position),
]
LONG = [("small", 128, whole_grid), ("medium", 32, ablation)]


@pytest.mark.parametrize(("size", "length", "run"), [(*case[:2], plain) for case in CASES[:1]] + CASES)
def test_sweep(benchmark: Any, size: str, length: int, run: Callable[..., Any]):
    """A sweep beside the plain forward of its prompt."""
    subject = subject_of(size)
    benchmark.group = f"sweep, {size}, {length} tokens"
    run(subject, length)
    benchmark.pedantic(run, (subject, length), rounds=5)


def cpu(run: Callable[..., Any], *args: Any) -> float:
    start = time.process_time()
    run(*args)
    return time.process_time() - start


def ratio(size: str, length: int, run: Callable[..., Any], rounds: int) -> tuple[float, int]:
    """Plain forwards that a sweep takes, and its cells."""
    subject = subject_of(size)
    cells = subject.num_layers * (length if run in (whole_grid, gradient) else 1)
    run(subject, length)
    plain(subject, length)
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(rounds):
        times[True] += [cpu(plain, subject, length) for _ in range(3)]
        times[False].append(cpu(run, subject, length))
    return statistics.median(times[False]) / statistics.median(times[True]), cells


def main() -> None:
    """Print the table."""
    print(f"{'sweep':<36}{'forwards':>10}{'cells':>7}{'a cell':>9}")
    for size, length, run in [*CASES, *LONG]:
        forwards, cells = ratio(size, length, run, rounds=3 if (size, length, run) in LONG else 9)
        name = f"{run.__name__}, {size}, {length} tokens"
        print(f"{name:<36}{forwards:>10.2f}{cells:>7}{forwards / cells:>9.4f}", flush=True)
    small = subject_of("small")
    found = correlation(gradient(small, 32), whole_grid(small, 32), "logit_diff")
    print(f"correlation of the gradient with the exact grid: {found:.2f}")


if __name__ == "__main__":
    main()
