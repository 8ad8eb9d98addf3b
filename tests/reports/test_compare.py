from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from lazarus_probe.claims.attempt_record import Broken
from lazarus_probe.claims.baseline import save_baseline
from lazarus_probe.claims.claim import ClaimError, make_claim
from lazarus_probe.claims.families import correct
from lazarus_probe.claims.record import ClaimRecord, MeasurementRecord, ModelRecord
from lazarus_probe.claims.verdict import claim_p, judge
from lazarus_probe.reports.run import Run, RunError, make_run
from lazarus_probe.reports.versions.compare import compare_runs
from lazarus_probe.reports.versions.compare_table import comparison_markdown, comparison_text
from lazarus_probe.reports.versions.sides import read_side, run_side
from lazarus_probe.reports.write import write_run
from lazarus_probe.statistics.measurement import Control, Measurement


@pytest.fixture
def record() -> Callable[..., ClaimRecord]:
    """A claim's record with that score, judged."""

    def make(
        name: str, score: float, model: str = "tiny", reach: float = 0.02, **changes: object
    ) -> ClaimRecord:
        fields = {"kind": "decodability", "threshold": 0.9, "margin": 0.1, "controls": ["majority"]}
        fields |= {"id": name, "statement": "It is so.", "source": "a paper", "family": "all"}
        measured = {"n": 100, "groups": 20, "unit": "accuracy", "tokens": 300, "p": 0.001}
        claim = make_claim({**fields, **{key: changes.pop(key) for key in fields if key in changes}}, "test")
        measurement = Measurement(
            score,
            score - reach,
            score + reach,
            controls=(Control("majority", 0.2, score - 0.2, score - 0.2 - reach, score - 0.2 + reach),),
            **{**measured, **changes},
        )
        verdict = judge(claim, measurement)
        return ClaimRecord(
            claim=claim,
            claim_hash=claim.hash,
            test=f"test_c.py::test_{name}[{model}]",
            parameters="",
            model=ModelRecord(name=model, fingerprint=model[0] * 64, num_layers=2, dtype="float32"),
            outcome=verdict.outcome,
            alone=verdict.outcome,
            reason=verdict.reason,
            requirements=[],
            measurement=MeasurementRecord.model_validate(measurement.as_dict()),
            p=claim_p(claim, measurement),
        )

    return make


def made(*records: ClaimRecord, seed: int = 0, broken: tuple[Broken, ...] = ()) -> Run:
    corrected, families = correct(records)
    return make_run(corrected, [seed], [], partial=False, families=families, broken=broken)


def compared(old: Run, new: Run):
    return compare_runs(run_side(old, "old"), run_side(new, "new"))


def groups(found) -> dict[str, str]:
    return {line.claim: line.group for line in found.lines}


def test_every_group(record):
    """Each claim is in the group that says what became of it, and those that need a look come first."""
    old = made(*(record(name, 0.95) for name in "abcef"), record("d", 0.95, threshold=0.8))
    broken = Broken(test="test_c.py::test_e[tiny]", error="no", claim="e", model="tiny")
    new = made(
        record("a", 0.95),
        record("b", 0.5),
        record("c", 0.99),
        record("d", 0.95),
        record("g", 0.95),
        broken=(broken,),
    )
    found = compared(old, new)
    assert groups(found) == {
        "e": "broken",
        "f": "gone",
        "b": "lost",
        "c": "effect moved",
        "d": "declared otherwise",
        "g": "new",
        "a": "unchanged",
    }
    assert list(found.counts) == list(groups(found).values())
    assert found.remarks == ("threshold of d changed since the baseline: 0.8 -> 0.9",)


@pytest.mark.parametrize(
    ("now", "broken", "code"),
    [
        ({"a": 0.95}, (), 0),
        ({"a": 0.99}, (), 0),
        ({"a": 0.95, "b": 0.95}, (), 0),
        ({"a": 0.5}, (), 1),
        ({}, (), 3),
        ({}, ("a",), 3),
        ({"a": 0.5}, ("b",), 3),
        ({"a": 0.95}, ("",), 3),
    ],
)
def test_exit_codes(record, now, broken, code):
    """Nothing, or a score alone, is 0; a verdict is 1; a claim without one is 3, whatever else changed."""
    tests = tuple(
        Broken(test=f"t_{name}", error="no", claim=name, model="tiny" * bool(name)) for name in broken
    )
    new = made(*(record(name, score) for name, score in now.items()), broken=tests)
    found = compared(made(record("a", 0.95)), new)
    assert found.code == code


