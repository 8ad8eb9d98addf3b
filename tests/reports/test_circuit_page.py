"""The page of a circuit: what it holds, what a click does, and that nothing in it is markup of somebody else's."""

from __future__ import annotations

import html
import json
import re

import pytest

from lazarus_probe.introspection.circuits.circuit_parts import CircuitEdge, Figure
from lazarus_probe.reports.circuit_page import LISTED, circuit_html
from tests.introspection.circuits.test_circuit_files import CIRCUIT
from tests.reports.test_browser import BROWSER, chromium

SCORES = {
    "L0.H3 -> L1.KV1.k": 0.5,
    "embed -> L0.KV0.v": -2.0,
    "L1.H0 -> logits": -1.0,
    "embed -> L1.KV1.k": -0.75,
    "L0.MLP -> L1.H2.q": -0.25,
}
EDGES = tuple(
    CircuitEdge(
        name=name,
        sender_hook="a",
        receiver_hook="b",
        score=Figure(value=score, low=score - 1, high=score + 1),
    )
    for name, score in SCORES.items()
)


def test_the_page_holds_drawing_edges_and_curve():
    """Rows of drawn edges lead to the edge in the drawing; the policy lets the two styles in and nothing else."""
    page = circuit_html(CIRCUIT.model_copy(update={"edges": EDGES}), 4)
    rows = dict(re.findall(r'<th scope="row" class="name"><a href="#([^"]+)">([^<]+)</a>', page))
    strongest = sorted(SCORES, key=lambda name: -abs(SCORES[name]))
    assert [name.replace("&gt;", ">") for name in rows.values()] == strongest[:4]
    for anchor, name in rows.items():
        assert f'<a href="#{anchor}"><title>{name}\n' in page
        assert page.count(f'id="{anchor}"') == 1
    assert page.count('<th scope="row"') == 5
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'")
    assert policy.count("sha256-") == page.count("<style>") == 2
    assert not re.search(r"<script|style=|https?://(?!www.w3.org/2000/svg)", page)


def test_styles_of_page_and_drawing_do_not_meet():
    """No class of the drawing is one of the page's style sheet, which would change its strokes."""
    page = circuit_html(CIRCUIT.model_copy(update={"edges": EDGES}))
    sheet, own = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    svg = re.search(r"<svg.*</svg>", page, re.DOTALL)[0]
    used = {name for names in re.findall(r'class="([^"]*)"', svg) for name in names.split()}
    assert not used & set(re.findall(r"\.([a-zA-Z][\w-]*)", sheet))
    assert all(rule.lstrip().startswith((".lzc", "#", "@media")) for rule in own.splitlines())


def test_a_large_circuit_makes_a_page_of_bounded_size():
    """The table stops at a thousand edges and says how many are left out."""
    graph = CIRCUIT.graph
    many = [
        EDGES[0].model_copy(update={"name": str(graph[number % graph.size])}) for number in range(LISTED + 7)
    ]
    page = circuit_html(CIRCUIT.model_copy(update={"edges": tuple(many)}), 5)
    assert page.count('<th scope="row"') == LISTED
    assert "7 more with smaller scores" in page


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x>', "a\u202eb"])
def test_nothing_of_a_file_is_markup_in_the_page(name):
    """A model's or metric's name is text in the page."""
    page = circuit_html(CIRCUIT.model_copy(update={"model": name, "metric": name}))
    assert not re.search("<script|<img|\u202e", page)


DRIVER = """<!doctype html><meta charset="utf-8"><iframe width="700" height="500" src="page.html"></iframe>
<pre></pre><script>
const frame = document.querySelector("iframe"), found = { errors: [], seen: [] };
frame.onload = async () => {
  const page = frame.contentDocument, view = frame.contentWindow;
  page.addEventListener("securitypolicyviolation", (event) => found.errors.push(event.violatedDirective));
  const rest = () => new Promise((done) => setTimeout(done, 50));
  const look = () => found.seen.push({
    told: [...page.querySelectorAll(".zd")].filter((part) => part.getBoundingClientRect().width)
      .map((part) => part.querySelector("text").textContent),
    clear: [...page.querySelectorAll(".zg")].filter((part) => view.getComputedStyle(part).opacity === "1")
      .map((part) => part.querySelector("title").textContent.split("\\n")[0]).sort(),
    near: [...page.querySelectorAll(".zd")].map((part) => part.getBoundingClientRect())
      .filter((box) => box.width).every((box) => box.top > 100 && box.bottom < 500) });
  const click = async (part) => {
    part.dispatchEvent(new view.MouseEvent("click", { bubbles: true, cancelable: true, view }));
    await rest(); look(); };
  const titled = (name) => [...page.querySelectorAll("svg a")]
    .find((link) => link.textContent.startsWith(name + "\\n"));
  look();
  await click(titled("L1.H0 -> logits"));
  await click(titled("embed"));
  await click([...page.querySelectorAll("tbody a")].find((link) => link.textContent === "L0.H3 -> L1.KV1.k"));
  await click(page.querySelector("svg > a"));
  document.querySelector("pre").textContent = JSON.stringify(found);
};
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium")
def test_a_click_shows_numbers_and_leaves_the_others_faint(tmp_path):
    """In a browser an edge, a node and a row of the table show their numbers in view, and nothing breaks the policy."""
    (tmp_path / "page.html").write_text(circuit_html(CIRCUIT.model_copy(update={"edges": EDGES})))
    (tmp_path / "driver.html").write_text(DRIVER)
    shown, console = chromium(
        "--virtual-time-budget=5000", "--dump-dom", address=(tmp_path / "driver.html").as_uri()
    )
    found = json.loads(html.unescape(re.search(r"<pre>(.*?)</pre>", shown)[1]))
    assert (found["errors"], console) == ([], "")
    told = [(seen["told"], seen["clear"]) for seen in found["seen"]]
    every = sorted(SCORES)
    assert told == [
        ([], every),
        (["L1.H0 -> logits"], ["L1.H0 -> logits"]),
        (["embed"], ["embed -> L0.KV0.v", "embed -> L1.KV1.k"]),
        (["L0.H3 -> L1.KV1.k"], ["L0.H3 -> L1.KV1.k"]),
        ([], every),
    ]
    assert all(seen["near"] for seen in found["seen"])
