"""The page as a browser shows it: a driver page holds it in a frame, looks, clicks, and writes down what it found."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lazarus_probe.reports.page import page_html
from lazarus_probe.reports.run import Run

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.nested,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium"),
]

DRIVER = """<!doctype html><meta charset="utf-8"><iframe width="{width}" height="800" src="index.html{hash}"></iframe>
<pre></pre><script>
const frame = document.querySelector("iframe"), found = {{ errors: [] }};
frame.onload = async () => {{
  const page = frame.contentDocument, view = frame.contentWindow;
  const rest = () => new Promise((done) => setTimeout(done, 50));
  view.onerror = (message) => found.errors.push(message);
  page.addEventListener("securitypolicyviolation", (event) => found.errors.push(event.violatedDirective));
  const seen = (part) => part.getClientRects().length;
  const words = (cell) => (cell.querySelector("a") ?? cell).textContent.trim().replace(/\\s+/g, " ");
  const rows = () => [...page.querySelectorAll("#verdicts tbody tr:not(.topic)")].filter(seen)
    .map((row) => [...row.cells].slice(0, 4).map(words));
  const cases = () => [...page.querySelectorAll(".case")].filter((part) => part.getClientRects().length).length;
  const look = (name) => {{ found[name] = {{ rows: rows(), cases: cases(), hash: view.location.hash,
    sorted: [...page.querySelectorAll("[aria-sort]")].map((head) => head.ariaSort) }}; }};
  const type = (name, value) => {{ const field = page.querySelector(`[name=${{name}}]`); field.value = value;
    field.dispatchEvent(new view.Event("input", {{ bubbles: true }})); }};
  for (const fold of page.querySelectorAll("details")) fold.open = true;
  {steps}
  found.wide = [...page.querySelectorAll("body *")].filter((part) => !part.closest(".scroll, svg")
    && part.getBoundingClientRect().right > {width} + 1).map((part) => part.outerHTML.slice(0, 80));
  found.scrolled = [...page.querySelectorAll(".forest")].filter((part) =>
    part.getBoundingClientRect().right > {width} + 1).length;
  found.overflow = page.documentElement.scrollWidth - page.documentElement.clientWidth;
  document.querySelector("pre").textContent = JSON.stringify(found);
}};
</script>"""


def chromium(*arguments: str, address: str) -> tuple[str, str]:
    """What a headless browser prints, and what stands in its console."""
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--enable-logging=stderr",
    ]
    command = [BROWSER, *options, "--allow-file-access-from-files", *arguments, address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, "\n".join(re.findall(r".*CONSOLE.*", done.stderr))


@pytest.fixture(scope="module")
def run(make_full_run, hostile):
    return make_full_run(claims=9, examples=3, model="tiny", text=None)


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page")
    (path / "index.html").write_text(page_html(run), encoding="utf-8")
    return path


@pytest.fixture
def drive(folder) -> Callable[..., dict]:
    """Opens the page at a hash and width, takes steps, and returns what was looked at; nothing may go wrong."""
    return driven_in(folder)


@pytest.fixture
def drive_page(tmp_path) -> Callable[..., dict]:
    """Does so with the page of another run."""

    def run_steps(other: Run, steps: str) -> dict:
        (tmp_path / "index.html").write_text(page_html(other), encoding="utf-8")
        return driven_in(tmp_path)(steps)

    return run_steps


@pytest.fixture
def pictures(request, tmp_path) -> Path:
    """Where pictures of the page are kept from one session to the next: in pytest's cache, if there is one."""
    cache = getattr(request.config, "cache", None)
    return cache.mkdir("report-pictures") if cache else tmp_path


def driven_in(folder: Path) -> Callable[..., dict]:
    def run_steps(steps: str, at: str = "", width: int = 1200) -> dict:
        driver = folder / "driver.html"
        driver.write_text(DRIVER.format(steps=steps, hash=html.escape(at), width=width), encoding="utf-8")
        dumped, console = chromium("--virtual-time-budget=8000", "--dump-dom", address=driver.as_uri())
        assert console == ""
        found = json.loads(html.unescape(re.search(r"<pre>(.*?)</pre>", dumped, re.DOTALL)[1]))
        assert found.pop("errors") == []
        return found

    return run_steps


