from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from lazarus_probe.cli.lazarus import app
from lazarus_probe.reports.card import card_markdown
from lazarus_probe.reports.run import make_run, read_run
from lazarus_probe.reports.summary import summary_markdown
from lazarus_probe.reports.versions.compare import compare_runs
from lazarus_probe.reports.versions.compare_table import comparison_markdown, comparison_text
from lazarus_probe.reports.versions.sides import run_side
from lazarus_probe.reports.write import write_run


@pytest.fixture(scope="module")
def run(make_full_run):
    return make_full_run()


def invoke(*arguments: object):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def test_card_says_what_was_found_and_what_was_not(run):
    """Supported findings come first with numbers, interval, controls and source; all else has one line each."""
    found, others = card_markdown(run).split("### Tested and not found")
    others, repeat = others.split("### To repeat it")
    supported = [record for record in run.claims if record.outcome == "supported"]
    assert found.count("\n- **") == len(supported) > 1
    for record in supported:
        measured = record.measurement
        assert f"{measured.unit} {measured.score:.2f} [{measured.low:.2f}, {measured.high:.2f}], " in found
        assert all(f"{control.name} {control.score:.2f}" in found for control in measured.controls)
        assert f"claim `{record.claim.id}`, hash `{record.claim_hash}`" in found
    lines = [line for line in others.splitlines() if line.startswith("- ")]
    missed = [record for record in run.claims if record.outcome in ("refuted", "confounded", "inconclusive")]
    assert [line.split(":")[0] for line in lines] == [f"- {record.key}" for record in missed]
    assert "Not applicable to this model: claim-5." in others
    assert "    pytest hypotheses --probe-model=tiny\n" in repeat
    assert run.claims[0].model.fingerprint in repeat
    assert f"seed {run.seed}" in repeat
    assert "cut short" in found


def test_card_of_a_run_that_found_nothing(make_record):
    """Where no claim is supported the card says so."""
    run = make_run([make_record(5, measured=False)], [0], [], partial=False)
    text = card_markdown(run)
    assert "None of the claims is supported." in text
    assert "Tested and not found" not in text


def test_card_names_where_a_finding_fails(make_record):
    """A counterexample stands with the finding that it limits."""
    record = make_record(4, "L0", counterexamples=True)
    assert record.outcome == "supported"
    text = card_markdown(make_run([record], [0], [], partial=False))
    assert "It fails on two-digit products in \\`one line\\`: 0.10 [0.02, 0.30]." in text


def test_hostile_texts_stay_text_in_a_card(make_record, hostile):
    """Statement, source and arguments open no tag, end no block and hide nothing."""
    record = make_record(4, "L0", text=hostile)
    text = card_markdown(make_run([record], [0], ["-k", "```\n# x", "\u202e"], partial=False))
    assert "<script" not in text
    assert "\u202e" not in text
    (command,) = [line for line in text.splitlines() if line.startswith("    pytest")]
    assert command == "    pytest -k '``` # x' '\\u202e'"


def test_card_is_of_one_model(make_record):
    """A run of several models needs the name of one of them; a run of none has no card."""
    run = make_run([make_record(4, "L0"), make_record(4, "L0", model="other")], [0], [], partial=False)
    assert "tested on other (" in card_markdown(run, "other")
    with pytest.raises(ValueError, match=r"the run is of tiny, other: say with --model which one"):
        card_markdown(run)
    with pytest.raises(ValueError, match=r"the run is not of third, it is of tiny, other"):
        card_markdown(run, "third")
    with pytest.raises(ValueError, match=r"holds no verdict"):
        card_markdown(make_run([], [0], [], partial=True))


def test_commands_write_what_the_functions_make(run, make_full_run, tmp_path):
    """`report card` prints the card of a run, and `report page` writes its page, beside another run if asked."""
    folder = write_run(run, tmp_path / "reports")
    done = invoke("card", folder)
    assert done.output == card_markdown(read_run(folder))
    (folder / "index.html").unlink()
    done = invoke("page", folder)
    assert done.output == f"{folder / 'index.html'}\n"
    assert "Against the baseline" in (folder / "index.html").read_text()
    earlier = write_run(make_full_run(claims=3, model="early"), tmp_path / "earlier")
    done = invoke("page", folder, "--baseline", earlier, "--output", tmp_path / "both.html")
    assert done.exit_code == 0
    assert f"Against {earlier.name}" in (tmp_path / "both.html").read_text()


def test_commands_name_what_they_cannot_read(tmp_path):
    """What is no run, and a file in a folder that does not exist, are refused by name."""
    assert "neither a run's folder" in str(invoke("card", tmp_path / "nowhere").exception)
    assert "there is no run in" in str(invoke("page", tmp_path).exception)


def test_card_as_data(run, tmp_path):
    """`report card --json` holds the very Markdown that is printed without it."""
    folder = write_run(run, tmp_path)
    printed, data = invoke("card", folder), invoke("card", folder, "--json")
    assert (printed.exit_code, data.exit_code) == (0, 0)
    assert json.loads(data.stdout)["markdown"] == printed.stdout


FIELDS = "<script>alert(1)</script>`|x\n::error::y"


def test_no_field_of_a_run_is_markup(make_record):
    """Run, device, Python, versions, hashes and types are text in a card, a summary and a comparison."""
    record = make_record(4, "L0")
    model = record.model.model_copy(update={"fingerprint": FIELDS, "dtype": FIELDS, "name": FIELDS})
    record = record.model_copy(update={"model": model, "claim_hash": FIELDS, "test": FIELDS})
    run = make_run([record], [0], [], partial=False)
    where = dict.fromkeys(("python", "platform", "device", "blas"), FIELDS)
    where["packages"] = dict.fromkeys(("lazarus_probe", FIELDS), FIELDS)
    run = run.model_copy(update={"run": FIELDS, "environment": run.environment.model_copy(update=where)})
    side = run_side(run, FIELDS)
    for text in (card_markdown(run), summary_markdown(run), comparison_markdown(compare_runs(side, side))):
        assert "<script" not in text
        assert "\n::error" not in text
    assert "\n::error" not in comparison_text(compare_runs(side, side))
