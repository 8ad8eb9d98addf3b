"""Logs are appended to, cut back to the step that is gone on from, and drawn."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ET

import pytest

from lazarus_probe.training.curve import draw_curve
from lazarus_probe.training.log import Log, read_rows

ROWS = [
    {
        "step": step,
        "loss": 3.0 / step,
        "answer": 2.0 / step,
        "classification": 1e-9 * step,
        "validation": None,
    }
    for step in range(1, 9)
]
ROWS[3]["validation"], ROWS[5]["validation"], ROWS[7]["validation"] = 0.6, 0.4, 0.5


@pytest.fixture(params=["log.csv", "log.jsonl"])
def path(request, tmp_path):
    return tmp_path / "run" / request.param


def write(path, rows, start=0):
    with Log(path, start) as log:
        for row in rows:
            log.write(row)


def test_rows_come_back(path):
    """What was written is read as it was, to the last bit of a float, whichever the format."""
    write(path, ROWS)
    assert read_rows(path) == ROWS


def test_going_on_drops_later_rows(path):
    """Rows after the step that is gone on from are dropped, and a run in two parts leaves the log of one."""
    write(path, ROWS[:6])
    write(path, ROWS[4:], start=4)
    assert read_rows(path) == ROWS


def test_a_beginning_drops_all(path):
    """A log that begins anew holds nothing of a run before."""
    write(path, ROWS)
    write(path, ROWS[:2])
    assert read_rows(path) == ROWS[:2]


def test_a_row_is_on_the_disk_at_once(path):
    """A row can be read before the log is closed."""
    with Log(path) as log:
        log.write(ROWS[0])
        assert read_rows(path) == ROWS[:1]


def test_half_a_row_is_dropped(path):
    """A last row that was cut short, as by a full disk, is left out."""
    write(path, ROWS[:3])
    path.write_text(path.read_text()[:-3])
    assert read_rows(path) == ROWS[:2]


def test_formats_are_plain(tmp_path):
    """Any reader of CSV or of JSON lines can read a log."""
    write(tmp_path / "log.csv", ROWS)
    write(tmp_path / "log.jsonl", ROWS)
    with (tmp_path / "log.csv").open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(range(1, 9))
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == ROWS


def test_another_name_is_refused(tmp_path):
    """A file that is neither CSV nor JSON lines by its name is refused with the names that are."""
    with pytest.raises(ValueError, match=r"log\.csv or log\.jsonl"):
        Log(tmp_path / "log.txt")


def test_other_columns_are_refused(tmp_path):
    """A row with other columns would silently shift what a CSV says."""
    with Log(tmp_path / "log.csv") as log:
        log.write({"step": 1, "loss": 2.0})
        with pytest.raises(ValueError, match=r"\['step', 'loss'\] is needed"):
            log.write({"step": 2, "answer": 2.0})


@pytest.mark.parametrize(
    ("name", "text"), [("log.csv", "a,b\n1,2\n"), ("log.jsonl", "[1]\n"), ("log.jsonl", "x\n")]
)
def test_another_file_is_not_overwritten(tmp_path, name, text):
    """A file that is not a log is named when a run would resume with it, and stays as it is."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=f"{name} is not a log of steps"):
        Log(tmp_path / name, start=3)
    assert (tmp_path / name).read_text() == text


def test_curve_shows_parts_validation_and_best_step(path):
    """The curve names the parts of the loss, the validation loss and its best step."""
    write(path, ROWS)
    image = draw_curve(path, path.with_suffix(".svg"))
    texts = "".join(ET.fromstring(image.read_text()).itertext()) + image.read_text()
    for label in ("answer", "classification", "validation", "best, step 6", "mean of the last 50"):
        assert label in texts
