"""Files that come from elsewhere: regular ones alone, and so much of them at most."""

from __future__ import annotations

import io
import json
import os
import socket
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from lazarus_probe.files.arrays import open_archive, read_arrays
from lazarus_probe.files.plain_json import MOST_DEPTH, parse_json, read_json
from lazarus_probe.files.plain_yaml import MOST_NODES, YamlError, parse_yaml
from lazarus_probe.files.reading import check_regular, lines_of, open_regular, read_bytes, read_text
from lazarus_probe.files.tensors import TruncatedError, read_entries


def test_text_is_read_as_it_stands(tmp_path):
    """UTF-8, without the mark at its start; what it holds at most is exact."""
    path = tmp_path / "x.txt"
    path.write_bytes("\ufeffé 7 * 8 = \r\nb".encode())
    assert read_text(path) == "é 7 * 8 = \nb"
    size = path.stat().st_size
    assert read_bytes(path, size) == path.read_bytes()
    with pytest.raises(OSError, match="larger than 0 MiB"):
        read_bytes(path, size - 1)
    with lines_of(path) as lines:
        assert list(lines) == path.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize(
    "read", [read_bytes, open_regular, check_regular, read_json, read_entries, read_arrays]
)
def test_only_regular_files_are_opened(read, tmp_path, monkeypatch):
    """Pipes, devices, sockets and links to them are refused by what they are, at once."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("zeros").symlink_to("/dev/zero")
    Path("link").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket")
    for name, kind in (("pipe", "pipe"), ("zeros", "device"), ("link", "pipe"), ("socket", "socket")):
        with pytest.raises(OSError, match=f"it is a {kind}; a regular file is needed"):
            read(name)
    with pytest.raises(IsADirectoryError):
        read(".")


def test_a_file_that_is_put_in_place_of_another_is_not_read(tmp_path, monkeypatch):
    """What was a file when it was looked at and is a pipe when it is opened is refused, and waited for by nobody."""
    path = tmp_path / "x"
    path.write_text("a")
    own = os.open

    def swapped(name, *rest):
        path.unlink()
        os.mkfifo(path)
        return own(name, *rest)

    monkeypatch.setattr("lazarus_probe.files.reading.os.open", swapped)
    with pytest.raises(OSError, match="it is a pipe"):
        open_regular(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[" * 100_000, "nested deeper"),
        ("[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1), "nested deeper than 100 levels"),
        ("9" * 6000, "a number of 6000 digits"),
        (r'{"a": ["\ud800"]}', "a lone surrogate"),
        ("{", "Expecting"),
    ],
)
def test_json_that_is_too_deep_or_odd_is_refused_in_words(text, problem):
    """Depth, digits and surrogates have a limit of their own, named in the error."""
    with pytest.raises(ValueError, match=problem) as raised:
        parse_json(text)
    assert "sys." not in str(raised.value)


def test_json_within_the_limits_is_what_python_reads():
    """At the limits of depth, and with pairs of surrogates, nothing is refused or changed."""
    for text in ("[" * MOST_DEPTH + "]" * MOST_DEPTH, r'{"a": "\ud83d\ude00", "b": [1, 2.5, null, true]}'):
        assert parse_json(text) == json.loads(text)


def test_json_of_too_many_entries_is_refused_before_it_is_read(monkeypatch):
    """Entries are counted in the text: reading them is what takes the memory."""
    monkeypatch.setattr("lazarus_probe.files.plain_json.MOST_ENTRIES", 10)
    monkeypatch.setattr("lazarus_probe.files.plain_json.json.loads", lambda _: pytest.fail("it was read"))
    with pytest.raises(ValueError, match="more than 10 entries"):
        parse_json("[1,2,3,4,5,6,7,8,9,10,11]")


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, after in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        (BOMB, f"more than {MOST_NODES:,} values", 5),
        ("a: 1\nb: &b [*b]", r"\*b contains itself", 2),
        ("[" * 60 + "]" * 60, "nested deeper than 50 levels", 1),
        ("a: 1\nb: !!timestamp x", "'x' is not a valid timestamp", 2),
        ("a: 1\nb: 2\na: 3", "'a' is a duplicate key, first on line 1", 3),
        ("a:\n  b: {c: .5, d: 1, c: .9}", "'c' is a duplicate key, first on line 2", 2),
        ("a: !!int x", "'x' is not a valid int", 1),
        ("a: 2001-99-99", "'2001-99-99' is not a valid timestamp", 1),
        ("a: !!python/object/apply:os.getpid []", "could not determine a constructor", 1),
        ('a: "\\uD800"', "a lone surrogate", 1),
    ],
)
def test_yaml_that_grows_or_lies_is_refused_by_its_line(text, problem, line):
    """Aliases count as often as they stand; values are of the type that their tag says; no tag runs anything."""
    with pytest.raises(YamlError, match=problem) as raised:
        parse_yaml(text)
    assert raised.value.line == line


def test_yaml_with_aliases_that_stay_small_is_read():
    """Anchors, aliases and merges mean what YAML says."""
    found = parse_yaml("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}\n").value
    assert found == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}
    assert parse_yaml("a: &a {x: 1, y: 1}\nb: {<<: *a, x: 2}\n").value["b"] == {"x": 2, "y": 1}
    assert parse_yaml("1: x\n'1': y").value == {1: "x", "1": "y"}
    assert parse_yaml("").value is None


def test_headers_of_weights_are_those_of_the_library(tmp_path):
    """Names, types, shapes and sizes are what the library that wrote the file says."""
    arrays = {"a": np.ones((2, 3), np.float32), "b": np.ones((5,), np.float16), "c": np.ones((), np.int64)}
    save_file(arrays, tmp_path / "x.safetensors")
    found = read_entries(tmp_path / "x.safetensors")
    assert {name: (entry.dtype, entry.shape, entry.size) for name, entry in found.items()} == {
        "a": ("F32", (2, 3), 6),
        "b": ("F16", (5,), 5),
        "c": ("I64", (), 1),
    }
    content = (tmp_path / "x.safetensors").read_bytes()
    (tmp_path / "x.safetensors").write_bytes(content[:-1])
    with pytest.raises(TruncatedError, match="its header says"):
        read_entries(tmp_path / "x.safetensors")


def test_archives_are_those_of_numpy_and_hold_what_they_say(tmp_path):
    """Numbers and texts come back as NumPy reads them; pickles, and more than the limit, do not."""
    path = tmp_path / "x.npz"
    arrays = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.array(["é", "x"]), "c": np.array(True)}
    np.savez(path, **arrays)
    found = read_arrays(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
    np.savez_compressed(path, a=np.zeros(1_000_000))
    with pytest.raises(ValueError, match="larger than 7 MiB"), open_archive(path, 7 << 20):
        pass
    with open_archive(path, 8 << 20) as archive:
        assert archive.namelist() == ["a.npy"]
    np.savez(path, a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="of type object"):
        read_arrays(path)


def test_a_name_that_stands_twice_is_refused(tmp_path):
    """A header of weights or an archive with two entries of one name is no file: readers differ in which they take."""
    entry = '{"dtype":"F32","shape":[1],"data_offsets":[%d,%d]}'
    header = f'{{"a\\n":{entry % (0, 4)},"a\\n":{entry % (4, 8)}}}'.encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ValueError, match=r"its header is not .* \(it names 'a\\n' twice\)"):
        read_entries(tmp_path / "x.safetensors")
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the writer's own
        for value in (0.0, 1.0):
            np.save(part := io.BytesIO(), np.full(2, value))
            archive.writestr("a.npy", part.getvalue())
    with pytest.raises(ValueError, match="it holds 'a' twice"):
        read_arrays(tmp_path / "x.npz")
    assert parse_json('{"a": 1, "a": 2}') == {"a": 2}


def test_a_header_that_describes_no_array_is_refused_in_words(tmp_path):
    """What NumPy says of a header that is an expression names objects of Python; the refusal names the array."""
    header = b"{'descr':'<f4','fortran_order':False,'shape':(10**9,2)}\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(ValueError, match=r"^its 'a' has a header that describes no array$"):
        read_arrays(tmp_path / "x.npz")
