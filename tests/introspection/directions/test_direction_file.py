"""Directions in files: what is written is read back, and what is not a direction is refused in one line."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lazarus_probe.introspection.directions.direction_file import (
    OWN,
    Direction,
    read_direction,
    split_spec,
    write_direction,
)

TWO = np.ones(2, np.float32)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)
EXTRAS = st.dictionaries(
    st.text("abcdefil_./", min_size=1, max_size=8).filter(lambda key: key not in OWN)
    | st.sampled_from(["file", "args", "allow_pickle"]),
    st.one_of(NUMBERS, TEXTS, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.lists(NUMBERS, max_size=3)),
    max_size=4,
)
VECTORS = arrays.arrays(np.float32, st.integers(1, 20), elements=st.floats(-9, 9, width=32)).filter(np.any)
DIRECTIONS = st.builds(
    Direction,
    VECTORS,
    st.integers(0, 200),
    TEXTS.filter(bool),
    TEXTS,
    TEXTS,
    TEXTS,
    TEXTS,
    st.none() | NUMBERS,
    st.none() | NUMBERS,
    EXTRAS,
)


@given(direction=DIRECTIONS, suffix=st.sampled_from([".npz", ".json"]))
def test_what_is_written_is_read_back(
    direction: Direction, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every field of a direction survives a file of either kind, and no aside file is left."""
    path = tmp_path_factory.mktemp("directions") / f"some{suffix}"
    write_direction(path, direction)
    found = read_direction(path)
    assert np.array_equal(found.vector, direction.vector)
    assert found.vector.dtype == np.float32
    assert {**found.as_dict(), "direction": None} == {**direction.as_dict(), "direction": None}
    assert list(path.parent.iterdir()) == [path]


def test_numpy_reads_the_archive(tmp_path: Path) -> None:
    """The archive is one that `np.load` reads without pickle, under the published keys."""
    write_direction(
        tmp_path / "d.npz",
        Direction(np.ones(3, np.float32), 5, "d", "a", "b", "m", "logistic", 0.9, 2.0, {"norm": 1.7}),
    )
    with np.load(tmp_path / "d.npz", allow_pickle=False) as found:
        assert set(found) == {*OWN, "norm"}
        assert (int(found["layer"]), str(found["label_positive"]), float(found["norm"])) == (5, "a", 1.7)


def test_an_archive_of_numpy_with_prompts_for_labels(tmp_path: Path) -> None:
    """A file with prompts and no labels or name is read, prompts standing in for labels."""
    np.savez(
        tmp_path / "steer.npz",
        direction=np.arange(1, 5.0),
        layer=[3],
        positive_prompt="yes",
        negative_prompt="no",
        norm=2.0,
    )
    found = read_direction(tmp_path / "steer.npz")
    assert (found.layer, found.label_positive, found.label_negative, found.name) == (3, "yes", "no", "steer")
    assert found.extra == {"positive_prompt": "yes", "negative_prompt": "no", "norm": 2.0}
    assert found.norm == pytest.approx(np.sqrt(30))
    assert np.linalg.norm(found.unit) == pytest.approx(1)


@pytest.mark.parametrize("cut", [0, 1, 40, 100, 300, -1])
def test_a_cut_archive_is_refused(cut: int, tmp_path: Path) -> None:
    """An archive that was cut anywhere is refused by name."""
    path = tmp_path / "cut.npz"
    write_direction(path, Direction(np.ones(64, np.float32), 1))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"cut.npz is not a direction: "):
        read_direction(path)


