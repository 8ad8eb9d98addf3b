"""Commands whose batches are dealt to processes: the first prints what one process alone prints."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from lazarus_probe.cli.lazarus import main
from tests.cases import slow_except
from tests.processes import run_ranks

COMMANDS = (
    'causal-trace -m organism -p "The capital of France is" --part France',
    'knockout -m organism -p "The capital of France is" --part France',
    'ablate -m organism -p "45 * 45 = " -c 2025 -l 6,7 --multi',
    'path-patch -m organism --source "7*8=" --target "7+8=" --receiver logits',
    "layer-edits -m organism --edit swap",
    'self-repair -m organism -p "7*8=|6*9=" --answers "56|54" --others "15|15"',
    'format-sensitivity -m organism -p "156 + 287 =|50 + 25 ="',
    "arithmetic -m organism --quick",
)


@pytest.mark.nested
@pytest.mark.parametrize("command", slow_except(COMMANDS, COMMANDS[0]))
def test_a_command_prints_what_it_prints_alone(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On two processes a command prints the same, once, to the last digit."""
    monkeypatch.chdir(tmp_path)
    words = ["introspect", *shlex.split(command), "--json"]
    assert main(words) == 0
    alone = capsys.readouterr().out
    first, second = run_ranks(2, ["-m", "lazarus_probe.cli.lazarus", *words, "--parallel", "data"], tmp_path)
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert first.out == alone
    assert len(alone) > 200
    assert second.out == ""


SUITE = "pytest --pyargs lazarus_probe.hypotheses --probe-model organism --probe-parallel data"
REFUSAL = "runs in one process, and here are 2; leave out --parallel data"
ALONE = {
    "experiment virtual-expert -m organism": f"a study {REFUSAL}",
    "test -m organism": f"lazarus test {REFUSAL}, or run `{SUITE}`",
    "demo": f"the demo {REFUSAL}",
    "mutants -m organism": f"a suite on mutants {REFUSAL}",
}


@pytest.mark.parametrize("command", slow_except(list(ALONE), "test -m organism"))
def test_what_starts_processes_is_refused(tmp_path: Path, command: str) -> None:
    """What each process would write or start for itself is refused in a line, by both."""
    words = [*command.split(), "--parallel", "data"]
    for process in run_ranks(2, ["-m", "lazarus_probe.cli.lazarus", *words], tmp_path):
        assert process.code == 2
        assert ALONE[command] in process.err
    assert not list(tmp_path.glob("reports*"))