def test_the_same_run_is_unchanged(record):
    """A run differs from itself in nothing, and every difference is 0 within its interval."""
    run = made(record("a", 0.95), record("b", 0.5))
    found = compared(run, run)
    assert found.counts == {"unchanged": 2}
    assert not found.remarks
    for line in found.lines:
        assert line.old.difference.score == 0
        assert line.old.difference.low < 0 < line.old.difference.high


def test_a_difference_is_real_beyond_both_intervals(record):
    """A difference counts where its own interval, of two independent estimates, leaves out 0."""
    for reach, real in ((0.02, True), (0.04, False)):
        found = compared(made(record("a", 0.5, reach=reach)), made(record("a", 0.55, reach=reach)))
        (line,) = found.lines
        assert line.group == ("effect moved" if real else "unchanged")
        assert line.old.difference.real is real
        half = 2**0.5 * reach
        assert (line.old.difference.low, line.old.difference.high) == pytest.approx(
            (0.05 - half, 0.05 + half)
        )


def test_families_of_other_claims_are_compared_alone(record):
    """A verdict that only its family cut is another if the same claims ran, and the same if others did."""
    weak, strong, false = record("a", 0.95, p=0.03), record("b", 0.95), record("b", 0.5)
    found = compared(made(weak, strong), made(weak, false))
    assert groups(found) == {"b": "lost", "a": "weakened"}
    found = compared(made(weak, strong), made(weak, false, record("c", 0.5)))
    assert groups(found) == {"a": "unchanged", "b": "lost", "c": "new"}


def test_models_are_matched(record):
    """Two versions of one model are compared under whatever names; of several models each with its own."""
    early, late, other = (record("a", 0.95, model=name) for name in ("early", "late", "other"))
    assert compared(made(early), made(late)).counts == {"unchanged": 1}
    assert (
        compared(made(early), made(late))
        .remarks[0]
        .startswith("of other weights: early (eeeeeeeeeeee), now late")
    )
    found = compared(made(early, late), made(late, other))
    assert [(line.model, line.group) for line in found.lines] == [
        ("early", "gone"),
        ("other", "new"),
        ("late", "unchanged"),
    ]


def test_what_else_differs_is_named(record):
    """Other seeds, other prompts and a partial run are said."""
    new = made(record("a", 0.95, tokens=310), seed=1).model_copy(update={"partial": True, "cases": 3})
    assert compared(made(record("a", 0.95)), new).remarks == (
        "measured with other seeds: seed 0, now seed 1; prompts and controls differ too",
        "new is partial: 1 of 3 claims",
        "the prompts took another number of tokens, or were others, in a",
    )


