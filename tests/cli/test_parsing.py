"""What the words of a command line mean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazarus_probe.cli.parsing import (
    check_output,
    layer_of,
    parse_layers,
    parse_position,
    parse_prompt,
    parse_prompts,
)


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("all", [0, 1, 2, 3, 4, 5]),
        ("0", [0]),
        ("3,1", [1, 3]),
        ("0,2-4,3", [0, 2, 3, 4]),
        (" 1 , 5", [1, 5]),
        ("-1", [5]),
        ("0,-2", [0, 4]),
    ],
)
def test_layers(text: str, layers: list[int]):
    """Numbers, ranges and `all` mean the layers in order, each once; -1 is the last."""
    assert parse_layers(text, 6) == layers


@given(text=st.text(max_size=12), num_layers=st.integers(1, 40))
def test_any_layer_expression_is_layers_or_one_error(text: str, num_layers: int):
    """Whatever is given, the result is layers that the model has, or an error with the option's name."""
    error = ""
    try:
        layers = parse_layers(text, num_layers, "--some-layers")
    except ValueError as raised:
        error, layers = str(raised), [0]
    assert error.startswith("--some-layers" if error else "")
    assert layers == sorted(set(layers))
    assert {*layers} <= {*range(num_layers)}
    assert layers


@pytest.mark.parametrize(("layer", "means"), [(0, 0), (5, 5), (-1, 5), (-6, 0)])
def test_layer(layer: int, means: int):
    """Layer 0 is a layer, and negative ones count from the last."""
    assert layer_of(layer, 6) == means


@pytest.mark.parametrize("layer", [6, -7, 99])
def test_layer_that_is_not_there(layer: int):
    """A layer that the model does not have is refused with those that it has."""
    with pytest.raises(ValueError, match=f"there is no layer {layer}; the model has 0 to 5"):
        layer_of(layer, 6)


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        ("7 * 8 = |7 * 8 =", ["7 * 8 = ", "7 * 8 ="]),
        ("one", ["one"]),
        (" a | b ", [" a ", " b "]),
        (r"a\|b|c", ["a|b", "c"]),
        ("سلام|😀", ["سلام", "😀"]),
    ],
)
def test_prompts(text: str, prompts: list[str]):
    """Bars part prompts, spaces at either end belong to them, and a bar behind a backslash is one of the prompt."""
    assert parse_prompts(text) == prompts


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\\@", exclude_categories=["Cs"]), min_size=1), min_size=1
    )
)
def test_prompts_round_trip(prompts: list[str]):
    """Any prompts, their bars marked, come back as they were."""
    assert parse_prompts("|".join(prompt.replace("|", r"\|") for prompt in prompts)) == prompts


@pytest.mark.parametrize("text", ["", "|", "a||b", "a|"])
def test_empty_prompts_are_refused(text: str):
    """An empty prompt is an error that says which one, and how to write them."""
    with pytest.raises(ValueError, match=r"--prompts .*prompt \d is empty; write them as in 'one\|two'"):
        parse_prompts(text)


def test_one_prompt_keeps_its_bars():
    """A single prompt is what was given, bars and all."""
    assert parse_prompt("a|b ") == ["a|b "]
    with pytest.raises(ValueError, match="--prompt is empty; give at least one character"):
        parse_prompt("")


def test_no_unicode_is_refused():
    """Bytes that a shell passes on as lone surrogates are no text."""
    with pytest.raises(ValueError, match=r"--prompts 'a\\udcff' is not valid Unicode"):
        parse_prompts("a\udcff")


def test_prompts_of_files(tmp_path: Path):
    """A file has one prompt a line, or is JSON; both keep spaces."""
    lines, data = tmp_path / "lines.txt", tmp_path / "data.json"
    lines.write_text(" a \nb|c\n")
    data.write_text(json.dumps({"prompts": [{"text": " a "}, {"text": "b|c"}]}))
    for file in (lines, data):
        assert parse_prompts(f"@{file}") == [" a ", "b|c"]
        assert parse_prompt(f"@{file}") == [" a ", "b|c"]
    with pytest.raises(FileNotFoundError):
        parse_prompts(f"@{tmp_path / 'none'}")


def test_file_that_is_no_text(tmp_path: Path):
    """A file of other bytes than UTF-8 is refused by name."""
    file = tmp_path / "bytes.txt"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"bytes.txt is not UTF-8 text"):
        parse_prompts(f"@{file}")


@pytest.mark.parametrize(
    ("text", "position"), [("last", "last"), ("all", "all"), ("0", 0), ("-1", -1), ("12", 12)]
)
def test_position(text: str, position: object):
    """`last`, `all` and numbers are positions; 0 is the first."""
    assert parse_position(text) == position


@pytest.mark.parametrize("text", ["", "first", "1.5", "٣", "1-2"])
def test_no_position(text: str):
    """Anything else is refused with what there is."""
    with pytest.raises(ValueError, match=r"--position .*is unknown; give last, all or a number"):
        parse_position(text)


def test_output_is_checked_before_the_work(tmp_path: Path):
    """A place that cannot be written to is refused; a missing folder will be made."""
    check_output(None)
    check_output(tmp_path / "new" / "deep" / "file.json")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    for path, reason in [
        (tmp_path, "is a folder; give the name of a file"),
        (tmp_path / "file" / "x.json", "file is a file; give another place"),
        (Path("a\0b"), "holds a NUL"),
    ]:
        with pytest.raises(ValueError, match=reason):
            check_output(path)
    with pytest.raises(ValueError, match=r"ends in \.npz"):
        check_output(tmp_path / "x.json", suffix=".npz")