def key(record) -> str:
    return f"{record.claim.id} {record.parameters}".strip()


def test_it_opens_filters_and_sorts(run, drive):
    """At a hash it shows those rows of run.json; chips, search and headings change rows, claims, hash and aria-sort."""
    found = drive(
        """
        look("opened");
        page.querySelector("[data-chip=refuted]").click(); look("without");
        page.querySelector("[data-chip=supported]").click(); look("chip");
        page.querySelector("form button[type=reset]").click(); look("all");
        page.querySelector("[data-key=effect] button").click(); look("rising");
        page.querySelector("[data-key=effect] button").click(); look("falling");
        page.querySelector("[data-key=effect] button").click(); look("unsorted");
        type("text", "CLAIM-2 l1"); look("searched");
        type("text", ""); type("family", "family-1"); look("family");
        view.location.hash = "#verdict=confounded"; await rest(); look("hash");
        view.location.hash = "#verdict=not%20applicable"; await rest(); look("moot");
        view.location.hash = "#verdict=confounded"; await rest();
        view.location.hash = "#claim-0-L1-tiny"; await rest(); look("anchor");
        """,
        at="#verdict=refuted",
    )
    everything = [key(record) for record in run.claims]

    def those(*outcomes: str) -> list[str]:
        return [key(record) for record in run.claims if record.outcome in outcomes]

    def shown(name: str) -> list[str]:
        return [row[0] for row in found[name]["rows"]]

    assert those("refuted") == shown("opened")
    assert all(row[2].startswith("refuted") for row in found["opened"]["rows"])
    assert shown("without") == everything
    assert shown("chip") == those("supported")
    assert found["chip"]["hash"] == "#verdict=supported"
    assert shown("all") == shown("unsorted") == everything
    scores = {key(record): record.measurement.score for record in run.claims if record.measurement}
    rising = [round(scores[name], 2) for name in shown("rising") if name in scores]
    assert rising == sorted(rising)
    assert shown("rising")[len(scores) :] == shown("falling")[len(scores) :]
    assert [round(scores[name], 2) for name in shown("falling") if name in scores] == sorted(
        rising, reverse=True
    )
    assert found["rising"]["sorted"].count("ascending") == found["falling"]["sorted"].count("descending") == 1
    assert shown("searched") == ["claim-2 L1"]
    assert shown("family") == [key(record) for record in run.claims if record.claim.family == "family-1"]
    assert shown("hash") == shown("anchor") == those("confounded")
    assert shown("moot") == those("not applicable") == ["claim-5"]
    for name in ("opened", "chip", "all", "searched", "hash"):
        assert found[name]["cases"] == len(found[name]["rows"])


def test_a_map_tells_what_stands_in_a_cell(run, drive):
    """Where the pointer is, and where the arrow keys lead from a click, the row, the column and the value are said."""
    found = drive(
        """
        const grid = page.querySelector(".grid"), figure = grid.closest("figure");
        const said = () => figure.querySelector(".cell").textContent;
        const [left, top, wide, high] = grid.dataset.box.split(",").map(Number);
        const at = (kind, row, column) => {
          const box = grid.getBoundingClientRect();
          const [clientX, clientY] = [box.left + left + wide * (column + .5), box.top + top + high * (row + .5)];
          grid.dispatchEvent(new view.PointerEvent(kind, { bubbles: true, clientX, clientY })); };
        const press = (key) => figure.querySelector(".scroll").dispatchEvent(
          new view.KeyboardEvent("keydown", { key, bubbles: true }));
        found.cells = [];
        at("pointermove", 2, 3); found.cells.push(said());
        at("click", 7, 0); at("pointermove", 0, 0); grid.dispatchEvent(new view.PointerEvent("pointerleave"));
        found.cells.push(said());
        press("ArrowRight"); found.cells.push(said());
        press("ArrowUp"); found.cells.push(said());
        """
    )
    grid = next(
        record.measurement for record in run.claims if record.measurement and record.measurement.grids
    ).grids[0]
    cells = [(2, 3), (7, 0), (7, 1), (6, 1)]
    assert found["cells"] == [
        f"{grid.rows[row]}, {grid.columns[column]}: {grid.values[row][column]:.3g}".replace(
            ": -", ": \N{MINUS SIGN}"
        )
        for row, column in cells
    ]


