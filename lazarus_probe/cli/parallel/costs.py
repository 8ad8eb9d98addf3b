"""`lazarus costs`: what a model takes of each process, by how it is split, and what fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lazarus_probe.cli.options import AsJson
from lazarus_probe.cli.output import deliver
from lazarus_probe.tables import Column, Table

if TYPE_CHECKING:
    from lazarus_probe.hooks.parallel_costs import Costs


class Dtype(StrEnum):
    """Types of weights."""

    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FLOAT32 = "float32"


def costs(
    config: Annotated[
        str,
        typer.Argument(
            help="A config.json, a folder with one, a model's name, or llama-3.1-8b, llama-3.1-70b or deepseek-v3."
        ),
    ],
    processes: Annotated[
        str, typer.Option("--processes", help="Numbers of processes, as in 2,4,8.")
    ] = "2,4,8",
    sites: Annotated[
        str, typer.Option("--sites", help="Kinds of site to capture, at all layers.")
    ] = "resid_post,head_out",
    prompts: Annotated[int, typer.Option(min=1, help="Number of prompts to capture.")] = 100,
    length: Annotated[int, typer.Option(min=2, help="Tokens per prompt.")] = 32,
    batch: Annotated[int, typer.Option(min=1, help="Prompts per batch.")] = 8,
    dtype: Annotated[Dtype, typer.Option(help="Data type of weights and activations.")] = Dtype.BFLOAT16,
    bits: Annotated[
        int | None, typer.Option(help="Bits of quantised weights: 2, 3, 4, 6 or 8.", min=2, max=8)
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="Memory of each process, as in 64GB, to say whether the model fits.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compute what a model costs each process in memory and traffic, by how it is split; it needs no weights."""
    from lazarus_probe.checkpoints.blank import blank_model, configuration
    from lazarus_probe.sweep.memory import parse_bytes

    kinds, counts = _kinds(sites), _counts(processes)
    if bits not in (None, 2, 3, 4, 6, 8):
        raise ValueError(f"--bits is {bits}; mlx quantises to 2, 3, 4, 6 or 8")
    room = parse_bytes(memory) if memory else None
    settings = configuration(config)
    rows, refused = _computed(lambda: blank_model(settings, dtype.value, bits), counts, length)
    missing = [kind for kind in kinds if rows and kind not in rows[0].captured]
    if missing:
        raise ValueError(f"--sites: {config} has no {missing[0]}; it has {', '.join(rows[0].captured)}")
    needed = [row.needed(kinds, prompts, batch) for row in rows]
    data = {
        "config": config,
        "dtype": dtype.value,
        "bits": bits,
        "prompts": prompts,
        "length": length,
        "batch": batch,
        "sites": kinds,
        "memory": room,
        "costs": [
            {**asdict(row), "needed": need, "fits": None if room is None else need <= room}
            for row, need in zip(rows, needed, strict=True)
        ],
        "refused": refused,
    }
    lines = [
        f"{config} in {f'{bits} bits' if bits else dtype.value}, {prompts} prompts of {length} tokens",
        "",
    ]
    lines += [_processes(rows, needed, kinds, prompts, room).text(rule=True), ""]
    lines += [f"By site, for one prompt on {counts[-1]} processes:", ""]
    lines += [_sites(rows, counts[-1]).text(rule=True)]
    lines += ["", *refused] if refused else []
    deliver(data, "\n".join(lines), as_json=as_json)


def _computed(model: Any, counts: Sequence[int], length: int) -> tuple[list[Costs], list[str]]:
    from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
    from lazarus_probe.hooks.parallel_costs import parallel_costs

    rows, refused = [parallel_costs(model, "whole", 1, length)], list[str]()
    for kind in ("tensor", "pipeline"):
        for count in counts:
            try:
                rows.append(parallel_costs(model, kind, count, length))
            except UnsupportedArchitecture as error:
                refused.append(f"{kind}, {count} processes: {error}")
    return rows, refused


def _processes(
    rows: Sequence[Costs], needed: Sequence[int], kinds: Sequence[str], prompts: int, room: int | None
) -> Table:
    columns = ["split", "processes", "weights", "captured", "needs", "sends a prompt", "and for sites"]
    columns += [] if room is None else ["fits"]
    cells = [
        [
            row.parallel,
            str(row.processes),
            shown(row.weights),
            shown(prompts * sum(row.captured[kind] for kind in kinds)),
            shown(need),
            shown(row.sent),
            shown(sum(row.read[kind] for kind in kinds)),
            *([] if room is None else ["yes" if need <= room else "no"]),
        ]
        for row, need in zip(rows, needed, strict=True)
    ]
    return Table([Column(name, right=place > 0) for place, name in enumerate(columns)], cells)


def _sites(rows: Sequence[Costs], count: int) -> Table:
    split = {row.parallel: row for row in rows if row.processes == count}
    columns = ["site", "kept", *(f"sent, {kind}" for kind in split)]
    cells = [
        [kind, shown(size), *(shown(row.read[kind]) for row in split.values())]
        for kind, size in rows[0].captured.items()
    ]
    return Table([Column(name, right=place > 0) for place, name in enumerate(columns)], cells)


def shown(size: int) -> str:
    """Bytes in the unit that leaves up to three digits before the point."""
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def _kinds(text: str) -> list[str]:
    from lazarus_probe.anatomy.site_kinds import PER_LAYER
    from lazarus_probe.spelling import one_of

    kinds = [word.strip() for word in text.split(",") if word.strip()]
    for kind in kinds:
        if kind not in PER_LAYER:
            raise ValueError(f"--sites: {kind!r} is no kind of site of a layer; {one_of(kind, PER_LAYER)}")
    return list(dict.fromkeys(kinds))


def _counts(text: str) -> list[int]:
    def numbers() -> Iterator[int]:
        for word in text.split(","):
            if not word.strip().isdecimal() or not 2 <= int(word) <= 1024:
                raise ValueError(f"--processes is {text!r}; give numbers from 2 to 1024, as in 2,4,8")
            yield int(word)

    return sorted(set(numbers()))
