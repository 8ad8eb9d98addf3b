"""Files of every kind that strangers might hand over, made from those that the readers take."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import readers
import special_files
from hostile import PAYLOAD, Hostile
from hostile_adapters import archive, bomb, npy
from hostile_folders import Content, many, raw
from hostile_tensors import HEADERS, headers

SEED = 14
RANDOM = 6  # damages at random places, a file
DEEP = "[" * 100_000 + "]" * 100_000
VALUES: tuple[Any, ...] = (None, 10**400, -1, "x", [], {}, True, "\ud800", float("nan"), [[[]]], "9" * 6000)
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{', '.join([f'*{chr(97 + level)}'] * 10)}]\n"
    for level in range(8)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} {{<<: [{', '.join([f'*{chr(97 + n)}'] * 9)}]}}\n" for n in range(9)
)
YAML: dict[str, Content] = {
    "deep": DEEP,
    "deep mappings": "{a: " * 3000 + "1" + "}" * 3000,
    "deep blocks": "\n".join(" " * level + "a:" for level in range(1500)),
    "of itself": "&a [*a]",
    "of itself, a mapping": "&a {b: *a}",
    "of itself, a list": "- &a\n  id: *a\n",
    "bomb": BOMB,
    "bomb in a list": "- " + BOMB.replace("\n", "\n  "),
    "merges": MERGES,
    "timestamp": "a: !!timestamp x",
    "timestamps": "a: 2001-99-99",
    "int": "a: !!int x",
    "float": "a: !!float x",
    "bool": "a: !!bool x",
    "binary": "a: !!binary 'é'",
    "python": f'a: !!python/object/apply:builtins.exec ["{PAYLOAD}"]',
    "python list": f'- !!python/object/apply:builtins.exec ["{PAYLOAD}"]',
    "set": "a: !!set [x]",
    "omap": "!!omap [1]",
    "pairs": "!!pairs [x]",
    "unknown tag": "!zzz x",
    "null": "null",
    "number": "5",
    "unclosed": "[a, b",
    "tab": "a:\n\tb: 1",
    "no alias": "a: *zzz",
    "list as key": "? [a]\n: 1",
    "mapping as key": "? {a: 1}\n: 1",
    "NUL": "a: \0",
    "digits": "a: " + "9" * 6000,
    "two documents": "a: 1\n---\nb: 2",
    "sexagesimal": "a: " + ":".join(["1"] * 3000),
    "many": lambda: b"[" + b"a, " * 3_000_000 + b"a]",
    "surrogate": 'a: "\\uD800"',
    "escape": 'a: "\\x1b[31m"',
    "value key": "=: 1",
    "equals": "a: =",
    "merge of text": "<<: x",
    "long key": "a" * 5000 + ": 1",
    "long line": lambda: b"a: " + b"x" * (70 << 20),
}


def suffix_of(name: str) -> str:
    """How a file's name ends."""
    return Path(name).suffix


