"""One table, rendered as text, HTML, Markdown and JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lazarus_probe.plain import json_text
from lazarus_probe.tables import Cell, Column, Table

TABLE = Table(
    ("Layer", Column("KL", ".2f", right=True), "token"),
    [("L0", Cell(12.345, "<95%>", 0.5), "'|'"), ("L10", None, "<b>"), ("L11", float("nan"), "")],
    "a & b",
)


def test_text_is_aligned():
    """Columns are as wide as their widest value or heading, numbers on the right, undefined ones dashes."""
    assert TABLE.lines() == ["Layer     KL  token", "L0     12.35  '|'", "L10        -  <b>", "L11        -"]


def test_text_has_a_rule_and_a_gap():
    """A rule is as long as the longest line; the gap is between columns alone."""
    assert Table(("a", Column("b", width=4), "c"), [(1, 2, 3)]).text(gap=1, rule=True) == (
        "a b    c\n--------\n1 2    3"
    )


WIDE = Table(
    ("layer", Column("score", ".2f", right=True), "what it says", *(f"head {head}" for head in range(9))),
    [(f"L{layer}", layer / 3, "a text of many words " * 3, *range(100, 109)) for layer in range(3)],
)


@pytest.mark.parametrize("width", [80, 60, 40])
def test_a_wide_table_fits_and_loses_nothing(width):
    """No line is longer than the terminal; all words, numbers and headings are there, beside the first."""
    lines = WIDE.fitted(width=width)
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    for text in ("score", *(f"{layer / 3:.2f}" for layer in range(3)), *map(str, range(100, 109))):
        assert text in words
    assert words.count("many") == 9
    blocks = "\n".join(lines).split("\n\n")
    assert all(block.startswith("layer") and "\nL2 " in block for block in blocks)
    assert len(blocks) > 1


def test_a_narrow_table_stays_as_it_is(monkeypatch):
    """What fits is not touched; `COLUMNS` says what fits, and without it and a terminal everything does."""
    assert TABLE.fitted(width=80) == TABLE.lines()
    monkeypatch.setenv("COLUMNS", "40")
    assert max(map(len, WIDE.text().splitlines())) <= 40
    monkeypatch.delenv("COLUMNS")
    assert WIDE.text() == "\n".join(WIDE.lines())


def test_html_is_escaped():
    """Nothing in a title, heading, value or hint is markup; a shade is a colour by its sign."""
    assert TABLE.html() == (
        "<details open><summary>a &amp; b</summary><table><thead><tr><th>Layer</th><th>KL</th><th>token</th></tr>"
        "</thead><tbody><tr><td>L0</td>"
        '<td title="&lt;95%&gt;" style="background: rgba(66, 133, 244, 0.50)">12.35</td><td>&#x27;|&#x27;</td></tr>'
        "<tr><td>L10</td><td>-</td><td>&lt;b&gt;</td></tr><tr><td>L11</td><td>-</td><td></td></tr>"
        "</tbody></table></details>"
    )
    assert "rgba(219, 68, 55, 1.00)" in Table(("x",), [(Cell(1, shade=-3.0),)]).html()


def test_markdown_is_escaped_by_its_caller():
    """Each text passes through what keeps it from being markup."""
    lines = TABLE.markdown(lambda text: text.replace("|", r"\|"))
    assert lines == [
        "| Layer | KL | token |",
        "| --- | --- | --- |",
        r"| L0 | 12.35 | '\|' |",
        "| L10 | - | <b> |",
        "| L11 | - |  |",
    ]


def test_data_has_the_numbers():
    """JSON has the numbers unrounded, and null where one is undefined."""
    data = json.loads(json_text(TABLE.as_data()))
    assert data["headings"] == ["Layer", "KL", "token"]
    assert data["rows"] == [["L0", 12.345, "'|'"], ["L10", None, "<b>"], ["L11", None, ""]]


def test_a_row_of_another_length_is_refused():
    """A value that no column is for is an error of the caller's, and never dropped."""
    with pytest.raises(ValueError, match="argument 2 is longer"):
        Table(("a",), [(1, 2)]).text()


def test_json_holds_what_has_no_number():
    """NaN and infinities are null, NumPy's arrays lists, and halves of surrogate pairs spelled out."""
    text = json_text({1: np.array([1.5, np.inf]), "half": "\ud800", "range": range(2)})
    assert json.loads(text) == {"1": [1.5, None], "half": r"\ud800", "range": [0, 1]}


def test_names_are_not_broken_where_another_block_helps():
    """An id that fits beside one other column is kept whole at 80 columns; a sentence is what is wrapped."""
    ids, sentences = (
        ["layer-four-holds-the-operation", "a-head-reads-the-operator"],
        ["as many words as it takes"] * 2,
    )
    table = Table(
        ["claim", "then", "now"], [[name, words, words] for name, words in zip(ids, sentences, strict=True)]
    )
    for width in (64, 56, 50):
        lines = table.fitted(width=width)
        assert max(map(len, lines)) <= width
        assert [line.split()[0] for line in lines if line.startswith(("layer", "a-head"))] == ids * 2
