"""`lazarus test`: the claims that come with the package, on a model."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lazarus_probe.cli.options import Adapter, Model, Topic, Words

QUICK = 10.0  # seconds that a claim of `--quick` took when it was measured


def test(
    model: Model,
    words: Words = None,
    topic: Topic = None,
    quick: Annotated[
        bool, typer.Option("--quick", "-q", help="Leave out claims that train the model or take long.")
    ] = False,
    adapter: Adapter = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Test the I-th of N parts, as in 2/5; `lazarus report merge` joins them."
        ),
    ] = None,
    reports: Annotated[Path, typer.Option(help="Folder to write the run to.")] = Path("reports"),
) -> None:
    """Test the claims that come with the package on a model.

    pytest runs them, with a line for each claim as it is decided, and a table at the end. The exit code is pytest's: 1
    where a claim is refuted or confounded, and this is not what the model's baseline in the folder of reports says. All
    of pytest's options are there with `pytest --pyargs lazarus_probe.hypotheses --probe-model MODEL`.
    """
    from lazarus_probe.checkpoints.names import num_layers_of
    from lazarus_probe.claims.library import chosen_claims, measured_costs
    from lazarus_probe.reports.pytest_command import pytest_command
    from lazarus_probe.subject.one_run import require_one_process

    pyargs = f"pytest --pyargs lazarus_probe.hypotheses --probe-model {shlex.quote(model)}"
    require_one_process("lazarus test", pyargs)
    num_layers_of(model)
    chosen, costs = chosen_claims(words or (), topic or ()), measured_costs()
    if quick:
        chosen = tuple(item for item in chosen if not item.trains and costs.get(item.claim.id, 0) <= QUICK)
    if not chosen:
        raise ValueError("all of these claims train the model or take long: leave --quick out")
    expected = _expected([item.claim.id for item in chosen], model)
    typer.echo(f"{len(chosen)} {'claim' if len(chosen) == 1 else 'claims'} on {model}{expected}")
    more = [
        *("--probe-progress", "--tb=no", "-rN"),
        *(("--probe-adapter", str(adapter)) if adapter else ()),
        *(("--probe-shard", shard) if shard else ()),
    ]
    command = pytest_command(chosen, [model], reports, more)
    raise typer.Exit(subprocess.run(command, check=False).returncode)  # noqa: S603 - the interpreter at hand


def _expected(claims: Sequence[str], model: str) -> str:
    """What the claims took on this model when they were measured on one core, or else on the default one."""
    from lazarus_probe.plugin.claim_lines import duration
    from lazarus_probe.plugin.expected import measured_seconds
    from lazarus_probe.plugin.models import DEFAULT_MODEL

    by_model = {name: measured_seconds(claims, name) for name in (model, DEFAULT_MODEL)}
    known = {name: seconds for name, seconds in by_model.items() if seconds}
    return "".join(f"; about {duration(seconds)} on {name}" for name, seconds in [*known.items()][:1])
