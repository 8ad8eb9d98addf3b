"""Weights and adapters that strangers might hand over."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from hostile import Hostile
from hostile_folders import generate_input, text, weights, write_tensors

Header = dict[str, Any]


def headers(path: Path, change: Callable[[Header], Any]) -> None:
    """Rewrite the header of a safetensors file."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    new = change(header)
    raw = new if isinstance(new, bytes) else json.dumps(header if new is None else new).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + content[end:])


def _first(change: Callable[[Header], Any]) -> Callable[[Header], None]:
    def put(header: Header) -> None:
        name = next(key for key in header if key != "__metadata__")
        change(header[name])

    return put


def _set(key: str, value: Any) -> Callable[[Header], Any]:
    return _first(lambda entry: entry.update({key: value}))


def _many(_: Header) -> bytes:
    entries = ",".join(
        f'"t{number}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for number in range(250_000)
    )
    return ("{" + entries + "}").encode()


HEADERS: dict[str, Callable[[Header], Any]] = {
    "offsets as text": _set("data_offsets", ["0", "128"]),
    "offsets of one": _set("data_offsets", [0]),
    "offsets null": _set("data_offsets", None),
    "offsets negative": _set("data_offsets", [-128, 0]),
    "offsets beyond": _set("data_offsets", [0, 10**15]),
    "offsets huge": _set("data_offsets", [0, 10**30]),
    "offsets turned": _set("data_offsets", [128, 0]),
    "offsets of parts": _set("data_offsets", [0.5, 128.5]),
    "offsets true": _set("data_offsets", [False, True]),
    "no offsets": _first(lambda entry: entry.pop("data_offsets")),
    "entry is a list": lambda h: {**h, "x": []},
    "entry is null": lambda h: {**h, "x": None},
    "dtype unknown": _set("dtype", "ZZ"),
    "dtype null": _set("dtype", None),
    "dtype of a list": _set("dtype", ["F32"]),
    "dtype of half": _set("dtype", "F16"),
    "dtype of whole numbers": _set("dtype", "I32"),
    "dtype of bits": _set("dtype", "F4"),
    "dtype complex": _set("dtype", "C64"),
    "shape of text": _set("shape", ["32"]),
    "shape null": _set("shape", None),
    "shape negative": _set("shape", [-32]),
    "shape huge": _set("shape", [10**10, 10**10]),
    "shape that overflows": _set("shape", [2**32, 2**32]),
    "shape of parts": _set("shape", [1.5]),
    "shape of zero": _set("shape", [0]),
    "shape deep": _set("shape", [1] * 10_000),
    "shape of lists": _set("shape", [[32]]),
    "list": lambda _: [],
    "null": lambda _: b"null",
    "no JSON": lambda _: b"not json",
    "deep": lambda _: b"[" * 100_000,
    "deep beside": lambda h: (json.dumps(h)[:-1] + ', "x": ' + "[" * 5000 + "]" * 5000 + "}").encode(),
    "metadata is a list": lambda h: {**h, "__metadata__": []},
    "metadata of numbers": lambda h: {**h, "__metadata__": {"a": 5}},
    "many entries": _many,
    "nothing": lambda _: {},
    "utf-16": lambda h: json.dumps(h).encode("utf-16"),
    "bad UTF-8": lambda h: json.dumps(h).replace('"dtype"', '"dty\xffpe"', 1).encode("latin-1"),
    "overlapping": lambda h: {**h, "x": {"dtype": "F32", "shape": [32], "data_offsets": [0, 128]}},
    "digits": lambda h: json.dumps(h)[:-1].encode() + b', "x": ' + b"9" * 6000 + b"}",
}


def _huge_header(path: Path) -> None:
    path.write_bytes((12 << 30).to_bytes(8, "little") + b"{")
    os.truncate(path, (12 << 30) + 8)


def _bytes(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def _renamed(old: str, new: str, folder: Path) -> None:
    arrays = weights()
    write_tensors(
        folder / "model.safetensors", {name.replace(old, new): value for name, value in arrays.items()}
    )


def files(name: str) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Damages of a safetensors file in a folder."""
    for what, change in HEADERS.items():
        yield what, lambda folder, change=change: headers(folder / name, change)
    yield "header of 12 GB", lambda folder: _huge_header(folder / name)
    yield "empty", text(name, b"")
    yield "four bytes", text(name, b"\x08\0\0\0")
    yield "header size of all ones", text(name, b"\xff" * 64)
    yield "cut", lambda folder: _bytes(folder / name, lambda content: content[:-100])
    yield "too long", lambda folder: _bytes(folder / name, lambda content: content + b"\0" * 100)
    yield "text", text(name, "not weights")


def checkpoints() -> Iterator[Hostile]:
    """Weights that are none, or those of another model."""
    read = ("metadata of numbers", "metadata is a list", "deep beside")
    for name, put in files("model.safetensors"):
        yield generate_input("safetensors", name, put, name in read)
    for new in (
        "model.layers.99.",
        "model.layers.-1.",
        "model.layers.x.",
        "",
        "..",
        "model.layers.99999999999999999999.",
        "model.layers.1.1.1.",
    ):
        yield generate_input("safetensors", f"layer named {new}", partial(_renamed, "model.layers.1.", new))
    for value in (np.nan, np.inf):
        yield generate_input("safetensors", f"weights of {value}", partial(_filled, value), True)
    names = (
        "../../../etc/passwd",
        "/etc/passwd",
        5,
        None,
        ["x"],
        "",
        "a\0b",
        "model.safetensors/x",
        "x" * 5000,
        "..",
        "\ud800",
    )
    for file in names:
        content = json.dumps({"weight_map": {"a": file}})
        yield generate_input(
            "index", f"weight_map of {str(file)[:20]!r}", text("model.safetensors.index.json", content)
        )
    for what, content in (
        ("deep", "[" * 100_000),
        ("list", "[]"),
        ("no map", "{}"),
        ("map of a list", '{"weight_map": []}'),
        ("map null", '{"weight_map": null}'),
    ):
        yield generate_input("index", what, text("model.safetensors.index.json", content))


def _filled(value: float, folder: Path) -> None:
    arrays = weights()
    arrays["model.layers.1.mlp.up_proj.weight"][:] = value
    write_tensors(folder / "model.safetensors", arrays)
