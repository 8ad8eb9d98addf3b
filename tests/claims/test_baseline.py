from __future__ import annotations

import json
import subprocess
import sys

import pytest

from lazarus_probe.claims.baseline import (
    baseline_record_of,
    compared,
    compared_all,
    held_against,
    misfit,
    read_baseline,
    save_baseline,
    update_baseline,
)
from lazarus_probe.claims.baseline_record import BaselineRecord
from lazarus_probe.claims.claim import ClaimError
from lazarus_probe.claims.verdict import Outcome


@pytest.fixture
def known():
    """What a baseline holds of a claim; keyword arguments override its fields."""
    numbers = {"score": 0.3, "low": 0.2, "high": 0.4, "tokens": 300, "threshold": 0.9, "margin": 0.1}
    fields = {"outcome": Outcome.REFUTED, **numbers, "claim_hash": "h", "family": "all"}
    return lambda **changes: BaselineRecord(**{**fields, **changes})


def test_what_is_written_is_read(tmp_path, a_record):
    """A baseline keeps verdict and numbers of each claim, by claim and parameters."""
    path = tmp_path / "baselines" / "tiny.json"
    kept = update_baseline(
        path, [a_record(0.95, parameters="L2"), a_record(0.5, parameters="L10")], seeds=[3]
    )
    assert kept == "kept 2 verdicts (2 new, 0 changed), 0 more as they were"
    baseline = read_baseline(path)
    assert (baseline.model, baseline.seed, baseline.schema_version) == ("tiny", 3, 4)
    found = baseline.claims["c[L10]"]
    assert (found.outcome, found.score, found.low, found.high) == (Outcome.REFUTED, 0.5, 0.48, 0.52)
    assert (found.threshold, found.margin, found.family) == (0.9, 0.1, "all")
    assert found.claim_hash == a_record().claim_hash
    assert [each.name for each in path.parent.iterdir()] == ["tiny.json"]
    assert not {"compared", "difference", "remark"} & set(json.loads(path.read_text())["claims"]["c[L2]"])


@pytest.mark.parametrize(
    ("fingerprint", "seed", "keys"),
    [("f" * 64, 0, ["c[a]", "c[b]"]), ("e" * 64, 0, ["c[b]"]), ("f" * 64, 1, ["c[b]"])],
)
def test_other_claims_stay_for_the_same_model_and_seed(tmp_path, a_record, fingerprint, seed, keys):
    """Saving some claims leaves the others, unless they are of other weights or another seed."""
    path = tmp_path / "tiny.json"
    update_baseline(path, [a_record(parameters="a")], seeds=[0])
    update_baseline(path, [a_record(parameters="b", fingerprint=fingerprint)], seeds=[seed])
    assert list(read_baseline(path).claims) == keys


WRITER = """
import sys, time
from pathlib import Path
from lazarus_probe.claims.baseline import update_baseline
from lazarus_probe.claims.record import ClaimRecord

folder, me = Path(sys.argv[1]), sys.argv[2]
record = ClaimRecord.model_validate_json((folder / "record.json").read_text())
records = [record.model_copy(update={"parameters": f"{me}{i}"}) for i in range(11)]
(folder / f"{me}.ready").touch()
while len(list(folder.glob("*.ready"))) < 2:
    time.sleep(0.001)
for number in range(20):
    update_baseline(folder / f"round-{number}.json", records, [0])
"""


def test_two_writers_lose_no_claim(tmp_path, a_record):
    """Of two processes that bring 20 baselines up to date at once, 11 claims each, all 440 claims are kept."""
    (tmp_path / "record.json").write_text(a_record().model_dump_json())
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, tmp_path, me]) for me in ("a", "b")]
    assert [writer.wait() for writer in writers] == [0, 0]
    kept = [len(read_baseline(tmp_path / f"round-{number}.json").claims) for number in range(20)]
    assert kept == [22] * 20
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_name_never_loses_a_claim(tmp_path, a_record):
    """What is kept under a name is replaced by as much or more, never by less."""
    path = tmp_path / "v1.json"
    a, b = a_record(parameters="a"), a_record(parameters="b")
    assert save_baseline(path, [a], [0]) == "kept 1 verdicts, a new baseline"
    assert save_baseline(path, [a, b], [1]) == "kept 2 verdicts, in place of what it held"
    with pytest.raises(
        ClaimError, match=r"v1.json holds 1 claims that did not run \(c\[a\]\), and stays as it was"
    ):
        save_baseline(path, [b], [0])
    assert list(read_baseline(path).claims) == ["c[a]", "c[b]"]


@pytest.mark.parametrize("write", [update_baseline, save_baseline])
def test_what_is_no_baseline_is_left_alone(tmp_path, a_record, write):
    """A file that cannot be read as a baseline is never written over."""
    path = tmp_path / "tiny.json"
    path.write_text("mine")
    with pytest.raises(
        ClaimError, match=r"is no baseline: .*; take it away and make it anew with --probe-update"
    ):
        write(path, [a_record()], [0])
    assert path.read_text() == "mine"


def test_misfit_says_why(tmp_path, a_record):
    """A baseline of other weights or of another seed says so."""
    path = tmp_path / "tiny.json"
    update_baseline(path, [a_record()], seeds=[0])
    baseline = read_baseline(path)
    assert misfit(baseline, "f" * 64, [0]) is None
    assert "fingerprint ffffffffffff, this one has eeeeeeeeeeee" in misfit(baseline, "e" * 64, [0])
    assert misfit(baseline, "f" * 64, [1]) == "it was measured with seed 0, this run has seed 1"


