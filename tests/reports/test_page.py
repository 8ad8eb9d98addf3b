from __future__ import annotations

import base64
import hashlib
import re
import time
import warnings
from collections import Counter
from html.parser import HTMLParser

import pytest

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.library import declared_claims
from lazarus_probe.reports.page import LIMIT, page_html
from lazarus_probe.reports.run import make_run
from lazarus_probe.reports.short_html import short_html
from lazarus_probe.reports.versions.compare import compare_runs
from lazarus_probe.reports.versions.sides import run_side
from lazarus_probe.reports.write import write_run
from lazarus_probe.untrusted import clipped, markdown, visible

OURS = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "section", "article", "figure", "figcaption",
    "form", "label", "input", "select", "option", "button", "output", "table", "caption", "thead", "tbody", "tfoot",
    "tr", "th", "td", "ul", "li", "details", "summary", "div", "span", "p", "h1", "h2", "h3", "h4", "a", "b", "i",
    "br", "code", "pre", "svg", "path", "text", "script",
}  # fmt: skip


class Page(HTMLParser):
    """The tags of a page with their attributes, its texts, and the rows of its tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.rows: dict[str, list[list[str]]] = {}
        self.table = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append((tag, given))
        if tag == "table":
            self.table = given.get("id") or given.get("class", "")
        elif tag == "tr":
            self.rows.setdefault(self.table, []).append([])
        elif tag in ("td", "th") and self.table:
            self.rows[self.table][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.table = "" if tag == "table" else self.table

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.table and self.rows.get(self.table, [[]])[-1]:
            self.rows[self.table][-1][-1] += data


@pytest.fixture(scope="module")
def run(make_full_run):
    return make_full_run()


@pytest.fixture(scope="module")
def page(run):
    return Page(page_html(run))


def test_page_is_one_file(run, page):
    """It fetches nothing: no address, source or import, and a policy that lets nothing but its own two parts in."""
    text = page_html(run)
    assert not re.search(r"https?:|[\s\"'(]//[a-z]|@import|url\(|srcset|\bsrc=", text)
    assert {name for _, given in page.tags for name in given} & {
        "style",
        "src",
        "action",
        "onload",
        "onclick",
    } == set()
    assert all(given["href"].startswith("#") for _, given in page.tags if "href" in given)
    (policy,) = [given["content"] for _, given in page.tags if given.get("http-equiv")]
    for tag in ("style", "script"):
        (part,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_every_record_has_its_row(run, page):
    """The table of verdicts says of every record its claim, verdict, effect, least gain and q, in order."""
    rows = page.rows["verdicts"][1:]
    assert len(rows) == len(run.claims)
    for row, record in zip(rows, run.claims, strict=True):
        names = [record.claim.id, *filter(None, [record.parameters])]
        first = next(other for other in run.claims if other.claim.id == record.claim.id) is record
        assert row[0].split() == [*names, *(record.claim.statement.split() if first else [])]
        assert row[2].split(" was ")[0].strip() == record.outcome
        assert (" was " in row[2]) == record.changed
        if found := record.measurement:
            numbers = [
                f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
                for value in (found.score, found.low, found.high)
            ]
            assert row[3] == "{} [{}, {}]".format(*numbers).replace("\N{MINUS SIGN}0.00", "0.00")
            least = min(found.controls, key=lambda control: control.gain)
            assert row[5].split()[1] == least.name
            assert row[6] == ("" if record.q is None else row[6])
    assert Counter(row[2].split(" was ")[0].strip() for row in rows) == run.outcomes


def test_it_says_when_how_long_and_at_which_commit(run):
    """Date, duration and commit of the claims, in words; a run that knows neither of the last says neither."""
    known = {"run": "20261130-000721", "seconds": 641.2, "commit": "1a2b3c4d5e6f-dirty"}
    text = " ".join(" ".join(Page(page_html(run.model_copy(update=known))).texts).split())
    for part in ("2026-11-30 00:07 UTC", "10 min 41 s", "1a2b3c4d5e6f-dirty"):
        assert text.count(part) == 2
    before = page_html(run)
    assert "claims at" not in before
    assert '"row">took' not in before


def test_claims_stand_under_their_topics(run):
    """Claims from two folders stand under two headings, in the table and below; those of one folder under none."""
    moved = [
        record.model_copy(update={"test": f"suite/{'heads' if index < 4 else 'facts'}/{record.test}"})
        for index, record in enumerate(run.claims)
    ]
    text = page_html(run.model_copy(update={"claims": moved}))
    assert re.findall(r'data-topic="(\w*)"', text) == ["heads", "facts"]
    assert re.findall(r'<h3 class="topic">(\w+)', text) == ["heads", "facts"]
    place = text.index('data-topic="facts"')
    assert text.index(f'"#{moved[3].claim.id}') < place
    assert 'class="topic"' not in page_html(run)


def test_an_effect_beyond_the_axis_has_one_of_its_own(make_full_run):
    """A score of 16 lies on an axis that holds it, whose ends stand below it; one of .5 on the axis of the heading."""
    run = make_full_run(2, 1)
    changes = ({"score": 16.0, "low": 14.0, "high": 17.0}, {"score": 0.5, "low": 0.4, "high": 0.6})
    records = [
        record.model_copy(update={"measurement": record.measurement.model_copy(update=change)})
        for record, change in zip(run.claims, changes, strict=True)
    ]
    text = page_html(run.model_copy(update={"claims": records})).replace("\N{MINUS SIGN}", "-")
    own, shared = re.findall(r'<tr><th scope="row">.*?</tr>', text, re.DOTALL)[:2]
    low, high = map(float, re.search(r'class="ends"><span>(.*?)</span><span>(.*?)</span>', own).groups())
    assert low <= 0 <= 17 <= high
    ends = [float(end) for end in re.search(r'class="i" d="M([\d.]+) 0\.5H([\d.]+)', own).groups()]
    assert ends == pytest.approx([100 * (end - low) / (high - low) for end in (14, 17)], abs=0.2)
    assert 'class="ends"' not in shared
    assert 'd="M40 0.5H60"' in shared


def test_numbers_that_were_said_have_their_error(make_full_run):
    """Beside what was said stands its difference from what was expected, where both are numbers; else no column."""
    text = page_html(make_full_run(3, 1))
    (errors,) = {
        tuple(re.findall(r'<td class="n">(\S+?)</td><td>(?:yes|no)', table)) for table in tables(text)
    }
    assert errors == ("+1",) * 4 + ("0",) * 2
    words = page_html(make_full_run(3, 1, text="Paris"))
    assert ">error</th>" in text
    assert ">error</th>" not in words


def tables(text):
    """The tables of prompts behind a number."""
    parts = re.findall(r'<table class="prompts">.*?</table>', text, re.DOTALL)
    return [part for part in parts if "behind" in part]


def test_links_lead_somewhere(page):
    """Every id is given once, and every link within the page has its target."""
    ids = [given["id"] for _, given in page.tags if "id" in given]
    assert len(ids) == len(set(ids))
    targets = {given["href"][1:] for tag, given in page.tags if tag == "a" and "=" not in given["href"]}
    assert len(targets) == 20
    assert targets <= set(ids)


def test_page_says_what_a_reader_must_know(run, page):
    """What is partial, broken, missing from a family, declared, counted, failed, and how to repeat it, is there."""
    text = " ".join(" ".join(page.texts).split())
    for record in run.claims:
        assert " ".join(record.reason.split()) in text
        assert record.claim.statement in text
        assert record.claim_hash in text
    for sentence in (
        "Partial.", "1 test broke", "ZeroDivisionError: by zero", "did not survive it", "threshold 0.50",
        "two-digit products in `one line`", "On 64 fresh prompts", "What is 3 * 2? Answer:", "resid_post.3",
        "240 prompts in 48 independent groups, 4711 tokens", "pytest hypotheses --probe-model=tiny", "seed 7",
        "4000 tokens, now 4711", "within 0.20 of 0", "reach of each positive control beyond the score",
        run.claims[0].model.fingerprint, run.environment.packages["mlx"],
    ):  # fmt: skip
        assert sentence in text, sentence


def test_forest_plot_shows_its_numbers(run):
    """Interval ends, dots and the bar of each forest plot lie where the numbers beside them say."""
    text = page_html(run)
    records = [record for record in run.claims if record.measurement]
    plots = re.findall(r'<table class="forest">(.*?)</table>', text, re.DOTALL)
    assert len(plots) == len(records)
    for plot, record in zip(plots, records, strict=True):
        found, controls = record.measurement, record.measurement.controls
        scores, gains = re.findall(r"<svg.*?</svg>", plot)
        ends = [tuple(map(float, pair)) for pair in re.findall(r"M([\d.]+) \d+\.5H([\d.]+)", gains)]
        share = affine(
            [c.gain for c in controls], [float(x) for x in re.findall(r"M([\d.]+) \d+\.5h", gains)]
        )
        assert [pytest.approx((share(c.low), share(c.high)), abs=0.1) for c in controls] == ends
        assert float(re.search(r'class="t" d="M([\d.]+)', gains)[1]) == pytest.approx(share(0.05), abs=0.1)
        dots = [float(x) for x in re.findall(r"M([\d.]+) \d+\.5h", scores)]
        share = affine([found.score, *(c.score for c in controls)], dots)
        bars = [float(x) for x in re.findall(r"M([\d.]+) 0v", scores)]
        signs = (-1, 1) if record.claim.kind == "invariance" else (1,)
        assert bars == [pytest.approx(share(sign * record.claim.threshold), abs=0.1) for sign in signs]


def affine(values, places):
    """From value to place, by the two that are furthest apart; all others must lie on it too."""
    low, high = min(values), max(values)
    start, end = places[values.index(low)], places[values.index(high)]
    assert places == [
        pytest.approx(start + (v - low) / (high - low) * (end - start), abs=0.1) for v in values
    ]
    return lambda value: start + (value - low) / (high - low) * (end - start)


def test_prompts_cannot_leave_their_place(make_full_run, hostile):
    """Markup, quotes, ends of style and title, NUL and turns of direction in any text stay text."""
    text = page_html(make_full_run(text=hostile, curves=True, grids=True, counterexamples=True))
    page = Page(text)
    assert {tag for tag, _ in page.tags} <= OURS
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not {name for _, given in page.tags for name in given if name.startswith("on")}
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", text)
    assert any("\\u202egnp.exe\\x00 <img src=x> {{ 7*7 }} $x$ 日本" in each for each in page.texts)


@pytest.mark.parametrize(
    ("claims", "layers", "left_out"),
    [
        (6, 3, None),
        (100, 1, None),
        pytest.param(150, 1, "all but 3 of the prompts behind each number", marks=pytest.mark.slow),
        pytest.param(150, 8, "what is behind each number, and the reasons", marks=pytest.mark.slow),
    ],
)
def test_page_stays_under_its_limit(make_full_run, claims, layers, left_out):
    """However many claims there are, the page is under 1 MiB with all its verdicts, and says what it leaves out."""
    run = make_full_run(claims, layers, examples=12)
    start = time.process_time()
    text = page_html(run)
    assert time.process_time() - start < 4
    assert len(text.encode()) < LIMIT
    assert (f"this page leaves out {left_out};" in text) if left_out else "this page leaves out" not in text
    page = Page(text)
    assert len(page.rows["verdicts"]) == 1 + len(run.claims)
    ids = {given["id"] for _, given in page.tags if "id" in given}
    assert all(
        given["href"][1:] in ids for tag, given in page.tags if tag == "a" and "=" not in given["href"]
    )


def two_hundred(make_record):
    """A run of 200 verdicts on the claims of this repository, as many prompts, curves and words behind each as in runs.

    In 129 records of the suite on the organism 104 had a measurement, with 2.6 controls, 430 bytes of details and, in
    80 of them, 12 prompts; one in seven had curves, and one in forty a map.
    """
    claims = list(declared_claims().values())
    records = []
    for index in range(200):
        full = make_record(
            index,
            f"L{index // len(claims)}",
            measured=index % 5 != 0,
            examples=12 if index % 4 else 0,
            curves=index % 7 == 1,
            grids=index % 40 == 2,
        )
        if full.measurement:
            details = {
                "models": "five of each kind, " * 9,
                "trial_of_forms": {"plain text": "16 of 16"} | dict.fromkeys("abcd", "0 of 16"),
            }
            details |= {"form": "plain text", "answered": 1.0, "r2_of_controls": [1 / 3] * 4}
            kept = full.measurement.model_copy(
                update={"controls": full.measurement.controls[:3], "details": details}
            )
            full = full.model_copy(update={"measurement": kept})
        claim = claims[index % len(claims)]
        records.append(
            full.model_copy(
                update={"claim": claim, "claim_hash": claim.hash, "requirements": ["answers " * 8]}
            )
        )
    return make_run(records, [0], ["hypotheses", "--model=organism"], partial=False)


def test_two_hundred_verdicts_are_a_page_of_less_than_a_mebibyte(make_record):
    """With 200 verdicts nothing is left out, and there is room for two drawings of circuits, of 84 kB each."""
    run = two_hundred(make_record)
    text = page_html(run, limit=LIMIT - 2 * 84_000)
    assert "this page leaves out" not in text
    page = Page(text)
    assert len([row for row in page.rows["verdicts"] if len(row) > 2]) == 1 + 200
    assert len([row for row in page.rows["prompts"] if row[0] != "prompt"]) == sum(
        len(record.measurement.examples) for record in run.claims if record.measurement
    )
    assert all(record.claim.statement.split("`")[0][:40] in " ".join(page.texts) for record in run.claims)


def test_a_short_page_has_the_same_tags_and_texts(make_full_run, hostile):
    """End tags and quotes that may be left out are; every tag, attribute, cell and text stays, hostile ones too."""
    page = page_html(make_full_run(text=hostile, curves=True, grids=True, counterexamples=True))
    short = short_html(page)
    assert len(short) < 0.95 * len(page)
    assert not re.search(r"</(td|tr|th|tbody|li)>", re.sub(r"(?s)<(script|style|pre).*?</\1>", "", short))
    before, after = Page(page), Page(short)

    def read(tags):
        return [
            (tag, {name: re.sub(r"(?<=\d)\.0(?=[ )CLM]|$)", "", value) for name, value in given.items()})
            for tag, given in tags
        ]

    assert read(before.tags) == read(after.tags)
    assert [text for text in map(str.rstrip, before.texts) if text] == [
        text for text in map(str.rstrip, after.texts) if text
    ]
    for kind in ("prompts", "facts", "forest", "verdicts"):
        assert [[cell.replace("\n", "") for cell in row] for row in before.rows[kind]] == [
            [cell.replace("\n", "") for cell in row] for row in after.rows[kind]
        ]


def test_prompts_go_first(run):
    """The tighter the limit, the less is shown: prompts go before details, these before curves, then forest plots."""
    marks = (
        "Prompts behind the number",
        "<caption>Details",
        r"claim-0\[L0\] on tiny",
        'class="?forest"?>',
        'class="?why"?>',
    )
    sizes, seen = [], []
    limit = len(page_html(run).encode()) - 1
    while not seen or seen[-1]:
        text = page_html(run, limit=limit)
        assert len(text.encode()) <= limit
        there = [re.search(mark, text) is not None for mark in marks]
        seen.append(sum(there))
        assert there == [False] * (5 - seen[-1]) + [True] * seen[-1]
        sizes.append(len(text))
        limit = len(text.encode()) - 1
    assert sizes == sorted(sizes, reverse=True)
    assert set(seen) == {5, 4, 3, 2, 1, 0}


def test_only_a_score_meets_its_threshold(make_record):
    """Curves among which none is the score are drawn without the threshold, which is not theirs."""
    record = make_record(0, curves=True)
    curves = [curve for curve in record.measurement.curves if curve.name != "score"]
    other = record.model_copy(
        update={"measurement": record.measurement.model_copy(update={"curves": curves})}
    )
    pages = [page_html(make_run([each], [0], [], partial=False)) for each in (record, other)]
    assert [page.count(">threshold</text>") for page in pages] == [1, 0]
    assert [re.findall('class="t" d="M[^"]*h318"', page) != [] for page in pages] == [True, False]


def test_several_models_stand_side_by_side(make_record):
    """A claim that was tested on two models stands once, with a verdict for each, and models can be chosen."""
    records = [make_record(0, model=model) for model in ("one", "two")]
    page = Page(page_html(make_run(records, [0], [], partial=False)))
    assert [row[1] for row in page.rows["verdicts"][1:]] == ["one", "two"]
    assert [given.get("class") for tag, given in page.tags if tag == "article"] == ["claim"]
    assert {given.get("name") for tag, given in page.tags if tag == "select"} == {"model"}


def test_warnings_of_matplotlib_are_its_own(make_record, monkeypatch):
    """Where warnings are errors, one that comes up while a page is drawn ends nothing."""
    from matplotlib.figure import Figure

    draw = Figure.draw

    def warn(self, renderer):
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        draw(self, renderer)

    monkeypatch.setattr(Figure, "draw", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 'svg class="curve"' in page_html(
            make_run([make_record(0, curves=True)], [0], [], partial=False)
        )


def test_page_without_claims(run):
    """A run in which nothing gave a verdict still makes a page that says why."""
    empty = make_run([], [0], [], partial=True, broken=run.broken)
    text = page_html(empty)
    assert "No claims" in text
    assert "ZeroDivisionError: by zero" in text


def test_page_beside_another_run(run, make_full_run):
    """Beside an earlier run the page names it, what changed first, with both numbers, and what is gone."""
    earlier = make_full_run(claims=7, model="tiny-early")
    text = page_html(run, compare_runs(run_side(earlier, "early"), run_side(run, "now")))
    page = Page(text)
    changes = [row for row in page.rows["changes"][1:] if len(row) == 6]
    assert "Against early" in page.texts
    assert len(changes) == len(run.claims)
    assert {row[2] for row in changes} == {"the same", "the same by itself"}  # claim-6 changed its family
    assert all(row[5].startswith("0.00") for row in changes if row[3])
    assert "claim-6[L0]" in page.texts


def test_changes_stand_first(run, page):
    """A verdict that the baseline holds otherwise stands above those that it shares; a real difference is bold."""
    first = [row for row in page.rows["changes"][1:] if len(row) == 6]
    changed = [row[2] != "the same" for row in first]
    assert changed == sorted(changed, reverse=True)
    assert sum(changed) == sum(record.changed for record in run.claims)
    real = sum(
        record.known.difference.real for record in run.claims if record.known and record.known.difference
    )
    assert page_html(run).count('<td class="n"><b>') == real > 0


def test_page_is_written_with_the_run(run, tmp_path):
    """Every run has its page beside run.json."""
    folder = write_run(run, tmp_path)
    assert (folder / "index.html").read_text() == page_html(run)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\n", "a\tb\n"),
        ("\x00\x1b\r\x85", "\\x00\\x1b\\x0d\\x85"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("a\u200bb\ufeff\u2028", "a\\u200bb\\ufeff\\u2028"),
        ("\ud800\U000e0041", "\\ud800\\U000e0041"),
        ("日本 é 👩\u200d🔬", "日本 é 👩\u200d🔬"),
    ],
)
def test_what_hides_is_spelled_out(text, shown):
    """Controls, turns of direction, what has no width and half characters show; letters of all scripts stay."""
    assert visible(text) == shown
    assert visible(shown) == shown


def test_markdown_keeps_no_break():
    """In Markdown a text is one line without markup, and a long one says how long it was."""
    assert markdown("a\n\n# b\u202e") == "a # b\\\\u202e"
    assert clipped("abcdef", 3) == "abc… (6 characters)"


def test_a_claim_shows_what_it_assumes_and_what_tests_that(make_record):
    """A claim of the run is linked with its verdict; what is within the claim is named, and what nothing tests."""
    assumes = [
        {"that": "Words do not matter.", "tested_by": "claim-1"},
        {"that": "Chance is even.", "tested_by": "majority"},
        {"that": "<b>Rows</b> are apart."},
    ]
    first, second = make_record(0), make_record(1)
    claim = Claim.model_validate({**first.claim.model_dump(), "assumes": assumes})
    page = page_html(make_run([first.model_copy(update={"claim": claim}), second], [0], [], partial=False))
    texts = " ".join(Page(page).texts)
    assert re.search(
        rf'tested by <a href="#[^"]*claim-1[^"]*">claim-1</a> <span class="v v-{second.outcome}"', page
    )
    assert "Chance is even. tested by majority" in re.sub(r"\s+", " ", texts)
    assert "<b>Rows</b> are apart. not tested" in re.sub(r"\s+", " ", texts)
