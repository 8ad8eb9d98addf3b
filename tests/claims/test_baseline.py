from __future__ import annotations

import pytest

from lazarus_probe.claims.baseline import misfit, read_baseline, write_baseline
from lazarus_probe.claims.claim import ClaimError
from lazarus_probe.claims.record import Known
from lazarus_probe.claims.verdict import Outcome


def test_what_is_written_is_read(tmp_path, a_record):
    """A baseline keeps verdict and numbers of each claim, by claim and parameters."""
    path = tmp_path / "baselines" / "tiny.json"
    kept = write_baseline(path, [a_record(0.95, parameters="L2"), a_record(0.5, parameters="L10")], seed=3)
    assert kept == "kept 2 verdicts (2 new, 0 changed), 0 more as they were"
    baseline = read_baseline(path)
    assert (baseline.model, baseline.seed) == ("tiny", 3)
    record = a_record(0.5, parameters="L10")
    known = baseline.known("c[L10]", record.claim_hash)
    assert (known.outcome, known.score, known.low) == (Outcome.REFUTED, 0.5, 0.48)
    assert baseline.known("c[L10]", "another hash") is None
    assert baseline.known("c", record.claim_hash) is None
    assert [each.name for each in path.parent.iterdir()] == ["tiny.json"]


@pytest.mark.parametrize(
    ("fingerprint", "seed", "keys"),
    [("f" * 64, 0, ["c[a]", "c[b]"]), ("e" * 64, 0, ["c[b]"]), ("f" * 64, 1, ["c[b]"])],
)
def test_other_claims_stay_for_the_same_model_and_seed(tmp_path, a_record, fingerprint, seed, keys):
    """Saving some claims leaves the others, unless they are of other weights or another seed."""
    path = tmp_path / "tiny.json"
    write_baseline(path, [a_record(parameters="a")], seed=0)
    write_baseline(path, [a_record(parameters="b", fingerprint=fingerprint)], seed=seed)
    assert list(read_baseline(path).claims) == keys


def test_misfit_says_why(tmp_path, a_record):
    """A baseline of other weights or of another seed says so."""
    path = tmp_path / "tiny.json"
    write_baseline(path, [a_record()], seed=0)
    baseline = read_baseline(path)
    assert misfit(baseline, "f" * 64, 0) is None
    assert "fingerprint ffffffffffff, this one has eeeeeeeeeeee" in misfit(baseline, "e" * 64, 0)
    assert misfit(baseline, "f" * 64, 1) == "it was measured with seed 0, this run has 1"


def test_a_folder_is_no_baseline(tmp_path):
    """What cannot be read is named in one line."""
    with pytest.raises(ClaimError, match=r"cannot be read: .*; make one with --probe-save"):
        read_baseline(tmp_path)


def test_change_is_told_with_both_numbers(a_record):
    """A changed verdict is told with the old and the new numbers, an unchanged one as known."""
    known = Known(outcome=Outcome.REFUTED, score=0.3, low=0.2, high=0.4, claim_hash="h")
    record = a_record(0.95, known=known)
    assert record.changed
    assert record.known_line() == "baseline refuted 0.30 [0.20, 0.40], now supported 0.95 [0.93, 0.97]"
    assert not a_record(0.5, known=known).changed
    assert a_record(0.5, known=known).sentence.startswith("c on tiny: refuted (as in the baseline): accuracy")
    moot = known.model_copy(
        update={"outcome": Outcome.NOT_APPLICABLE, "score": None, "low": None, "high": None}
    )
    assert a_record(0.5, known=moot).known_line() == "baseline not applicable, now refuted 0.50 [0.48, 0.52]"