def test_topics_go_where_their_rows_go(run, tmp_path_factory, drive_page):
    """A filter that leaves no claim of a topic hides its heading, and sorting hides all headings; links show claims."""
    moved = [
        record.model_copy(update={"test": f"suite/{'heads' if index < 4 else 'facts'}/{record.test}"})
        for index, record in enumerate(run.claims)
    ]
    claim = moved[0].claim
    found = drive_page(
        run.model_copy(update={"claims": moved}),
        f"""
        const heads = () => [...page.querySelectorAll("#verdicts .topic")].filter((row) => row.getClientRects().length)
          .map((row) => row.dataset.topic);
        found.topics = [heads()];
        type("text", "{claim.id}"); found.topics.push(heads());
        type("text", ""); page.querySelector("[data-key=effect] button").click(); found.topics.push(heads());
        page.querySelector("form button[type=reset]").click(); found.topics.push(heads());
        page.querySelector("#verdicts tbody a").click(); await rest();
        const target = page.getElementById(decodeURIComponent(view.location.hash.slice(1)));
        found.top = target.getBoundingClientRect().top;
        found.name = target.closest(".claim").querySelector("h3").textContent;
        """,
    )
    assert found["topics"] == [["heads", "facts"], ["heads"], [], ["heads", "facts"]]
    assert 0 <= found["top"] < 800
    assert claim.id in found["name"]


@pytest.mark.parametrize("width", [390, 320])
def test_it_fits_a_phone(run, drive, width):
    """On a phone nothing reaches beyond the edge, unfolded too, and every claim has its row with verdict and effect."""
    found = drive('look("opened");', width=width)
    assert found["wide"] == []
    assert found["overflow"] == 0
    assert found["scrolled"] == 0 or width < 390
    assert len(found["opened"]["rows"]) == len(run.claims)


def test_hostile_prompts_do_nothing(make_full_run, hostile, tmp_path_factory):
    """Prompts with scripts and ends of tags raise no alert, load nothing and break no policy."""
    path = tmp_path_factory.mktemp("hostile") / "index.html"
    run = make_full_run(claims=3, text=hostile, curves=True, grids=True, counterexamples=True)
    path.write_text(page_html(run), encoding="utf-8")
    dumped, console = chromium("--virtual-time-budget=3000", "--dump-dom", address=path.as_uri())
    assert console == ""
    assert dumped.count("<script>") == 1
    assert "<img" not in dumped


def test_it_is_dark_where_the_reader_is(folder, pictures):
    """It has pictures in light and dark: dark paper with light ink where that is preferred, else the other way."""
    import matplotlib.image

    brightness = {}
    for name, scheme in (("light", 1), ("dark", 0)):
        picture = pictures / f"{name}.png"
        settings = f"--blink-settings=preferredColorScheme={scheme}"
        _, console = chromium(
            settings,
            "--window-size=900,900",
            f"--screenshot={picture}",
            address=(folder / "index.html").as_uri(),
        )
        assert console == ""
        pixels = matplotlib.image.imread(picture)[..., :3].mean(axis=-1)
        brightness[name] = np.quantile(pixels, [0.005, 0.5, 0.995])
    assert brightness["light"][1] > 0.9
    assert brightness["light"][0] < 0.4
    assert brightness["dark"][1] < 0.2
    assert brightness["dark"][2] > 0.7
