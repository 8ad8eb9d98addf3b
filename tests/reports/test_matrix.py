from __future__ import annotations

import json
import re

import numpy as np
import pytest

from lazarus_probe.claims.attempt_record import Broken
from lazarus_probe.claims.baseline_record import BaselineRecord
from lazarus_probe.reports.page import page_html
from lazarus_probe.reports.run import RunError, make_run
from lazarus_probe.reports.shard_record import ShardRecord
from lazarus_probe.reports.versions.compare import compare_runs
from lazarus_probe.reports.versions.history import history_of
from lazarus_probe.reports.versions.matrix import matrix_of, model_sides, models_of
from lazarus_probe.reports.versions.matrix_page import matrix_html
from lazarus_probe.reports.versions.matrix_table import matrix_markdown, matrix_text, sparkline
from lazarus_probe.reports.versions.sides import Side
from lazarus_probe.reports.write import write_run
from lazarus_probe.statistics.intervals import wilson
from tests.cases import slow_except


def known(
    score: float | None, outcome: str = "supported", reach: float = 0.02, claim_hash: str = "h"
) -> BaselineRecord:
    ends = {} if score is None else {"score": score, "low": score - reach, "high": score + reach}
    return BaselineRecord(outcome=outcome, claim_hash=claim_hash, threshold=0.6, **ends)


def version(
    name: str, claims: dict[str, BaselineRecord], model: str = "tiny", broken: tuple[Broken, ...] = ()
) -> Side:
    return Side(name, (0,), "1", "", {model: name[0] * 64}, {model: claims}, broken)


def scores(*values: float | None, **more: object) -> list[Side]:
    """Versions `v1` and on, in each of which claim `c` has one of the scores; None is a version without it."""
    return [
        version(f"v{index}", {} if value is None else {"c": known(value, **more)})
        for index, value in enumerate(values, 1)
    ]


def cells(matrix, claim: str = "c"):
    (row,) = [row for row in matrix.rows if row.claim == claim]
    return row.cells


def test_neighbours_are_compared():
    """Each version is held against the one before it, in the order given, with the direction of each change."""
    sides = [
        version("v1", {"c": known(0.9), "s": known(0.9), "d": known(0.9)}),
        version("v2", {"c": known(0.5, "refuted"), "s": known(0.95), "d": known(0.9, claim_hash="other")}),
        version("v3", {"c": known(0.9), "s": known(0.7), "d": known(0.9, claim_hash="other")}),
    ]
    matrix = matrix_of(sides)
    assert [cell.direction for cell in cells(matrix)] == ["", "down", "up"]
    assert [cell.direction for cell in cells(matrix, "s")] == ["", "rose", "fell"]
    assert [cell.direction for cell in cells(matrix, "d")] == ["", "otherwise", ""]
    assert [cell.group for cell in cells(matrix)] == [None, "lost", "gained"]
    assert matrix.code == 0
    assert matrix_of(sides[:2]).code == matrix_of([sides[2], *sides[:2]]).code == 1
    assert matrix.steps == [
        {"lost": 1, "effect moved": 1, "declared otherwise": 1},
        {"gained": 1, "effect moved": 1, "unchanged": 1},
    ]


def test_two_versions_are_a_comparison():
    """Of two versions a matrix says what the comparison of the two says."""
    one, other = scores(0.9, 0.84)
    (comparison,) = matrix_of([one, other]).comparisons
    assert comparison == compare_runs(one, other)


def test_absence_is_no_change():
    """A claim that a version lacks is absent there, neither gone nor new; the exit code of the last pair says gone."""
    matrix = matrix_of(scores(0.9, None, 0.9))
    assert [(cell.record is None, cell.group, cell.direction) for cell in cells(matrix)] == [
        (False, None, ""),
        (True, None, ""),
        (False, None, ""),
    ]
    assert not matrix.rows[0].changed
    assert matrix.code == 0
    assert matrix_of(scores(0.9, 0.9, None)).code == 3
    assert " ·" in matrix_text(matrix).splitlines()[5]


def test_differences_are_corrected_over_all_lines_and_pairs():
    """What is real between two versions may be chance among the pairs of ten; the matrix says over how many."""
    others = {f"o{index}": known(0.5) for index in range(5)}
    sides = [version(f"v{index}", {"c": known(0.5 + 0.045 * (index == 9)), **others}) for index in range(10)]
    alone, many = matrix_of(sides[-2:]), matrix_of(sides)
    assert cells(alone)[-1].direction == "rose"
    assert (alone.compared, many.compared) == (6, 54)
    last = cells(many)[-1]
    assert (last.difference.lines, last.difference.real, last.group) == (54, False, "unchanged")
    assert last.difference.q == pytest.approx(54 * last.difference.p)
    assert "scores compared: 54 of neighbouring versions" in " ".join(matrix_text(many).split())


