"""`lazarus introspect show-circuit`: what it prints, and the drawing and the page that it writes."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest

from lazarus_probe.cli.circuits.show_circuit import show_circuit
from lazarus_probe.cli.lazarus import main
from lazarus_probe.introspection import circuit_svg, read_circuit, write_circuit
from lazarus_probe.reports.circuit_page import circuit_html
from tests.introspection.circuits.test_circuit_files import CIRCUIT
from tests.reports.test_circuit_page import EDGES

COMMAND = ["introspect", "show-circuit"]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "circuit.json"
    write_circuit(CIRCUIT.model_copy(update={"edges": EDGES}), path)
    return path


def test_the_text_shows_who_writes_into_each_block(file, capsys):
    """After the summary, from the logits down, each block has its edges, the strongest first, the others counted."""
    assert main([*COMMAND, str(file), "--top", "2"]) == 0
    text = capsys.readouterr().out
    assert text.index("CIRCUIT: tiny, logit_diff") < text.index("5 of 71 edges, found on 4 pairs")
    table = text[text.index("Block") :].splitlines()
    assert [re.split(r"\s{2,}", line.strip()) for line in table[1:6]] == [
        ["logits", "L1.H0", "-1.000 [-2.000, +0.000]"],
        ["L1", "KV1.k", "embed", "-0.750 [-1.750, +0.250]"],
        ["KV1.k", "L0.H3", "+0.500 [-0.500, +1.500]"],
        ["and 1 more"],
        ["L0", "KV0.v", "embed", "-2.000 [-3.000, -1.000]"],
    ]


def test_the_data_is_that_of_the_circuit(file, capsys):
    """As JSON it prints the circuit, and what it saved is said on standard error."""
    assert main([*COMMAND, str(file), "--json", "--svg", str(file.with_suffix(".svg"))]) == 0
    printed, said = capsys.readouterr()
    assert json.loads(printed) == read_circuit(file).as_data()
    assert "Saved to: " in said


def test_the_drawing_and_the_page_are_written(file, capsys):
    """The files hold the drawing and the page, with at most as many edges as asked for."""
    svg, page = file.parent / "new" / "c.svg", file.parent / "c.html"
    assert main([*COMMAND, str(file), "--svg", str(svg), "--html", str(page), "--most", "3"]) == 0
    assert capsys.readouterr().out.count("Saved to: ") == 2
    assert svg.read_text() == circuit_svg(read_circuit(file), 3) + "\n"
    assert ElementTree.fromstring(svg.read_text()).get("class") == "lzc"
    assert page.read_text() == circuit_html(read_circuit(file), 3) + "\n"
    assert svg.read_text().strip() in page.read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--svg", "drawing.png"], "--svg drawing.png: give a name that ends in .svg"),
        (["--html", "page"], "--html page: give a name that ends in .html"),
    ],
)
def test_other_kinds_of_files_are_refused(file, options, said, capsys):
    """A drawing is an .svg and a page an .html file."""
    assert main([*COMMAND, str(file), *options]) == 2
    assert said in capsys.readouterr().err


def test_what_is_no_circuit_is_refused(tmp_path, capsys):
    """A file that holds no circuit, and one that is not there, are refused by name."""
    path = tmp_path / "other.json"
    path.write_text("{}")
    assert main([*COMMAND, str(path)]) == 2
    assert f"{path} is no circuit" in capsys.readouterr().err
    assert main([*COMMAND, str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err


def test_nothing_of_a_file_is_a_sequence_for_the_terminal(tmp_path, capsys):
    """A model's name with an escape sequence is spelled out."""
    write_circuit(CIRCUIT.model_copy(update={"model": "\x1b[2Jtiny"}), tmp_path / "c.json")
    assert main([*COMMAND, str(tmp_path / "c.json")]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "\\x1b[2Jtiny" in text


def test_two_circuits_are_compared(file, capsys, tmp_path):
    """What another circuit of the model shares is told below the edges, beside what chance would."""
    other = tmp_path / "other.json"
    write_circuit(CIRCUIT.model_copy(update={"edges": EDGES[:2]}), other)
    assert main([*COMMAND, str(file), "--beside", str(other)]) == 0
    text = capsys.readouterr().out
    assert "Compared with other.json; by chance" in text
    assert "2 of 5 edges are among its 2" in text
    assert "1 of 2 heads that write are among its 1" in text
    assert main([*COMMAND, str(file), "--beside", str(other), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["beside"]["edges"]["both"] == 2


def test_files_are_written_before_the_text(file, monkeypatch):
    """A pipe that closes early, as to `head`, loses no file."""

    def closed(*_arguments, **_options):
        raise BrokenPipeError

    monkeypatch.setattr("lazarus_probe.cli.circuits.show_circuit.deliver", closed)
    svg = file.with_suffix(".svg")
    with pytest.raises(BrokenPipeError):
        show_circuit(file, svg=svg, most=5, top=5)
    assert svg.read_text().startswith("<svg")
