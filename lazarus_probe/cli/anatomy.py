"""`lazarus anatomy`: the structure of a model, and whether hooks work correctly on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from lazarus_probe.cli.options import Adapter, AsJson, Model

if TYPE_CHECKING:
    from rich.table import Table

    from lazarus_probe.hooks.check import Check
    from lazarus_probe.hooks.model_check import SelfCheck
    from lazarus_probe.subject.subject import Subject


def anatomy(model: Model = "organism", adapter: Adapter = None, as_json: AsJson = False) -> None:
    """Show the structure of a model, and check that hooks work correctly on it; exit 1 if they do not."""
    from lazarus_probe.subject.subject import Subject

    if not show_anatomy(Subject.load(model, adapter), as_json):
        raise typer.Exit(1)


def show_anatomy(subject: Subject, as_json: bool) -> bool:
    """Print a model's anatomy and self-check; whether every required statement holds."""
    from lazarus_probe.hooks.model_check import self_check

    result = self_check(subject)
    if as_json:
        print(json.dumps(as_data(subject, result), indent=2))  # noqa: T201 - this is the output
        return result.ok
    from rich.console import Console

    console = Console()
    for table in (_model(subject, result), _sites(result), _parts(subject), _blocks(result), _checks(result)):
        console.print(table)
    verdict = "hooks do what they say" if result.ok else f"{len(result.failed)} statements do not hold"
    console.print(f"{subject.name}: {verdict}")
    return result.ok


def as_data(subject: Subject, result: SelfCheck) -> dict[str, Any]:
    """What is printed, as plain data."""
    from dataclasses import asdict

    anatomy = subject.anatomy
    return {
        "model": subject.name,
        "fingerprint": subject.fingerprint,
        "dtype": subject.dtype,
        "hidden_size": anatomy.hidden_size,
        "vocab_size": anatomy.vocab_size,
        "parts": [asdict(parts) for parts in anatomy.parts],
        "ok": result.ok,
        **asdict(result),
    }


def _model(subject: Subject, result: SelfCheck) -> Table:
    table = _table("", "", title=subject.name)
    anatomy = subject.anatomy
    rows = {
        "architecture": result.architecture,
        "blocks": str(anatomy.num_layers),
        "width": str(anatomy.hidden_size),
        "vocabulary": str(anatomy.vocab_size),
        "weights": subject.dtype,
        "embedding": anatomy.embedding_path,
        "fingerprint": subject.fingerprint[:12],
    }
    for row in rows.items():
        table.add_row(*row)
    return table


def _sites(result: SelfCheck) -> Table:
    table = _table("site", "layers", title="sites")
    for kind, layers in result.sites.items():
        table.add_row(kind, spans(layers) if layers else "the whole model")
    return table


def _parts(subject: Subject) -> Table:
    table = _table("layers", "part", "module", "size", title="parts of a block")
    for layers, parts in _alike(list(subject.anatomy.parts)):
        heads, first = parts.heads, spans(layers)
        size = {
            "attention": heads
            and f"{heads.num_heads} heads of {heads.value_dim}, {heads.num_kv_heads} for keys",
            "down_proj": parts.mlp_size and f"{parts.mlp_size} neurons",
            "experts": parts.num_experts and f"{parts.num_experts} experts",
        }
        for name in ("attention", "o_proj", "mixer", "mlp", "down_proj", "router", "experts"):
            if path := getattr(parts, name):
                table.add_row(first, name, path, str(size.get(name) or ""))
                first = ""
    return table


def _blocks(result: SelfCheck) -> Table:
    table = _table("layers", "resid_post is", title="what a block adds up to")
    for layers, terms in _alike([str(sum_) for sum_ in result.additivity]):
        table.add_row(spans(layers), terms)
    return table


def _checks(result: SelfCheck) -> Table:
    table = _table("statement", "", "error", "note", title="self-check")
    for check in result.checks:
        error = "" if check.error is None else f"{check.error:.1e}"
        table.add_row(check.name, outcome(check), error, check.note)
    return table


def outcome(check: Check) -> str:
    """In one word: whether a statement holds, or that it is only a fact of the model that it does not."""
    if check.holds is None:
        return "not checked"
    if check.holds:
        return "holds"
    return "FAILS" if check.required else "not so"


def _alike(values: list[Any]) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Equal values with the layers that have them, in order of the first."""
    for value in dict.fromkeys(values):
        yield tuple(layer for layer, other in enumerate(values) if other == value), value


def spans(layers: tuple[int, ...]) -> str:
    """Layers in short: `0-3, 5`."""
    starts = [layer for layer in layers if layer - 1 not in layers]
    ends = [layer for layer in layers if layer + 1 not in layers]
    return ", ".join(
        str(start) if start == end else f"{start}-{end}" for start, end in zip(starts, ends, strict=True)
    )


def _table(*columns: str, title: str) -> Table:
    from rich.table import Table

    return Table(*columns, title=title, show_header=any(columns), title_justify="left")