def test_models_are_matched_over_all_versions():
    """Versions of one model each are versions of it under any names; else each model has rows of its own."""
    early, late = version("e", {"c": known(0.9)}, "early"), version("l", {"c": known(0.9)}, "late")
    both = Side(
        "b",
        (0,),
        "1",
        "",
        {"early": "e", "late": "l"},
        {"early": {"c": known(0.9)}, "late": {"c": known(0.2)}},
    )
    assert [(row.claim, row.model) for row in matrix_of([early, late, early]).rows] == [("c", "early")]
    matrix = matrix_of([early, both, late])
    assert [(row.model, [cell.record is not None for cell in row.cells]) for row in matrix.rows] == [
        ("late", [False, True, True]),
        ("early", [True, True, False]),
    ]
    assert "\non late\n" in matrix_text(matrix)
    assert [side.models for side in model_sides(both)] == [{"early": "e"}, {"late": "l"}]
    assert matrix_of(model_sides(both)).labels == ("early", "late")


def test_a_broken_test_stands_in_its_cell():
    """A claim whose test broke is that in its version, with the error on the page, and the exit code is 3."""
    broken = Broken(test="t", error="<b>no</b>", claim="c", model="tiny")
    sides = [*scores(0.9, 0.9), version("v3", {}, broken=(broken,))]
    sides[2] = Side("v3", (0,), "1", "", {"tiny": "v"}, {"tiny": {}}, (broken,))
    matrix = matrix_of(sides)
    assert [cell.direction for cell in cells(matrix)] == ["", "", "broken"]
    assert matrix.code == 3
    assert "!broke" in matrix_text(matrix)
    assert 'title="&lt;b&gt;no&lt;/b&gt;">broke' in matrix_html([matrix])


@pytest.mark.parametrize("count", [2, 3, 5, 8, 14, 40])
@pytest.mark.parametrize("width", [80, 120])
def test_text_fits_the_terminal(count, width):
    """No line is wider than the terminal; what is left out for that is said, and two versions always stay."""
    names = ["a-claim-of-many-words-that-says-what-holds[task-embed-L12]", "short", "an-other[L3]"]
    outcomes = ["supported", "not applicable", "inconclusive"]
    sides = [
        version(f"20261129-22150{index}-organism", {n: known(0.123, outcomes[index % 3]) for n in names})
        for index in range(count)
    ]
    text = matrix_text(matrix_of(sides), width)
    assert max(map(len, text.splitlines())) <= width
    (head,) = [line for line in text.splitlines() if line.startswith("claim")]
    shown = [int(number) for number in re.findall(r"(?<=\s)\d+", head)]
    assert shown == list(range(count - len(shown) + 1, count + 1))
    assert len(shown) >= 2
    assert (f"versions 1 to {count - len(shown)} are left out" in " ".join(text.split())) == (
        len(shown) < count
    )
    if count <= 14:
        assert len(shown) == count


def test_verdicts_are_coloured_by_who_asks():
    """A style is given each cell with its verdict; without one there is no sequence in the text."""
    matrix = matrix_of([*scores(0.9), version("v2", {"c": known(0.5, "refuted")})])
    coloured = matrix_text(matrix, style=lambda text, verdict: f"<{verdict}:{text.strip()}>")
    assert "<supported:supported 0.90>" in coloured
    assert "<refuted:▼refuted 0.50>" in coloured
    assert "\x1b" not in matrix_text(matrix)


def test_sparklines():
    """A character for each score on a scale from 0 to 1, or as far as they go; a gap where there is none."""
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([None, 1.0]) == "·█"
    assert sparkline([-1.0, 1.0, 0.0]) == "▁█▅"
    assert sparkline([0.0, 2.0, 1.0]) == "▁█▅"
    assert sparkline([0.501, 0.502]) == "▅▅"


def test_markdown_and_json(hostile):
    """Markdown lists what changed with intervals and counts the rest; no text is markup; JSON has all."""
    sides = [
        version(f"v{index} {hostile}", {"c|<b>": known(score, outcome), "same": known(0.9)})
        for index, (score, outcome) in enumerate([(0.9, "supported"), (0.5, "refuted"), (0.5, "refuted")])
    ]
    matrix = matrix_of(sides)
    text = matrix_markdown(matrix)
    (row,) = [line for line in text.splitlines() if line.startswith("| c\\|")]
    assert row == (
        "| c\\|&lt;b> | supported 0.90 [0.88, 0.92] | ▼ refuted 0.50 [0.48, 0.52] | refuted 0.50 [0.48, 0.52] | ▇▅▅ |"
    )
    assert "<script>" not in text
    assert text.endswith("Claims that never changed: 1.\n")
    data = json.loads(json.dumps(matrix.as_dict()))
    assert [cell["group"] for cell in data["rows"][0]["cells"]] == [None, "lost", "unchanged"]
    assert data["rows"][0]["cells"][1]["difference"]["lines"] == 4
    assert [each["name"] for each in data["versions"]] == [side.name for side in sides]


def test_the_page_escapes_what_it_shows(hostile):
    """The page has a curve for each row, no script, a policy that lets its own style in, and no text as markup."""
    sides = [version(f"v{index} {hostile}", {hostile: known(0.9), "c": known(0.5)}) for index in range(3)]
    page = matrix_html([matrix_of(sides)])
    assert "<script" not in page
    assert "<img" not in page
    assert "\x00" not in page
    assert page.count("<svg") == 2
    assert "effect over versions: 0.50, 0.50, 0.50" in page
    assert "default-src 'none'; style-src 'sha256-" in page


