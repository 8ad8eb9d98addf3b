"""The circuit of a claim as a report draws it, from details that may come from elsewhere."""

from __future__ import annotations

import re

import pytest

from lazarus_probe.reports.circuit_figure import circuit_figure
from lazarus_probe.reports.page import page_html, policy_hash

CIRCUIT = {
    "blocks": [[4, 2, True], [4, 2, True]],
    "edges": [["embed -> L0.KV0.v", -2.0, -3.0, -1.0], ["L1.MLP -> logits", 0.5, 0.25, 0.75]],
}


def test_the_edges_are_drawn():
    """Each with its score, under the title, which is escaped."""
    svg, style = circuit_figure({"circuit": CIRCUIT}, "a claim on <tiny>")
    assert svg.count('<path class="ze ') == 2
    assert "-2.000 [-3.000, -1.000]" in svg
    assert "&lt;tiny&gt;" in svg
    assert style in svg


def test_a_click_shows_prompts():
    """The pairs that an edge acts on most stand beside its numbers, as text; a pair that is not there is left out."""
    prompts = {"prompts": [["clean <b>", "corrupted"]], "strongest": [[[0, -2.5], [7, 1.0]]]}
    svg, _ = circuit_figure({"circuit": CIRCUIT | prompts}, "title")
    assert svg.count("-2.500 on &#x27;clean &lt;b&gt;&#x27;") == 3  # the edge and both of its nodes
    assert svg.count(" on &#x27;") == 3


@pytest.mark.parametrize(
    "circuit",
    [
        None,
        [],
        {"blocks": [], "edges": CIRCUIT["edges"]},
        {"blocks": CIRCUIT["blocks"], "edges": []},
        {"blocks": [[4, 3, True]], "edges": [["embed -> logits", 1.0, 0.0, 2.0]]},
        {"blocks": [[10**9, 1, True]], "edges": [["embed -> logits", 1.0, 0.0, 2.0]]},
        {"blocks": CIRCUIT["blocks"], "edges": [["L9.MLP -> logits", 1.0, 0.0, 2.0]]},
        {"blocks": CIRCUIT["blocks"], "edges": [["<script>", 1.0, 0.0, 2.0]]},
        {"blocks": CIRCUIT["blocks"], "edges": [["embed -> logits", float("nan"), 0.0, 2.0]]},
        CIRCUIT | {"prompts": [["a", "b"]], "strongest": [[[-1, 1.0]]]},
        CIRCUIT | {"prompts": [["a", "b"]], "strongest": [[[0, float("inf")]]]},
        CIRCUIT | {"prompts": [["a" * 2000, "b"]]},
    ],
)
def test_what_is_no_circuit_is_not_drawn(circuit):
    """Details of other claims, and files that were changed, are left as details."""
    assert circuit_figure({"circuit": circuit}, "title") is None
    assert circuit_figure({}, "title") is None


def test_the_page_lets_its_style_in(make_full_run):
    """The drawing stands in the page, whose policy has the hash of every style in it, and its data are not listed."""
    run = make_full_run()
    record = next(record for record in run.claims if record.measurement)
    details = {**record.measurement.details, "circuit": CIRCUIT}
    drawn = record.model_copy(
        update={"measurement": record.measurement.model_copy(update={"details": details})}
    )
    page = page_html(run.model_copy(update={"claims": [drawn]}))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    styles = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert len(styles) == 2
    assert all(f"'sha256-{policy_hash(style)}'" in policy for style in styles)
    assert '<th scope="row">circuit</th>' not in page
