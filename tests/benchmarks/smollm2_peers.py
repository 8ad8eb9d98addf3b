"""Sweeps of SmolLM2 beside other libraries: `python -m tests.benchmarks.smollm2_peers [--tenth]`.

Every head zeroed, and a donor patched in at each layer and position, for four pairs of prompts at once: processor time
of one thread, float32, the same weights. What the engines answer is compared before anything is timed. A whole forward
costs the same for each cell, so that engines which run one a cell are given a tenth of the cells.
`pip install 'lazarus_probe[peers]'` brings the others.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

from lazarus_probe import Subject
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.ablation.effects import head_sites
from lazarus_probe.subject.last_position import last_logits
from lazarus_probe.sweep import Donors, Zero, logit_diff, route_of, sweep
from lazarus_probe.tables import Column, Table

# isort: split
import mlx.core as mx
import numpy as np

from tests.hypotheses.nulls import written

NAMES = [("Mary", "John"), ("Anna", "Paul"), ("Sarah", "Mark"), ("Laura", "David")]
SENTENCE = "When {0} and {1} went to the store, {2} gave a drink to"
OURS = "this package, sweep"
TOLERANCE = 1e-4
TOKENS = 2048  # in a forward of several cells by nnsight, its fastest in `peers.py`
Cells = list[tuple[int, int]]
Values = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Prompts:
    """Token ids of four targets and their donors (4, L), and the first token of each of two names (4,)."""

    targets: Any
    donors: Any
    right: list[int]
    wrong: list[int]


@dataclass(frozen=True)
class Engine:
    """A library: the logit difference (4,) or (4, cells) of each case, and whether a cell is a whole forward."""

    name: str
    plain: Callable[[], Values]
    heads: Callable[[Cells], Values] | None
    grid: Callable[[Cells], Values]
    whole: bool = True


def prompts_of(subject: Subject) -> Prompts:
    """Four sentences about two people, and the same with the two exchanged: they differ from the second token on."""
    targets = [SENTENCE.format(first, second, second) for first, second in NAMES]
    donors = [SENTENCE.format(second, first, first) for first, second in NAMES]
    right, wrong = ([subject.single_token(f" {name}") for name in side] for side in zip(*NAMES, strict=True))
    rows = [np.array([subject.encode(text) for text in side]) for side in (targets, donors)]
    return Prompts(*rows, right, wrong)


def own(subject: Subject, prompts: Prompts) -> Engine:
    """The sweep engine."""
    wanted = [logit_diff(prompts.right, prompts.wrong)]

    def plain() -> Values:
        logits = np.array(last_logits(subject, mx.array(prompts.targets)), dtype=np.float64)
        rows = np.arange(len(logits))
        return np.asarray(logits[rows, prompts.right] - logits[rows, prompts.wrong])

    def swept(sites: Any, cells: Any = None, positions: Any = "each", donors: Any = None) -> Any:
        return sweep(
            subject, prompts.targets.tolist(), () if cells else sites, sources={"edit": donors or Zero()},
            metrics=wanted, positions=positions, cells=cells,
        )  # fmt: skip

    def heads(cells: Cells) -> Values:
        result = swept([Site("head_out", layer, head) for layer, head in cells], positions="all")
        return result.values["logit_diff"][:, 0, :, 0]

    def grid(cells: Cells) -> Values:
        sites = [(f"resid_post.{layer}", position) for layer, position in cells]
        result = swept([], sites, donors=Donors(prompts.donors.tolist()))
        rows = {site.layer: row for row, site in enumerate(result.sites)}
        columns = {position: column for column, position in enumerate(result.positions)}
        values = result.values["logit_diff"][:, 0]
        return np.stack([values[:, rows[layer], columns[position]] for layer, position in cells], axis=1)

    return Engine(OURS, plain, heads, grid, whole=False)


def transformers_hooks(model: Any, prompts: Prompts) -> Engine:
    """A forward of all four prompts for each cell, with hooks of torch."""
    import torch

    layers, ids = model.model.layers, torch.tensor(prompts.targets)
    size = model.config.hidden_size // model.config.num_attention_heads

    def run(register: Any = None, hook: Any = None, tokens: Any = ids) -> Values:
        handle = register(hook) if register else None
        try:
            logits = model(tokens, use_cache=False, logits_to_keep=1).logits[:, -1].double().numpy()
        finally:
            if handle:
                handle.remove()
        rows = np.arange(len(logits))
        return np.asarray(logits[rows, prompts.right] - logits[rows, prompts.wrong])

    def without(head: int) -> Any:
        def hook(_module: Any, args: Any) -> Any:
            states = args[0].clone()
            states[..., head * size : (head + 1) * size] = 0
            return (states,)

        return hook

    def heads(cells: Cells) -> Values:
        registers = [layer.self_attn.o_proj.register_forward_pre_hook for layer in layers]
        return np.stack([run(registers[layer], without(head)) for layer, head in cells], 1)

    def grid(cells: Cells) -> Values:
        donor_states: dict[int, Any] = {}

        def keep(layer: int) -> Any:
            def hook(_module: Any, _args: Any, output: Any) -> None:
                donor_states[layer] = output[0] if isinstance(output, tuple) else output

            return hook

        handles = [layer.register_forward_hook(keep(number)) for number, layer in enumerate(layers)]
        run(tokens=torch.tensor(prompts.donors))
        for handle in handles:
            handle.remove()

        def patched(layer: int, position: int) -> Any:
            def hook(_module: Any, _args: Any, output: Any) -> Any:
                output = output.clone()
                output[:, position] = donor_states[layer][:, position]
                return output

            return hook

        registers = [layer.register_forward_hook for layer in layers]
        return np.stack([run(registers[layer], patched(layer, position)) for layer, position in cells], 1)

    return Engine("transformers, hooks", run, heads, grid)


def nnsight_batched(model: Any, prompts: Prompts, folder: Path) -> Engine:
    """Several cells in one forward, an invoke each."""
    import nnsight
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    lm = nnsight.TransformersModel(model, task="text-generation", tokenizer=tokenizer)
    layers, ids = lm.model.layers, torch.tensor(prompts.targets)
    rows, at_once = np.arange(len(ids)), max(1, TOKENS // ids.numel())

    def difference(logits: Any) -> Values:
        last = logits[:, -1].double().numpy()
        return np.asarray(last[rows, prompts.right] - last[rows, prompts.wrong])

    def plain() -> Values:
        with lm.trace(ids, use_cache=False, logits_to_keep=1):
            logits = lm.output.logits.save()
        return difference(logits)

    def grid(cells: Cells) -> Values:
        with lm.trace(torch.tensor(prompts.donors), use_cache=False, logits_to_keep=1):
            donor_states = nnsight.save([])
            for layer in layers:
                donor_states.append(layer.output)
        parts = [cells[start : start + at_once] for start in range(0, len(cells), at_once)]
        return np.stack([values for part in parts for values in together(donor_states, sorted(part))], 1)

    def together(donor_states: Any, cells: Cells) -> list[Values]:
        with lm.trace(use_cache=False, logits_to_keep=1) as tracer:
            cell_logits = nnsight.save([])
            for layer, position in cells:
                with tracer.invoke(ids):
                    layers[layer].output[:, position] = donor_states[layer][:, position]
                    cell_logits.append(lm.output.logits[:, -1:])
        return [difference(logits) for logits in cell_logits]

    return Engine("nnsight, batched", plain, None, grid)


def peers(subject: Subject, prompts: Prompts, folder: Path) -> list[Engine]:
    """The other libraries that are installed, on the same weights."""
    if find_spec("torch") is None:
        return []
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(written(subject, folder), dtype=torch.float32).eval()
    engines = [transformers_hooks(model, prompts)]
    return [*engines, nnsight_batched(model, prompts, folder)] if find_spec("nnsight") else engines


def check(engines: list[Engine], cases: Mapping[str, Cells]) -> None:
    """Whether all engines answer the same.

    Raises:
        SystemExit: one does not.
    """
    for case, cells in cases.items():
        some = cells[:: max(1, len(cells) // 6)]
        answers = {engine.name: getattr(engine, case)(some) for engine in engines if getattr(engine, case)}
        for name, values in answers.items():
            error = float(np.abs(values - answers[OURS]).max() / np.abs(answers[OURS]).max())
            if error > TOLERANCE:
                raise SystemExit(f"{case}: {name} differs by {error:.1e}; no figures are worth having")


def seconds(case: Callable[..., Any], *arguments: Any) -> float:
    """Processor seconds of a call, the least of two."""
    times = []
    for _ in range(2):
        before = time.process_time()
        case(*arguments)
        times.append(time.process_time() - before)
    return min(times)


def main() -> None:
    """Measure, and print the table."""
    subject = Subject.load("smollm2")
    route_of(subject)
    prompts, layers = prompts_of(subject), range(subject.num_layers)
    cases = {
        "heads": [(site.layer or 0, site.head or 0) for site in head_sites(subject)],
        "grid": [(layer, position) for layer in layers for position in range(prompts.targets.shape[1])],
    }
    with TemporaryDirectory() as folder:
        engines = [own(subject, prompts), *peers(subject, prompts, Path(folder))]
    check(engines, cases)
    plain, rows = seconds(engines[0].plain), []
    for name, cells in cases.items():
        ours = 0.0
        for engine in engines:
            if case := getattr(engine, name):
                some = cells[:: 10 if engine.whole or "--tenth" in sys.argv else 1]
                cost = seconds(case, some) / len(some)
                ours = ours or cost
                of_prompt = 1e3 * cost / len(NAMES)
                rows.append((name, engine.name, len(some), of_prompt, cost / plain, cost / ours))
    names = ["case", "engine", "cells of 4 prompts"]
    numbers = [Column("ms a prompt", ".1f"), Column("forwards", ".2f"), Column("times ours", ".2f")]
    print("\n".join(Table([*names, *numbers], rows).lines()))


if __name__ == "__main__":
    main()
