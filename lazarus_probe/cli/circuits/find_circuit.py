"""`lazarus introspect find-circuit`: the edges that make a model answer as it does, and how much they do alone."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.circuits.pairs import Clean, Corrupted, Pairs, circuit_pairs
from lazarus_probe.cli.options import Adapter, AsJson, Model, Output, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output

if TYPE_CHECKING:
    from lazarus_probe.introspection.circuits.circuit_graph import CircuitGraph


class LeftOut(StrEnum):
    """What edges outside the circuit carry."""

    resample = "resample"
    mean = "mean"
    zero = "zero"


def find_circuit(
    model: Model,
    clean: Clean = None,
    corrupted: Corrupted = None,
    pairs: Pairs = None,
    adapter: Adapter = None,
    steps: Annotated[
        int, typer.Option(min=1, help="Gradients between corrupted and clean embeddings; 1 is plain EAP.")
    ] = 5,
    edges: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Edges with the largest scores to keep.",
            show_default="the fewest that are faithful enough",
        ),
    ] = None,
    faithful: Annotated[
        float, typer.Option(help="Faithfulness that is enough, on the pairs that the circuit is found on.")
    ] = 0.85,
    ablation: Annotated[
        LeftOut,
        typer.Option(
            help="What left out edges carry: the corrupted run, its mean over the prompts, or nothing."
        ),
    ] = LeftOut.resample,
    prune: Annotated[
        bool, typer.Option("--prune", help="Leave out what is not needed, by exact runs: slow.")
    ] = False,
    same_pairs: Annotated[
        bool, typer.Option("--same-pairs", help="Find and measure the circuit on the same pairs.")
    ] = False,
    exact: Annotated[int, typer.Option(min=0, help="Edges to patch exactly, the largest scores first.")] = 20,
    other: Annotated[
        list[Path] | None,
        typer.Option(
            help="Pairs of another task, a file as for --pairs, on which the circuit is measured too; repeatable."
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="A file that keeps what is done, from which the search resumes if it is interrupted."
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Edges to show; the JSON data has all.")] = 20,
    seed: Seed = 0,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Find the edges between heads and MLPs that make a model answer the clean prompts as it does, and measure them.

    Edge attribution patching with integrated gradients (Syed et al. 2023, arXiv:2310.10348; Hanna et al. 2024,
    arXiv:2403.17806) on half of the pairs. On the other half: faithfulness with its curve (CPR and CMD of MIB,
    arXiv:2504.13151), the model without the circuit, random circuits of its size, and exact effects.
    """
    check_output(output)
    prompt_pairs = circuit_pairs(clean, corrupted, pairs)
    others = {file.stem: circuit_pairs(None, None, file) for file in other or ()}
    from lazarus_probe.introspection.circuits import find_circuit as finding
    from lazarus_probe.introspection.circuits.circuit_search import CircuitSearch
    from lazarus_probe.subject.subject import Subject

    search = CircuitSearch(
        steps=steps,
        edges=edges,
        faithful=faithful,
        ablation=ablation.value,
        held_out=not same_pairs,
        prune=prune,
        exact=exact,
        seed=seed,
    )
    subject = Subject.load(model, adapter)
    circuit = finding.find_circuit(subject, prompt_pairs, search, others=others, progress=True, resume=resume)
    data = circuit.as_data() | {"about": about(subject, seed)}
    deliver(data, as_text(circuit, top), as_json=as_json, output=output)


def as_text(circuit: CircuitGraph, top: int) -> str:
    """The measures, the curve and the best edges."""
    from lazarus_probe.untrusted import in_line

    lines = [title(f"CIRCUIT: {in_line(circuit.model)}"), circuit.summary(), ""]
    lines += [circuit.curve_table().text(), "", circuit.table(top).text()]
    if len(circuit.edges) > top:
        lines.append(f"... and {len(circuit.edges) - top} more with smaller scores")
    lines.append(
        "\nScore: the change of the metric if the edge is corrupted, to first order; effect: exactly; loss: of "
        "faithfulness,\nif the circuit goes without it. Left: edges on a path from the embedding to the logits."
    )
    return "\n".join(lines)