@given(data=st.data())
def test_damaged_bytes_never_surprise(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Files with bytes changed are read or refused with a one-line ValueError, and nothing else."""
    suffix = data.draw(st.sampled_from([".npz", ".json"]))
    path = tmp_path_factory.mktemp("damaged") / f"some{suffix}"
    write_direction(path, Direction(np.arange(1, 9, dtype=np.float32), 2, extra={"norm": 1.5}))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    error = ""
    try:
        read_direction(path)
    except ValueError as refused:
        error = str(refused)
    assert not error or re.fullmatch(r".* is not a direction: .*", error)


def packed(**members: bytes) -> bytes:
    """An archive of these members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def npy(value: Any, **kwargs: Any) -> bytes:
    """An array as NumPy writes it."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(value, **kwargs))
    return file.getvalue()


LAYER, VECTOR = npy(1), npy([1.0, 2.0])
BAD = {
    "pickled": (packed(direction=npy([1.0], dtype=object), layer=LAYER), "type object"),
    "claims": (packed(direction=VECTOR.replace(b"(2,)", b"(9,)"), layer=LAYER), "truncated"),
    "negative": (packed(direction=VECTOR.replace(b"(2,), ", b"(-2,),"), layer=LAYER), "truncated|shape"),
    "no layer": (packed(direction=VECTOR), "no 'layer'; its keys are direction"),
    "half a layer": (packed(direction=VECTOR, layer=npy(1.5)), "layer is 1.5"),
    "below": (packed(direction=VECTOR, layer=npy(-1)), "layer is -1"),
    "a matrix": (packed(direction=npy([[1.0]]), layer=LAYER), r"shape \(1, 1\)"),
    "empty": (packed(direction=npy([]), layer=LAYER), r"shape \(0,\)"),
    "zeros": (packed(direction=npy([0.0, 0.0]), layer=LAYER), "only zeros"),
    "not finite": (packed(direction=npy([1.0, np.inf]), layer=LAYER), "not finite"),
    "too large": (packed(direction=npy([1e300]), layer=LAYER), "not finite"),
    "words": (packed(direction=npy(["a"]), layer=LAYER), "type <U1"),
    "a label": (packed(direction=VECTOR, layer=LAYER, label_positive=npy(3)), "label_positive is 3"),
    "an accuracy": (packed(direction=VECTOR, layer=LAYER, accuracy=npy("high")), "accuracy is high"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_direction_is_refused(case: str, tmp_path: Path) -> None:
    """What an archive lacks or has wrong is named with the file."""
    content, reason = BAD[case]
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"bad.npz is not a direction: .*({reason})"):
        read_direction(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1, 2]", "no JSON object"),
        ("{", "Expecting"),
        ("[" * 100_000, "nested deeper"),
        ('{"direction": "1,2", "layer": 1}', "type <U3"),
        ('{"direction": [1, [2]], "layer": 1}', "inhomogeneous"),
        ('{"direction": [1, null], "layer": 1}', "type object"),
        ('{"direction": [NaN, 1], "layer": 1}', "not finite"),
        ('{"direction": [1], "layer": true}', "layer is True"),
        ('{"direction": [1], "layer": 1e999}', "layer is inf"),
    ],
)
def test_json_of_another_shape_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    """JSON that is damaged or holds something else is refused with the reason."""
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(ValueError, match=rf"bad.json is not a direction: .*{reason}"):
        read_direction(tmp_path / "bad.json")


def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sizes are looked at before anything is unpacked."""
    monkeypatch.setattr("lazarus_probe.introspection.directions.direction_file.LARGEST", 2000)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("direction.npy", bytes(100_000))
    with pytest.raises(ValueError, match="unpacked it is larger"):
        read_direction(tmp_path / "bomb.npz")
    (tmp_path / "long.json").write_text(json.dumps({"direction": [1.0] * 1000, "layer": 0}))
    with pytest.raises(ValueError, match=r"long.json is not a direction: it is larger"):
        read_direction(tmp_path / "long.json")


def test_other_names_and_extras_are_refused(tmp_path: Path) -> None:
    """Suffixes other than the two, extras that need pickle, and extras named as a field are errors."""
    with pytest.raises(ValueError, match=r"d.txt: the name"):
        write_direction(tmp_path / "d.txt", Direction(TWO, 0))
    with pytest.raises(ValueError, match=r"must end in .npz or .json"):
        read_direction(tmp_path / "d.txt")
    with pytest.raises(ValueError, match=r"'what' is .'a': 1"):
        write_direction(tmp_path / "d.npz", Direction(TWO, 0, extra={"what": {"a": 1}}))
    with pytest.raises(ValueError, match="'layer', which is a field"):
        Direction(TWO, 0, extra={"layer": 1})
    with pytest.raises(FileNotFoundError):
        read_direction(tmp_path / "none.npz")
    assert not list(tmp_path.iterdir())


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    """None is not written; a JSON file has no number that is not finite."""
    direction = Direction(TWO, 0, extra={"norm": float("nan"), "note": None, "list": [1.0, np.inf]})
    write_direction(tmp_path / "d.json", direction)
    assert set(json.loads((tmp_path / "d.json").read_text())) == {*OWN} - {"accuracy", "separation"}


def test_a_file_and_its_coefficient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`FILE[:c]` splits at the last colon, unless the colon is part of a file's name."""
    assert split_spec("a/d.npz") == (Path("a/d.npz"), None)
    assert split_spec("d.npz:-1.5") == (Path("d.npz"), -1.5)
    assert split_spec("a:b.json:0") == (Path("a:b.json"), 0.0)
    assert split_spec("a:b.json") == (Path("a:b.json"), None)
    monkeypatch.chdir(tmp_path)
    Path("d.npz:2").touch()
    assert split_spec("d.npz:2") == (Path("d.npz:2"), None)
    for spec, reason in {
        "d.npz:x": "'x' is not a coefficient",
        "d.npz:inf": "'inf'",
        "": "names no file",
    }.items():
        with pytest.raises(ValueError, match=reason):
            split_spec(spec)
