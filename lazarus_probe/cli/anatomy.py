"""`lazarus anatomy`: the structure of a model, and whether hooks work correctly on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from lazarus_probe.cli.options import Adapter, AsJson, Model
from lazarus_probe.cli.output import print_boxed, show_json
from lazarus_probe.tables import Column, Table

if TYPE_CHECKING:
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
        show_json(as_data(subject, result), as_json)
        return result.ok
    print_boxed(_model(subject, result), _sites(result), _parts(subject), _blocks(result), _checks(result))
    verdict = "hooks do what they say" if result.ok else f"{len(result.failed)} statements do not hold"
    typer.echo(f"{subject.name}: {verdict}")
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
    return Table(("", ""), list(rows.items()), subject.name)


def _sites(result: SelfCheck) -> Table:
    rows = [(kind, spans(layers) if layers else "the whole model") for kind, layers in result.sites.items()]
    return Table(("site", "layers"), rows, "sites")


def _parts(subject: Subject) -> Table:
    rows = []
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
                rows.append((first, name, path, size.get(name) or ""))
                first = ""
    return Table(("layers", "part", "module", "size"), rows, "parts of a block")


def _blocks(result: SelfCheck) -> Table:
    rows = [(spans(layers), terms) for layers, terms in _alike([str(terms) for terms in result.additivity])]
    return Table(("layers", "resid_post is"), rows, "what a block adds up to")


def _checks(result: SelfCheck) -> Table:
    rows = [
        (check.name, outcome(check), "" if check.error is None else check.error, check.note)
        for check in result.checks
    ]
    return Table(("statement", "", Column("error", ".1e"), "note"), rows, "self-check")


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