def test_sides_are_found(record, tmp_path):
    """A side is a run's folder or run.json, the latest of a folder of runs, or a baseline's file or name."""
    run = made(record("a", 0.95))
    folder = write_run(run, tmp_path)
    assert write_run(run, tmp_path).name == f"{folder.name}~2"
    save_baseline(tmp_path / "baselines" / "v1.json", run.claims, [0])
    for given in (folder, folder / "run.json", folder.name, tmp_path / "baselines" / "v1.json", "v1"):
        side = read_side(str(given), tmp_path)
        assert side.models == {"tiny": "t" * 64}
        assert side.claims["tiny"]["a"].score == 0.95
    assert read_side(str(tmp_path)).name == f"{folder.name}~2"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("{", RunError, "cannot be read: Expecting property name"),
        ("[]", RunError, "is no run: the file: "),
        (
            '{"schema_version": 9, "environment": {}}',
            RunError,
            "has schema 9, this version reads 2 to 4: update",
        ),
        (
            '{"schema_version": 9, "model": "tiny"}',
            ClaimError,
            "has schema 9, this version reads up to 4: update",
        ),
        ('{"model": "tiny"}', ClaimError, "is no baseline: fingerprint: Field required"),
        (
            None,
            RunError,
            "is neither a run's folder or run.json nor a baseline's file or name; baselines in .* are v1",
        ),
    ],
)
def test_what_is_no_side_is_named(tmp_path, text, error, message):
    """What is damaged, of a newer schema, or not there is refused with its name and what would be right."""
    (tmp_path / "baselines").mkdir()
    (tmp_path / "baselines" / "v1.json").write_text("{}")
    path = tmp_path / "side.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(error, match=message) as caught:
        read_side(str(path), tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_runs_is_named(tmp_path):
    """A folder that holds no run is no side."""
    with pytest.raises(RunError, match="there is no run in "):
        read_side(str(tmp_path))


def test_texts_show_both_verdicts(record):
    """Text lists every claim; Markdown only what is not unchanged, with markup escaped; JSON has the numbers."""
    broken = Broken(test="t", error="a | b <c>", claim="c", model="tiny")
    found = compared(
        made(record("a", 0.95), record("b", 0.95)),
        made(record("a", 0.5), record("b", 0.95), broken=(broken,)),
    )
    text = comparison_text(found)
    (line,) = [line for line in text.splitlines() if line.startswith("lost       a")]
    words = " ".join(line.split())
    assert words.endswith("supported 0.95 [0.93, 0.97] refuted 0.50 [0.48, 0.52] -0.45 [-0.48, -0.42] 300")
    assert text.splitlines()[-1] == "broken: 1, lost: 1, unchanged: 1"
    rows = [line for line in comparison_markdown(found).splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert all(row.replace("\\|", "").count("|") == 8 for row in rows)
    assert "a \\| b &lt;c>" in rows[2]
    data = json.loads(json.dumps(found.as_dict()))
    assert data["code"] == 3
    (line,) = [line for line in data["lines"] if line["claim"] == "a"]
    assert line["old"]["difference"]["real"] is True
    assert (line["old"]["outcome"], line["new"]["outcome"]) == ("supported", "refuted")


def test_a_comparison_fits_a_narrow_terminal(record, monkeypatch):
    """At 80 columns no line is longer, each row of each block begins with its claim, and one model is not repeated."""
    names = ["layer-four-holds-the-operation", "a-head-reads-the-operator"]
    found = compared(
        made(*(record(name, 0.95) for name in names)), made(*(record(name, 0.5) for name in names))
    )
    monkeypatch.setenv("COLUMNS", "80")
    lines = comparison_text(found).splitlines()
    assert max(map(len, lines)) <= 80
    table = lines[lines.index("") + 1 : len(lines) - lines[::-1].index("") - 1]
    rows = [line for line in table if "supported" in line or "refuted" in line or "-0.45" in line]
    assert len(rows) >= 4
    assert all(any(row.startswith(name) for name in names) for row in rows)
    assert not any(line.split()[:1] == ["model"] or " model " in line for line in table)
    monkeypatch.setenv("COLUMNS", "160")
    assert any(
        re.match(r"lost +layer-four-holds-the-operation +supported", line)
        for line in comparison_text(found).splitlines()
    )


def test_many_lines_need_more(record):
    """A difference that is real by itself may be chance among many lines, of one model or of several; the text says."""
    names = [f"c{index}" for index in range(30)]
    old = [record(name, 0.5) for name in names]
    for shift, moved in ((0.035, False), (0.1, True)):
        new = [record(name, 0.5 + shift * (name == "c3")) for name in names]
        for before, now in (
            (made(*old), made(*new)),
            (
                made(record("a", 0.5, model="other"), *old[:29]),
                made(record("a", 0.5, model="other"), *new[:29]),
            ),
        ):
            found = compared(before, now)
            (line,) = [line for line in found.lines if line.claim == "c3"]
            assert line.old.difference.low > 0
            assert line.group == ("effect moved" if moved else "unchanged")
            assert (found.compared, line.old.difference.lines) == (30, 30)
            words = "scores compared: 30; an effect has moved where its difference survives Benjamini-Hochberg over"
            assert words in comparison_text(found)
            assert words in comparison_markdown(found)
            assert found.as_dict()["compared"] == 30


def test_runs_of_several_seeds_are_named(record):
    """A run of pooled seeds says which, and differs from one of its seeds alone."""
    one = made(record("a", 0.95))
    several = one.model_copy(update={"seeds": (0, 1, 2)})
    found = compared(one, several)
    assert found.remarks == (
        "measured with other seeds: seed 0, now seeds 0, 1, 2 pooled; prompts and controls differ too",
    )
    assert "seeds 0, 1, 2 pooled\n" in comparison_text(found)
    assert (found.as_dict()["old"]["seeds"], found.as_dict()["new"]["seeds"]) == ([0], [0, 1, 2])
