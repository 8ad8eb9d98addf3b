"""`lazarus introspect test-circuit`: a circuit from a file, tested against the model on prompts of one's own."""

# ruff: noqa: PT028 - no test, though the command's name begins with test

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.circuits.pairs import Clean, Corrupted, Pairs, circuit_pairs
from lazarus_probe.cli.options import Adapter, AsJson, Model, Output, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output

if TYPE_CHECKING:
    from lazarus_probe.claims.verdict import Verdict
    from lazarus_probe.statistics.measurement import Measurement


def test_circuit(
    model: Model,
    file: Annotated[
        Path,
        typer.Argument(
            help="Edges: a circuit that find-circuit saved, text with an edge a line, or JSON of EAP-IG, auto-circuit "
            "or TransformerLens' names."
        ),
    ],
    clean: Clean = None,
    corrupted: Corrupted = None,
    pairs: Pairs = None,
    adapter: Adapter = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Test whether a circuit from a file is faithful, complete, minimal, and better than random ones.

    The tests of Shi et al. 2024 (arXiv:2410.13032), each with its interval. Give prompts that it was not found on.
    """
    check_output(output)
    prompt_pairs = circuit_pairs(clean, corrupted, pairs)
    from lazarus_probe.claims.declared import declared
    from lazarus_probe.claims.judging import judge_declared, verdict_data
    from lazarus_probe.introspection.circuits.edges.edge_lists import read_edges
    from lazarus_probe.introspection.circuits.listed_circuit import CLAIM, listed_circuit
    from lazarus_probe.introspection.circuits.splitting import split
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    kept = read_edges(file, split(subject).graph)
    measurement = listed_circuit(subject, prompt_pairs, kept, seed=seed)
    verdict = judge_declared(CLAIM, measurement)
    data = {
        "measurement": measurement.as_dict(),
        "verdict": verdict_data(declared(CLAIM), verdict),
        "about": about(subject, seed),
    }
    deliver(data, as_text(subject.name, file, measurement, verdict), as_json=as_json, output=output)


def as_text(model: str, file: Path, measurement: Measurement, verdict: Verdict) -> str:
    """The verdict, and below it a line for each test."""
    from lazarus_probe.statistics.intervals import estimate
    from lazarus_probe.untrusted import in_line

    details, controls = measurement.details, {control.name: control for control in measurement.controls}
    signs, p = details["outdoes_model"], details["rest_follows_model_p"]
    listed = (
        ""
        if details["listed"] == details["edges"]
        else f", {details['listed']} listed: the rest lead nowhere"
    )
    lines = [
        title(f"TEST OF A CIRCUIT: {in_line(model)}, {in_line(file.name)}"),
        f"{details['edges']} of {details['of']} edges{listed}",
        f"{measurement.n} pairs, {details['gap']:.3g} between the metric of clean and of corrupted prompts",
        "",
        f"Faithfulness, each pair from 0 to 1  {estimate(measurement.score, measurement.low, measurement.high)}",
        f"Random circuits of its shape         {controls['random_circuits'].score:.2f}; "
        f"{details['random_as_faithful']:.0%} of them are as faithful",
        f"The model without it                 {controls['without_circuit'].score:.2f}; 0 where it is complete",
    ]
    lines += [
        f"Edges needed (minimality)            {estimate(part.score, part.low, part.high)} of them, "
        f"of {part.n} drawn; .10 of random paths"
        for part in measurement.parts
    ]
    lines += [
        f"Outdoes the model (equivalence)      in {estimate(signs['share'], signs['low'], signs['high'])} of pairs; "
        f"as one of them in half, p = {signs['p']:.2g}",
        "The rest follows the model (HSIC)    "
        + ("too few pairs to tell" if p is None else f"p = {p:.2g}; small where something was left out"),
        "",
        f"{str(verdict.outcome).upper()}: {verdict.reason}",
    ]
    return "\n".join(lines)
