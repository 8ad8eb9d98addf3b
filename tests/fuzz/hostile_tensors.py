"""Weights and adapters that strangers might hand over."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import special_files
from hostile import PAYLOAD, Hostile
from hostile_folders import Content, _generate, changed, text, weights, write_tensors

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
    entries = ",".join(f'"t{number}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for number in range(250_000))
    return ("{" + entries + "}").encode()


HEADERS: dict[str, Callable[[Header], Any]] = {
    "offsets as text": _set("data_offsets", ["0", "128"]), "offsets of one": _set("data_offsets", [0]), "offsets null": _set("data_offsets", None),
    "offsets negative": _set("data_offsets", [-128, 0]), "offsets beyond": _set("data_offsets", [0, 10**15]), "offsets huge": _set("data_offsets", [0, 10**30]),
    "offsets turned": _set("data_offsets", [128, 0]), "offsets of parts": _set("data_offsets", [0.5, 128.5]), "offsets true": _set("data_offsets", [False, True]),
    "no offsets": _first(lambda entry: entry.pop("data_offsets")), "entry is a list": lambda h: {**h, "x": []}, "entry is null": lambda h: {**h, "x": None},
    "dtype unknown": _set("dtype", "ZZ"), "dtype null": _set("dtype", None), "dtype of a list": _set("dtype", ["F32"]), "dtype of half": _set("dtype", "F16"),
    "dtype of whole numbers": _set("dtype", "I32"), "dtype of bits": _set("dtype", "F4"), "dtype complex": _set("dtype", "C64"),
    "shape of text": _set("shape", ["32"]), "shape null": _set("shape", None), "shape negative": _set("shape", [-32]), "shape huge": _set("shape", [10**10, 10**10]),
    "shape that overflows": _set("shape", [2**32, 2**32]), "shape of parts": _set("shape", [1.5]), "shape of zero": _set("shape", [0]), "shape deep": _set("shape", [1] * 10_000),
    "shape of lists": _set("shape", [[32]]), "list": lambda _: [], "null": lambda _: b"null", "no JSON": lambda _: b"not json", "deep": lambda _: b"[" * 100_000,
    "deep beside": lambda h: (json.dumps(h)[:-1] + ', "x": ' + "[" * 5000 + "]" * 5000 + "}").encode(), "metadata is a list": lambda h: {**h, "__metadata__": []},
    "metadata of numbers": lambda h: {**h, "__metadata__": {"a": 5}}, "many entries": _many, "nothing": lambda _: {}, "utf-16": lambda h: json.dumps(h).encode("utf-16"),
    "bad UTF-8": lambda h: json.dumps(h).replace('"dtype"', '"dty\xffpe"', 1).encode("latin-1"), "overlapping": lambda h: {**h, "x": {"dtype": "F32", "shape": [32], "data_offsets": [0, 128]}},
    "digits": lambda h: json.dumps(h)[:-1].encode() + b', "x": ' + b"9" * 6000 + b"}",
}  # fmt: skip


def _huge_header(path: Path) -> None:
    path.write_bytes((12 << 30).to_bytes(8, "little") + b"{")
    os.truncate(path, (12 << 30) + 8)


def _bytes(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def _renamed(old: str, new: str, folder: Path) -> None:
    arrays = weights()
    write_tensors(folder / "model.safetensors", {name.replace(old, new): value for name, value in arrays.items()})


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
        yield _generate("safetensors", name, put, name in read)
    for new in ("model.layers.99.", "model.layers.-1.", "model.layers.x.", "", "..", "model.layers.99999999999999999999.", "model.layers.1.1.1."):
        yield _generate("safetensors", f"layer named {new}", partial(_renamed, "model.layers.1.", new))
    for value in (np.nan, np.inf):
        yield _generate("safetensors", f"weights of {value}", partial(_filled, value), True)
    names = ("../../../etc/passwd", "/etc/passwd", 5, None, ["x"], "", "a\0b", "model.safetensors/x", "x" * 5000, "..", "\ud800")
    for file in names:
        content = json.dumps({"weight_map": {"a": file}})
        yield _generate("index", f"weight_map of {str(file)[:20]!r}", text("model.safetensors.index.json", content))
    for what, content in (("deep", "[" * 100_000), ("list", "[]"), ("no map", "{}"), ("map of a list", '{"weight_map": []}'), ("map null", '{"weight_map": null}')):
        yield _generate("index", what, text("model.safetensors.index.json", content))


def _filled(value: float, folder: Path) -> None:
    arrays = weights()
    arrays["model.layers.1.mlp.up_proj.weight"][:] = value
    write_tensors(folder / "model.safetensors", arrays)


SETTINGS = {"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": {"rank": 2, "scale": 2.0, "dropout": 0.0, "keys": ["self_attn.v_proj"]}}


def adapter(folder: Path) -> None:
    """Write the whole adapter in mlx-lm's format that others are made from."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps(SETTINGS))
    shapes = {"lora_a": (32, 2), "lora_b": (2, 16)}
    arrays = {f"model.layers.{layer}.self_attn.v_proj.{name}": np.ones(shape, np.float32) for layer in range(2) for name, shape in shapes.items()}
    write_tensors(folder / "adapters.safetensors", arrays)


