"""A short part of `make faults`: a kill of what is short, a few of what is killed most, and each place once."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.faults.kills import different, kill_at_random
from tests.faults.places import WRITERS, call, prepared, refused, small_disk, works
from tests.faults.scenes import SCENES, left_over


@pytest.mark.parametrize(
    ("name", "kills"),
    [
        pytest.param("tuned-lens train", 1, marks=pytest.mark.nested),
        pytest.param("organism train", 3, marks=pytest.mark.slow),
        pytest.param("pytest -n 2 --probe-save", 3, marks=pytest.mark.slow),
    ],
)
def test_a_kill_loses_nothing(name: str, kills: int, tmp_path: Path):
    """Killed at random moments and gone on with, a command leaves what it leaves when it is left alone."""
    outcome = kill_at_random(SCENES[name], kills, tmp_path)
    assert outcome.kills >= kills
    assert not outcome.problems, "\n".join(outcome.problems)


def test_what_a_kill_lost_is_seen(tmp_path: Path):
    """Files that are missing, that differ and that were left over are each told by name."""
    scene = SCENES["tuned-lens train"]
    whole, run = tmp_path / "whole" / "out", tmp_path / "run" / "out"
    for folder, text in ((whole, "a"), (run, "b")):
        folder.mkdir(parents=True)
        (folder / "tuned_lens.json").write_text(text)
    (whole / "tuned_lens.safetensors").write_text("a")
    (run / ".tuned_lens.partial.json").write_text("")
    assert different(scene, run.parent, whole.parent) == [
        "out/tuned_lens.json differs",
        "out/tuned_lens.safetensors is missing",
    ]
    assert left_over(run.parent) == ["out/.tuned_lens.partial.json was left over"]


def test_a_full_disk_is_one_line(tmp_path: Path):
    """A command whose disk is full says so in a line, and leaves nothing half-written."""
    name = "logit-lens -o"
    run = prepared(tmp_path / "run", name)
    with small_disk(run / "out", 0) as mounted:
        if not mounted:
            pytest.skip("no file system can be mounted here")
        ended = call(WRITERS[name], run)
        assert not refused(name, ended, "the disk is full", errno.ENOSPC)
        assert [path.name for path in (run / "out").iterdir()] == ["filler"]


def test_a_read_only_folder_is_one_line(tmp_path: Path):
    """A folder that cannot be written to is named before any work begins."""
    name = "logit-lens -o"
    run = prepared(tmp_path / "run", name)
    (run / "out").mkdir(mode=0o555)
    ended = call(WRITERS[name], run, ordinary=True)
    assert not refused(name, ended, "the folder cannot be written to", errno.EACCES)
    assert "out/lens.json" in ended.words


@pytest.mark.slow
def test_hard_names_and_bare_environments_work(tmp_path: Path):
    """Brackets, quotes and 200 characters in a path, no HOME, no TMPDIR, ASCII and 64 files: all at once."""
    name = "logit-lens -o"
    run = prepared(tmp_path / ("[a] 'b', " + "x" * 190), name)
    gone = {"HOME": None, "TMPDIR": str(tmp_path / "gone"), "LC_ALL": "C", "PYTHONUTF8": "0"}
    assert not works(name, call(WRITERS[name], run, gone, open_files=64), "everything is odd")