def whole(reader: readers.Reader) -> bytes:
    """What a reader's file holds."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / reader.name
        reader.write(path)
        return path.read_bytes()


def _put(reader: readers.Reader, content: Content, path: Path) -> None:
    reader.write(path)  # what lies beside it is whole
    path.write_bytes(raw(content))


def _special(reader: readers.Reader, make: Callable[[Path], None], path: Path) -> None:
    reader.write(path)
    make(path)


def of_any(reader: readers.Reader) -> Iterator[Hostile]:
    """What may be wrong with any file."""
    for make in special_files.SPECIAL:
        yield Hostile(
            "special files", f"{reader.name} {make.__name__}", partial(_special, reader, make), reader.name
        )
    for name, content in {
        "empty": b"",
        "NUL": b"\0" * 100,
        "utf-16": "[]".encode("utf-16"),
        "not UTF-8": b"\xff\xfe\xfd",
    }.items():
        yield Hostile(
            "bytes", f"{reader.name} {name}", partial(_put, reader, content), reader.name, name == "NUL"
        )
    rng = random.Random(f"{SEED} {reader.name}")
    for number in range(RANDOM):
        place, size, kind = rng.random(), rng.randrange(1, 9), rng.choice(("cut", "change", "put in"))
        new = rng.randbytes(size)
        content = partial(_damaged, reader, kind, place, new)
        yield Hostile(
            "bytes", f"{reader.name} {kind} {number}", partial(_put, reader, content), reader.name, True
        )


def _damaged(reader: readers.Reader, kind: str, place: float, new: bytes) -> bytes:
    content = whole(reader)
    at = int(place * len(content))
    if kind == "cut":
        return content[:at]
    return content[:at] + new + content[at + (len(new) if kind == "change" else 0) :]


def of_json(reader: readers.Reader) -> Iterator[Hostile]:
    """JSON that is deep, large, or holds values of other types."""
    contents: dict[str, Content] = {
        "deep": DEEP,
        "deep within": f'{{"a": {DEEP}}}',
        "list of deep": f"[{DEEP}]",
        "number": "5",
        "null": "null",
        "text": '"x"',
        "digits": "9" * 6000,
        "digits within": f'{{"a": {"9" * 6000}}}',
        "NaN": "NaN",
        "many": many,
    }
    for name, content in contents.items():
        yield Hostile("JSON", f"{reader.name} {name}", partial(_put, reader, content), reader.name)
    rng = random.Random(f"{SEED} values {reader.name}")
    for number in range(12):
        value, place = rng.choice(VALUES), rng.random()
        put = partial(_put, reader, partial(_replaced, reader, place, value))
        yield Hostile("JSON values", f"{reader.name} {number} {str(value)[:12]!r}", put, reader.name, True)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from _places(inner)


def _replaced(reader: readers.Reader, place: float, value: Any) -> bytes:
    lines = [line for line in whole(reader).decode().split("\n") if line.strip()]
    documents = (
        [json.loads(line) for line in lines]
        if suffix_of(reader.name) == ".jsonl"
        else [json.loads("\n".join(lines))]
    )
    parent, key = (places := list(_places(documents[0])))[int(place * len(places))]
    parent[key] = value
    return "\n".join(map(json.dumps, documents)).encode()


def of_yaml(reader: readers.Reader) -> Iterator[Hostile]:
    """YAML with tags, aliases and depth."""
    for name, content in YAML.items():
        yield Hostile("YAML", f"{reader.name} {name}", partial(_put, reader, content), reader.name)


def of_tensors(reader: readers.Reader) -> Iterator[Hostile]:
    """Safetensors with headers that lie."""
    read = ("metadata of numbers", "metadata is a list")
    for name, change in HEADERS.items():
        put = partial(_headers, reader, change)
        yield Hostile("safetensors", f"{reader.name} {name}", put, reader.name, name in read)


def _headers(reader: readers.Reader, change: Callable[[dict[str, Any]], Any], path: Path) -> None:
    reader.write(path)
    headers(path, change)


def of_arrays(reader: readers.Reader) -> Iterator[Hostile]:
    """Archives of arrays that hold pickles, bombs and other sizes than they say."""
    shape = "{'descr': '<f4', 'fortran_order': False, 'shape': %s}"
    pickled = b"cbuiltins\nexec\n(S" + repr(PAYLOAD).encode() + b"\ntR."
    objects = npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", pickled)
    contents: dict[str, Callable[[], bytes]] = {
        "pickle": lambda: pickled,
        "pickles": lambda: archive(direction=objects, labels=objects, layer=objects),
        "claims 40 GB": lambda: archive(
            direction=npy(shape % "(100000, 100000)"), labels=npy(shape % "(100000, 100000)")
        ),
        "overflows": lambda: archive(
            labels=npy(shape % "(4294967296, 4294967296)"), direction=npy(shape % "(4294967296, 4294967296)")
        ),
        "deep": lambda: archive(labels=npy("(" * 5000 + ")" * 5000), direction=npy("(" * 5000 + ")" * 5000)),
        "none": archive,
        "bomb": lambda: bomb("labels", "direction"),
    }
    for name, content in contents.items():
        yield Hostile(
            "npz", f"{reader.name} {name}", partial(_put, reader, content), reader.name, slow=name == "bomb"
        )


FORMS: dict[str, tuple[Callable[[readers.Reader], Iterator[Hostile]], ...]] = {
    ".json": (of_json,),
    ".jsonl": (of_json,),
    ".yaml": (of_yaml,),
    ".safetensors": (of_tensors,),
    ".npz": (of_arrays,),
}


def files() -> list[Hostile]:
    """All of them."""
    return [
        one
        for reader in readers.READERS
        for part in (of_any, *FORMS.get(suffix_of(reader.name), ()))
        for one in part(reader)
    ]