def test_a_folder_is_no_baseline(tmp_path):
    """What cannot be read is named in one line."""
    with pytest.raises(
        ClaimError, match=r"cannot be read: .*; take it away and make it anew with --probe-update"
    ):
        read_baseline(tmp_path)


def test_change_is_told_with_both_numbers(a_record, known):
    """A changed verdict is told with the old and the new numbers and their difference, an unchanged one as known."""
    record = a_record(0.95, known=known())
    assert record.changed
    assert record.known_line() == "baseline refuted 0.30 [0.20, 0.40], now supported 0.95 [0.93, 0.97]"
    now = baseline_record_of(record)
    held = record.model_copy(update={"known": compared("c", now, known(claim_hash=now.claim_hash))})
    assert held.known_line() == f"{record.known_line()}, difference +0.65 [+0.55, +0.75]"
    assert not a_record(0.5, known=known()).changed
    assert a_record(0.5, known=known()).sentence.startswith(
        "c on tiny: refuted (as in the baseline): accuracy"
    )
    moot = known(outcome=Outcome.NOT_APPLICABLE, score=None, low=None, high=None)
    assert a_record(0.5, known=moot).known_line() == "baseline not applicable, now refuted 0.50 [0.48, 0.52]"


def test_a_claim_declared_otherwise_is_not_compared(a_record, known):
    """Another hash is another claim: no verdict is held against it, and what moved is said."""
    before = known(threshold=0.8)
    (record,) = held_against([a_record(0.95)], {"c": before})
    assert record.known.compared == "nothing"
    assert record.expected is None
    assert not record.changed
    assert record.sentence.startswith(
        "c on tiny: supported (threshold of c changed since the baseline: 0.8 -> 0.9): "
    )
    assert compared("c", known(claim_hash="i"), before.model_copy(update={"threshold": 0.9})).remark == (
        "c is declared otherwise than in the baseline"
    )


def test_tokens_that_changed_are_told(known):
    """Prompts that take another number of tokens are other prompts, or met another tokenizer."""
    assert compared("c", known(tokens=310), known()).remark == "the prompts of c took 300 tokens, now 310"
    assert compared("c", known(), known()).remark is None


@pytest.mark.parametrize(
    ("before", "now", "how"),
    [(["a", "b"], ["a", "b"], "outcome"), (["a", "b"], ["a"], "alone"), (["a"], ["a", "b"], "alone")],
)
def test_families_are_compared_as_wholes(known, before, now, how):
    """Final verdicts are compared where the same claims of the family were tested, and else the tests' own."""
    pairs = compared_all(dict.fromkeys(now, known()), dict.fromkeys(before, known()))
    assert pairs["a"].compared == how


@pytest.mark.parametrize(
    ("before", "now", "changed"),
    [
        (("inconclusive", "supported"), ("inconclusive", "supported"), False),
        (("supported", "supported"), ("inconclusive", "supported"), False),
        (("inconclusive", "supported"), ("supported", "supported"), False),
        (("inconclusive", "supported"), ("inconclusive", "inconclusive"), False),
        (("inconclusive", "inconclusive"), ("inconclusive", "supported"), True),
        (("supported", "supported"), ("refuted", "refuted"), True),
    ],
)
def test_alone_only_a_test_that_comes_out_otherwise_is_a_change(known, before, now, changed):
    """Where the families differ, what a family did is no change, and the outcome of the test itself is."""
    known = known(outcome=before[0], alone=before[1], compared="alone")
    assert known.differs(*now) is changed
    assert known.model_copy(update={"compared": "outcome"}).differs(*now) is (before[0] != now[0])


def test_an_update_of_a_part_keeps_the_family(tmp_path, a_record):
    """A verdict that only a missing family cut does not take the place of that of the whole family."""
    path = tmp_path / "tiny.json"
    whole = [a_record(parameters="a"), a_record(parameters="b")]
    update_baseline(path, whole, [0])
    cut = a_record(parameters="a", outcome=Outcome.INCONCLUSIVE, alone=Outcome.SUPPORTED, q=0.2)
    held = held_against([cut], read_baseline(path).claims)
    update_baseline(path, held, [0])
    assert read_baseline(path).claims["c[a]"].outcome == Outcome.SUPPORTED


def test_pooled_seeds_are_a_baseline_of_their_own(tmp_path, a_record):
    """A baseline of several seeds keeps them, and says nothing about a run of some of them."""
    path = tmp_path / "tiny.json"
    update_baseline(path, [a_record(parameters="a")], seeds=[0, 1, 2])
    baseline = read_baseline(path)
    assert (baseline.seed, baseline.seeds) == (0, (0, 1, 2))
    assert misfit(baseline, "f" * 64, [0, 1, 2]) is None
    assert (
        misfit(baseline, "f" * 64, [0, 1])
        == "it was measured with seeds 0, 1, 2 pooled, this run has seeds 0, 1 pooled"
    )
    document = json.loads(path.read_text())
    del document["seeds"]
    path.write_text(json.dumps({**document, "schema_version": 2}))
    assert read_baseline(path).seeds == (0,)