PROMPTS, CLAIMS, RUNS = 100, 40, 5


def drawn(rng: np.random.Generator, shares: np.ndarray) -> Side:
    """A run of one seed: each claim's share of right answers to prompts drawn anew, with its interval."""
    claims = {}
    for index, right in enumerate(rng.binomial(PROMPTS, shares)):
        ends = wilson(int(right), PROMPTS)
        claims[f"c{index}"] = BaselineRecord(
            outcome="supported", claim_hash="h", score=right / PROMPTS, low=ends.low, high=ends.high
        )
    return version("run", claims)


@pytest.mark.parametrize("draws", slow_except([40, 400], 40))
def test_other_seeds_of_a_model_move_nothing(draws):
    """Of many draws of five runs of one model with other seeds, at most 5% show any difference as real."""
    rng = np.random.default_rng(19)
    shares = rng.uniform(0.05, 0.95, CLAIMS)
    real, p_values = 0, []
    for _ in range(draws):
        matrix = matrix_of([drawn(rng, shares) for _ in range(RUNS)])
        differences = [cell.difference for row in matrix.rows for cell in row.cells if cell.difference]
        real += any(difference.real for difference in differences)
        p_values += [difference.p for difference in differences]
    assert real <= 0.05 * draws
    assert 0.03 < np.mean(np.array(p_values) <= 0.05) < 0.08  # by themselves, as many as chance gives


def test_a_planted_move_is_seen_among_many_claims():
    """One claim of forty that falls from .9 to .6 at the fourth of five versions is real there, and there alone."""
    rng = np.random.default_rng(20)
    shares = np.full(CLAIMS, 0.9)
    moved = shares.copy()
    moved[7] = 0.6
    matrix = matrix_of([drawn(rng, shares if index < 3 else moved) for index in range(RUNS)])
    places = {
        (row.claim, index)
        for row in matrix.rows
        for index, cell in enumerate(row.cells)
        if cell.difference and cell.difference.real
    }
    assert places == {("c7", 3)}
    assert matrix.rows[0].claim == "c7"


def test_history_is_in_order_of_time(make_full_run, tmp_path):
    """Runs are versions, oldest first by their own time, each model by itself; a partial one is named and skipped."""
    kept = make_full_run(claims=2, examples=0, model="tiny", text=None)
    whole = kept.model_copy(update={"partial": False, "broken": []})
    for run, partial in (("20260103-000000", False), ("20260101-000000", False), ("20260102-000000", True)):
        write_run(whole.model_copy(update={"run": run, "partial": partial}), tmp_path)
    (tmp_path / "20260104-000000-other").mkdir()
    (tmp_path / "20260104-000000-other" / "run.json").write_text("{")
    (tmp_path / "baselines").mkdir()
    history = history_of(tmp_path)
    (matrix,) = history.matrices.values()
    assert [side.name for side in matrix.versions] == ["20260101-000000-tiny", "20260103-000000-tiny"]
    assert len(history.skipped) == 2
    assert history.skipped[0].startswith("skipped 20260102-000000-tiny: it is partial")
    assert "20260104-000000-other/run.json cannot be read" in history.skipped[1]
    assert history.code == 0
    (matrix,) = history_of(tmp_path, partial=True).matrices.values()
    assert [side.name[:8] for side in matrix.versions] == ["20260101", "20260102", "20260103"]
    with pytest.raises(RunError, match="there is no run to show in "):
        history_of(tmp_path / "baselines")
    with pytest.raises(RunError, match="nowhere is no folder"):
        history_of(tmp_path / "nowhere")


def test_models_of_a_run_stand_side_by_side(make_record, tmp_path):
    """A run of several models has them as versions, in the order given, on its page and in its summary."""
    records = [make_record(index, model=model) for model in ("early", "late") for index in range(3)]
    run = make_run(records, [0], [], partial=False, models=["late", "early", "unmeasured"])
    matrix = models_of(run)
    assert matrix.labels == ("late", "early")
    lines = matrix_text(
        matrix, width=40
    ).splitlines()  # the run's name once, cut where it is longer than a line
    assert [line.partition(" (")[0] for line in lines[:2]] == ["1 late", "2 early"]
    assert lines[2].startswith("all of ")
    assert sum(run.run[:20] in line for line in matrix_text(matrix, width=200).splitlines()) == 1
    page = page_html(run)
    assert "Models side by side" in page
    assert page.index('<th scope="col">1 late</th>') < page.index('<th scope="col">2 early</th>')
    folder = write_run(run, tmp_path)
    assert "# Claims by version" in (folder / "summary.md").read_text()
    for other in (run.model_copy(update={"claims": records[:3]}), run.model_copy(update={"shard": SHARD})):
        assert models_of(other) is None
        assert "Models side by side" not in page_html(other)


SHARD = ShardRecord(index=1, of=2, models=["late", "early"])
