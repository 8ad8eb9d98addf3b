from __future__ import annotations

from lazarus_probe.reports.card import card_markdown
from lazarus_probe.reports.page import page_html
from lazarus_probe.reports.run import make_run
from lazarus_probe.reports.summary import HEADINGS, summary_markdown


def test_summary_holds_q_of_every_record(make_full_run):
    """Each row ends in the q of its record, where it has one."""
    run = make_full_run()
    head, _, *rows = [line for line in summary_markdown(run).splitlines() if line.startswith("|")]
    assert head == f"| {' | '.join(HEADINGS)} | q |"
    shown = [row.split("|")[-2].strip() for row in rows]
    assert shown == ["" if record.q is None else f"{record.q:.3f}" for record in run.claims]
    assert set(shown) - {"", "1.000"}


def test_summary_names_families_and_what_broke(make_full_run):
    """After the reasons every family has its sentence, and every broken test its error."""
    run = make_full_run()
    text = summary_markdown(run)
    families, broken = text.split("## Families")[1].split("## Broken tests")
    assert families.count("\n- ") == len(run.families)
    assert all(f"- {family.sentence}\n" in families for family in run.families)
    assert broken == "\n\n- test_c.py::test_lost[tiny]: ZeroDivisionError: by zero\n"


def test_summary_leaves_out_what_there_is_not(make_record):
    """A run without families and broken tests has no headings for them."""
    text = summary_markdown(make_run([make_record()], [0], [], partial=False))
    assert text.count("## ") == 1


def test_errors_are_escaped(make_full_run, hostile):
    """An error message is one line without markup, and nothing in it is hidden."""
    text = summary_markdown(make_full_run(text=hostile)).split("## Broken tests")[1]
    assert len(text.strip().splitlines()) == 1
    assert "<script" not in text
    assert "\u202e" not in text
    assert "\\u202e" in text


def test_a_measurement_without_controls_is_reported(make_record):
    """Where all controls were left out, since the verdict does not need them, every report says which."""
    record = make_record()
    bare = record.measurement.model_copy(update={"controls": [], "unmeasured": ["untrained"]})
    run = make_run(
        [record.model_copy(update={"measurement": bare, "outcome": "supported"})], [0], [], partial=False
    )
    assert f"| {record.key} |" in summary_markdown(run).replace("\\", "")
    assert record.key in page_html(run)
    assert "untrained" in card_markdown(run)