def seed_adapter(folder: Path) -> None:
    """Write the whole adapter of matrices in an archive that others are made from."""
    (folder / "adapter_config.json").unlink()
    (folder / "adapters.safetensors").unlink()
    (folder / "config.json").write_text(json.dumps({"model": "x", "lora_rank": 2}))
    np.savez(folder / "lora_weights.npz", layer_1_v_A=np.ones((32, 2), np.float32), layer_1_v_B=np.ones((2, 16), np.float32))


def _lora(**changes: Any) -> Callable[[Path], None]:
    return changed("adapter_config.json", lora_parameters={**SETTINGS["lora_parameters"], **changes})  # type: ignore[dict-item]


def adapters() -> Iterator[Hostile]:
    """Adapters of both formats."""
    for name, put in files("adapters.safetensors"):
        yield Hostile("adapters", f"mlx {name}", put, "adapter", name in ("metadata of numbers", "metadata is a list", "deep beside"))
    for key, values in {"num_layers": (None, "2", -1, 0, 1.5, 10**9, []), "fine_tune_type": (5, "x", None, []), "lora_parameters": (None, 5, [], {}, "x")}.items():
        for value in values:
            yield Hostile("adapters", f"mlx {key}={value!r}", changed("adapter_config.json", **{key: value}), "adapter", value in (-1, 0, 10**9))
    for key, values in {"rank": (None, "2", -1, 0, 1.5, 10**9, 10**30), "scale": (None, "20", float("nan"), float("inf"), [], True),
                        "dropout": ("x", -1, 1.0, 5, None, float("nan")), "keys": (5, [5], ["zzz"], "v_proj", {"a": 1}, [])}.items():  # fmt: skip
        for value in values:
            yield Hostile("adapters", f"mlx {key}={value!r}", _lora(**{key: value}), "adapter", key == "keys" and value == [])
    deep = "[" * 100_000 + "]" * 100_000
    for name in ("adapter_config.json", "config.json"):
        for what, content in (("deep", deep), ("list", "[]"), ("cut", '{"a"'), ("utf-16", "{}".encode("utf-16")), ("base deep", f'{{"base": {deep}}}')):
            yield Hostile("adapters", f"{name} {what}", _seeded(text(name, content), name == "config.json"), "adapter")
    for make in special_files.SPECIAL:
        for name in ("adapter_config.json", "adapters.safetensors", "config.json", "lora_weights.npz"):
            put = _seeded(lambda folder, make=make, name=name: make(folder / name), name in ("config.json", "lora_weights.npz"))
            yield Hostile("adapters", f"{name} {make.__name__}", put, "adapter")
    for name, content in _archives():
        yield Hostile("adapters", f"npz {name}", _seeded(text("lora_weights.npz", content), True), "adapter")
    for value in (None, "x", float("nan"), float("inf"), [], True, 10**400):
        yield Hostile("adapters", f"npz scale {str(value)[:9]}", _seeded(changed("config.json", scale=value), True), "adapter")


def _seeded(put: Callable[[Path], object], seed: bool) -> Callable[[Path], None]:
    def both(folder: Path) -> None:
        if seed:
            seed_adapter(folder)
        put(folder)

    return both


def npy(header: str, data: bytes = b"") -> bytes:
    """An array's file with any header."""
    raw = header.encode("latin-1")
    return b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw + data


def archive(**members: bytes) -> bytes:
    """An archive of arrays' files."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return made.getvalue()


@cache
def bomb(*names: str) -> bytes:
    """An archive of a few MB with an array of zeros of 1.5 GB under each name."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name in names:
            with file.open(f"{name}.npy", "w") as member:
                member.write(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (16384, 24576)}"))
                for _ in range(24):
                    member.write(bytes(64 << 20))
    return made.getvalue()


def _archives() -> Iterator[tuple[str, Content]]:
    shape = "{'descr': '<f4', 'fortran_order': False, 'shape': %s}"
    whole = npy(shape % "(32, 2)", b"\0" * 256)
    pickled = b"cbuiltins\nexec\n(S" + repr(PAYLOAD).encode() + b"\ntR."
    yield "of pickles", archive(layer_1_v_A=npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", pickled), layer_1_v_B=whole)
    yield "pickle", pickled
    yield "claims 40 GB", archive(layer_1_v_A=npy(shape % "(100000, 100000)"), layer_1_v_B=whole)
    yield "negative", archive(layer_1_v_A=npy(shape % "(-1, 2)"), layer_1_v_B=whole)
    yield "overflows", archive(layer_1_v_A=npy(shape % "(4294967296, 4294967296)"), layer_1_v_B=whole)
    yield "header of code", archive(layer_1_v_A=npy("__import__('os')"), layer_1_v_B=whole)
    yield "deep header", archive(layer_1_v_A=npy("(" * 5000 + ")" * 5000), layer_1_v_B=whole)
    yield "bomb", lambda: bomb("layer_1_v_A")
    yield "none", archive()
    yield "odd names", archive(**{"../../x": whole, "layer_1_v_A": whole})
    yield "layer too large", archive(**{f"layer_{'9' * 5000}_v_A": whole})
    yield "cut", archive(layer_1_v_A=whole)[:-30]
    yield "text", archive(layer_1_v_A=npy("{'descr': '<U4', 'fortran_order': False, 'shape': (2,)}", b"\0" * 32), layer_1_v_B=whole)
    yield "half", archive(layer_1_v_A=whole)
    yield "NaN", archive(layer_1_v_A=npy(shape % "(32, 2)", np.full(64, np.nan, np.float32).tobytes()), layer_1_v_B=npy(shape % "(2, 16)", b"\0" * 128))
