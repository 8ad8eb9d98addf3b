"""Whatever stands on a command line, it gives a result, or one line that says what is wrong."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lazarus_probe.cli import circuit, lazarus

pytestmark = pytest.mark.usefixtures("loaded_once")
PROGRAMS = {"lazarus": lazarus.main, "circuit": circuit.main}
ODD = [
    "",
    " ",
    "\0",
    "😀",
    "مرحبا",
    "\udcff",
    "ab " * 1000,
    "|",
    "a|",
    "@",
    "@no-such-file",
    "--",
    "-1",
    "\u202e7*8=",
    "=",
]
TEXT = st.one_of(
    st.sampled_from(ODD), st.text(max_size=12), st.sampled_from(["7 * 8 = ", "The capital of France is"])
)
WORDS = {
    "text": TEXT,
    "texts": st.one_of(TEXT, st.lists(TEXT, min_size=1, max_size=3).map("|".join)),
    "layers": st.one_of(
        st.sampled_from(["0", "-1", "7", "8", "0-3", "3-0", "all", "", "x", "0,,1", "1-", "9" * 30, "1.5", "٣", "0,4"]),
        st.text(max_size=5),
    ),
    "layer": st.sampled_from(["0", "7", "-1", "8", "-9", "x", "", "1e3"]),
    "position": st.sampled_from(["last", "all", "0", "-1", "99", "-99", "middle", "", "1.5"]),
    "number": st.sampled_from(["0", "1", "-1", "2.5", "1e400", "nan", "inf", "", "x"]),
    "file": st.sampled_from(["/dev/null", "/", "no/such/file", "", "\0", "/dev/null/x", "x" * 300]),
}  # fmt: skip
# What a user types, with a word of a kind in place of each {kind}.
LINES = [
    "lazarus introspect analyze -m organism -p {text} --layers {layers} --top-k 3",
    "lazarus introspect analyze -m organism -p {text} -t {text}",
    "lazarus introspect analyze -m organism -p 7*8= -o {file}",
    "lazarus introspect analyze -m organism -p 7*8= --steer {file}",
    "lazarus introspect compare -m1 organism-early -m2 organism -p {text}",
    "lazarus introspect ablate -m organism -p {text} -c {text} --layers {layers} --max-tokens 2",
    "lazarus introspect ablate -m organism -p x -c x --prompts {texts} --layers 7 --max-tokens 2",
    "lazarus introspect probe -m organism --class-a {texts} --class-b {texts}",
    "lazarus introspect neurons -m organism -p {texts} -l {layers} -n 0,5",
    "lazarus introspect neurons -m organism -p 7*8=|7+8= -l 3 -n {layers}",
    "lazarus introspect directions {file} {file}",
    "lazarus introspect steer -m organism --extract --positive {texts} --negative {texts} -l {layer} -o d.npz",
    "lazarus introspect steer -m organism -d {file} -p {texts} -n 2",
    "lazarus introspect steer -m organism --neuron {layer} -l 3 -p 7*8= -c {number} -n 2",
    "lazarus introspect hooks -m organism -p {text} --layers {layers}",
    "lazarus introspect weight-diff -b organism -f {file}",
    "lazarus introspect activation-diff -b organism-early -f organism -p {texts}",
    "lazarus introspect layer -m organism -p {texts} -l {text} --layers {layers}",
    "lazarus introspect format-sensitivity -m organism -p {texts} --layers {layers}",
    "lazarus introspect generate -m organism -p {texts} -n 2 -t {number}",
    "lazarus introspect embedding -m organism --layers {layers} --operation {text} --seed -1",
    "lazarus introspect early-layers -m organism --digits {layers} --operations {text} --seed -1",
    "lazarus introspect classifier -m organism --classes {text} --classes {text}",
    "lazarus introspect logit-lens -m organism --prompts {texts} -l {layer} -t {text}",
    "lazarus introspect patch -m organism --source {text} --target {text} --layers {layers} --position {position}",
    "lazarus introspect patch -m organism --source 7*8= --target 7+8= --position {position} --blend {number}",
    "lazarus introspect commutativity -m organism --pairs {texts} -l {layer}",
    "lazarus introspect logit-attribution -m organism -p {text}",
    "lazarus introspect attribution-patch -m organism --source {text} --target {text}",
    "lazarus introspect path-patch -m organism --source {text} --target {text} --sender {text}",
    "lazarus introspect tuned-lens read -m organism -p {text} --lens {file}",
    "lazarus introspect {text}",
    "lazarus {text}",
    "lazarus anatomy -m {text}",
    "circuit {text}",
    "circuit dataset create -o {file} --per-tool {number}",
    "circuit dataset show {file}",
    "circuit collect -m organism -d {file} -o x --layers {layers}",
    "circuit analyze -a {file} --layer {layer}",
    "circuit directions -a {file} --layer {layer} -o x",
    "circuit visualize -a {file} --all -o x",
    "circuit probes run -m organism --datasets {text} --layers {layers} --threshold {number}",
]


def words_of(line: str) -> st.SearchStrategy[list[str]]:
    """The words of a line, with a drawn word for each kind."""
    parts = [
        WORDS[kind[1]] if (kind := re.fullmatch(r"\{(\w+)\}", word)) else st.just(word)
        for word in shlex.split(line)
    ]
    return st.tuples(*parts).map(list)


def examples(count: int) -> settings:
    return settings(
        max_examples=count,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@pytest.mark.parametrize("line", LINES)
@examples(3)
@given(data=st.data())
def test_any_words_come_to_a_result_or_to_one_line(line, data, capsys, monkeypatch, tmp_path_factory: Path):
    """Something is printed, or the exit code is 2 and standard error one line or the help of a bare group."""
    monkeypatch.chdir(tmp_path_factory.mktemp("fuzz"))
    check(line, data, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
@examples(8)
@given(data=st.data())
def test_more_words_do_too(line, data, capsys, monkeypatch, tmp_path_factory: Path):
    """So it is with more words of each kind."""
    monkeypatch.chdir(tmp_path_factory.mktemp("fuzz"))
    check(line, data, capsys)


def check(line: str, data: st.DataObject, capsys: pytest.CaptureFixture[str]) -> None:
    """Run a line with drawn words in it."""
    program, *arguments = data.draw(words_of(line))
    code = PROGRAMS[program](arguments)
    printed, errors = capsys.readouterr()
    assert code in (0, 2), printed
    if code == 0:
        assert printed.strip()
    elif not errors.startswith("Usage: "):
        assert errors.startswith("error: ")
        assert errors.count("\n") == 1
