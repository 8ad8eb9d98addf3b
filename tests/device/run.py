"""Checks hooks and precision on the device at hand, times it beside the CPU, and writes docs/device.md.

make device
python -m tests.device.run --architectures llama,mamba

Reference is the CPU in float32. Where mlx has no other device the same is checked on the CPU, nothing is timed, and
the page is left as it is.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

from lazarus_probe.backend import full_float32

import mlx.core as mx  # isort: skip
import numpy as np  # isort: skip
from mlx import nn  # isort: skip
from mlx.utils import tree_map  # isort: skip
from numpy.typing import NDArray

from lazarus_probe.hooks.model_check import self_check
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.ablation.effects import head_sites
from lazarus_probe.subject import Subject
from lazarus_probe.sweep import Zero, logit_diff, sweep
from lazarus_probe.training.batches import Sample, collate
from lazarus_probe.training.loop import Optimisation, steps
from lazarus_probe.training.lora.lora import attached
from lazarus_probe.training.losses import sft_loss
from tests.architectures import zoo
from tests.tolerance import EPSILON, IN_A_BLOCK, REACH, moved_by_rounding, relative

PAGE = Path(__file__).parents[2] / "docs" / "device.md"
# Dense, parallel blocks, soft caps, mixtures, sinks, latent attention, state spaces and hybrids.
ARCHITECTURES = (
    "llama", "qwen3", "gemma2", "gemma3_text", "olmo2", "gpt_neox", "phi3", "mixtral", "gpt_oss", "deepseek_v2",
    "mamba2", "falcon_h1",
)  # fmt: skip
# Half of the distance between 1 and the next number.
DTYPES = {
    "float32": (mx.float32, EPSILON),
    "float16": (mx.float16, 2.0**-10),
    "bfloat16": (mx.bfloat16, 2.0**-7),
}
TOKENS = (1, 12)
HEAD = """# Devices

Written by `make device` on {device}, with mlx {version}. Each architecture is tiny, with random weights. Its logits on
the device are held against those of the CPU in float32: the largest distance in units of the largest logit of its row,
and in brackets what it may be. That is {reach} times the precision's epsilon and the root of {roundings} roundings a
block, or as much as this model moves when each of its weights is moved by a float32 epsilon, scaled to the precision.
`self_check` holds every site, edit, lens and resumption against the model's own forward, on the device.

