"""Warnings of the package point at its caller."""

from __future__ import annotations

import subprocess
import sys
import warnings

from lazarus_probe.cli import lazarus
from lazarus_probe.subject import CheckpointWarning, Subject
from tests.conftest import VARIANTS


def test_a_warning_names_the_callers_line(tmp_path, make_llama, save_checkpoint):
    """What loading notices five calls down is said of the line that asked to load."""
    folder = save_checkpoint(tmp_path / "tiny", make_llama(**VARIANTS["grouped"]), clip_qkv=3.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Subject.load(folder)
    own = [warning for warning in caught if warning.category is CheckpointWarning]
    assert own
    assert {warning.filename for warning in own} == {__file__}


def test_a_command_says_a_warning_in_one_line(tmp_path, make_llama, save_checkpoint):
    """No path, no line of code: the word, and what is wrong."""
    folder = save_checkpoint(tmp_path / "tiny", make_llama(**VARIANTS["grouped"]), clip_qkv=3.0)
    command = ["introspect", "generate", "-m", str(folder), "-p", "a", "-n", "1"]
    code = f"from lazarus_probe.cli.lazarus import main; raise SystemExit(main({command!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if "clip_qkv" in line]
    assert said
    assert said[0].startswith("warning: tiny: clip_qkv = 3.0 is ignored")
    assert ".py" not in done.stderr


def test_the_format_of_warnings_is_as_before_after_a_command(capsys):
    """A command called from Python changes nothing for what comes after it."""
    before = warnings.formatwarning
    assert lazarus.main(["--version"]) == 0
    assert warnings.formatwarning is before