"""


@dataclass(frozen=True)
class Parity:
    """How far logits lie from those of the CPU in float32, and how far they may; why not where mlx has no such code."""

    distance: float
    allowed: float
    missing: str = ""

    @property
    def holds(self) -> bool:
        """Whether it is at most what is allowed; what is not a number is not."""
        return bool(self.missing) or self.distance <= self.allowed

    def __str__(self) -> str:
        if self.missing:
            return f"not run: {self.missing}"
        return f"{'' if self.holds else 'FAILS '}{self.distance:.1e} ({self.allowed:.0e})"


@dataclass(frozen=True)
class Line:
    """What came of an architecture: its precision by dtype, and the statements about hooks that do not hold."""

    name: str
    parity: dict[str, Parity]
    failed: tuple[str, ...]

    @property
    def right(self) -> bool:
        """Whether everything holds."""
        return not self.failed and all(parity.holds for parity in self.parity.values())

    def cells(self) -> tuple[str, ...]:
        """By column."""
        return (self.name, "; ".join(self.failed) or "holds", *(str(self.parity[name]) for name in DTYPES))


@contextmanager
def on(device: mx.Device) -> Iterator[None]:
    """Compute on a device."""
    before = mx.default_device()
    mx.set_default_device(device)
    try:
        yield
    finally:
        mx.set_default_device(before)


def logits(model: nn.Module, tokens: mx.array) -> NDArray[np.float64]:
    """(B, L, V) of a model where mlx computes."""
    return np.array(model(tokens).astype(mx.float32)).astype(np.float64)


def parity(name: str, device: mx.Device) -> dict[str, Parity]:
    """By dtype how far the logits of an architecture on a device lie from those of the CPU in float32."""
    model, tokens = zoo.build(name), zoo.random_tokens(*TOKENS)
    own = model.parameters()
    with on(mx.Device(mx.cpu)):
        expected = logits(model, tokens)
        moved = moved_by_rounding(model, lambda: model(tokens))
    plain = REACH * EPSILON * (IN_A_BLOCK * len(model.layers)) ** 0.5
    by_dtype: dict[str, Parity] = {}
    for kind, (dtype, epsilon) in DTYPES.items():
        try:
            model.update(tree_map(lambda value, dtype=dtype: _cast(value, dtype), own))
            with on(device):
                distance, missing = relative(logits(model, tokens), expected), ""
        except RuntimeError as error:
            if "only supports float32" not in str(error):  # as experts on the CPU
                raise
            distance, missing = float("nan"), str(error)
        finally:
            model.update(own)
        by_dtype[kind] = Parity(distance, max(plain, moved) * epsilon / EPSILON, missing)
    return by_dtype


def _cast(value: mx.array, dtype: mx.Dtype) -> mx.array:
    return value.astype(dtype) if mx.issubdtype(value.dtype, mx.floating) else value


def checked(name: str, device: mx.Device) -> Line:
    """Precision and hooks of an architecture on a device."""
    precision = parity(name, device)
    with on(device):
        check = self_check(Subject.from_model(zoo.build(name)))
    return Line(name, precision, tuple(statement.name for statement in check.failed))


def jobs() -> dict[str, Callable[[], object]]:
    """What is timed, on the organism: a forward, a sweep over its heads, and a training step."""
    subject = Subject.load("organism")
    prompts = [f"{a}*{b}=" for a in range(3, 7) for b in range(7, 10)]
    tokens = mx.array([subject.encode("7*8=")] * 64)
    states = [resid_post(layer) for layer in range(subject.num_layers)]
    rows = [Sample(tuple(subject.encode(f"{prompt}12")), 4) for prompt in prompts]
    (batch,) = collate([rows])

    def captured() -> None:
        seen = trace(subject, tokens, states)
        mx.eval([seen[state] for state in states])

    def trained() -> None:
        with attached(subject, ("v_proj", "o_proj"), rank=16):
            made = steps(subject.model, sft_loss(subject), repeat([batch]), Optimisation(5e-4, 10))
            for _ in made:
                pass

    return {
        "a forward of 64 rows": lambda: mx.eval(subject.model(tokens)),
        "every head zeroed on 12 prompts": lambda: sweep(
            subject, prompts, head_sites(subject), sources={"zero": Zero()}, metrics=[logit_diff("56", "15")]
        ),
        "all states of 64 rows captured": captured,
        "10 steps of LoRA": trained,
    }


def seconds(job: Callable[[], object], device: mx.Device, rounds: int = 3) -> float:
    """The median of three, after one that compiles."""
    with on(device):
        job()
        taken = []
        for _ in range(rounds):
            start = time.perf_counter()
            job()
            mx.synchronize()
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def device_name(device: mx.Device) -> str:
    """What the machine calls it."""
    return str(mx.device_info(device).get("device_name", device.type))


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, time, print, and write the page; 1 where something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--architectures", default=",".join(ARCHITECTURES))
    names = parser.parse_args(arguments).architectures.split(",")
    device = mx.default_device()
    accelerated = device.type == mx.gpu
    lines = []
    for name in names:
        lines.append(checked(name, device))
        print(*lines[-1].cells(), sep="  ", flush=True)
    page = HEAD.format(device=device_name(device), version=mx.__version__, reach=REACH, roundings=IN_A_BLOCK)
    page += "" if full_float32() else "float32 products may be of TF32, for MLX_ENABLE_TF32 asks for it.\n\n"
    page += table(["architecture", "hooks", *DTYPES], [line.cells() for line in lines])
    if not accelerated:
        print("mlx computes on the CPU here: nothing was timed, and docs/device.md is as it was")
        return int(not all(line.right for line in lines))
    cpu = mx.Device(mx.cpu)
    times = [(name, seconds(job, device), seconds(job, cpu)) for name, job in jobs().items()]
    rows = [(name, f"{own:.3f}", f"{cpus:.3f}", f"{cpus / own:.1f}") for name, own, cpus in times]
    page += "\n" + table(["on the organism", "seconds", "on its CPU", "times as fast"], rows)
    print(page)
    PAGE.write_text(page, encoding="utf-8")
    return int(not all(line.right for line in lines))


if __name__ == "__main__":
    sys.exit(main())
