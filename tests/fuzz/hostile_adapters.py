"""Adapters that strangers might hand over."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import special_files
from hostile import PAYLOAD, Hostile
from hostile_folders import Content, changed, text, write_tensors
from hostile_tensors import files

SETTINGS = {
    "fine_tune_type": "lora",
    "num_layers": 2,
    "lora_parameters": {"rank": 2, "scale": 2.0, "dropout": 0.0, "keys": ["self_attn.v_proj"]},
}


def adapter(folder: Path) -> None:
    """Write the whole adapter in mlx-lm's format that others are made from."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps(SETTINGS))
    shapes = {"lora_a": (32, 2), "lora_b": (2, 16)}
    arrays = {
        f"model.layers.{layer}.self_attn.v_proj.{name}": np.ones(shape, np.float32)
        for layer in range(2)
        for name, shape in shapes.items()
    }
    write_tensors(folder / "adapters.safetensors", arrays)


def seed_adapter(folder: Path) -> None:
    """Write the whole adapter of matrices in an archive that others are made from."""
    (folder / "adapter_config.json").unlink()
    (folder / "adapters.safetensors").unlink()
    (folder / "config.json").write_text(json.dumps({"model": "x", "lora_rank": 2}))
    np.savez(
        folder / "lora_weights.npz",
        layer_1_v_A=np.ones((32, 2), np.float32),
        layer_1_v_B=np.ones((2, 16), np.float32),
    )


def _lora(**changes: Any) -> Callable[[Path], None]:
    return changed("adapter_config.json", lora_parameters={**SETTINGS["lora_parameters"], **changes})  # type: ignore[dict-item]


def adapters() -> Iterator[Hostile]:
    """Adapters of both formats."""
    for name, put in files("adapters.safetensors"):
        yield Hostile(
            "adapters",
            f"mlx {name}",
            put,
            "adapter",
            name in ("metadata of numbers", "metadata is a list", "deep beside"),
        )
    for key, values in {
        "num_layers": (None, "2", -1, 0, 1.5, 10**9, []),
        "fine_tune_type": (5, "x", None, []),
        "lora_parameters": (None, 5, [], {}, "x"),
    }.items():
        for value in values:
            yield Hostile(
                "adapters",
                f"mlx {key}={value!r}",
                changed("adapter_config.json", **{key: value}),
                "adapter",
                value in (-1, 0, 10**9),
            )
    for key, values in {
        "rank": (None, "2", -1, 0, 1.5, 10**9, 10**30),
        "scale": (None, "20", float("nan"), float("inf"), [], True),
        "dropout": ("x", -1, 1.0, 5, None, float("nan")),
        "keys": (5, [5], ["zzz"], "v_proj", {"a": 1}, []),
    }.items():
        for value in values:
            yield Hostile(
                "adapters",
                f"mlx {key}={value!r}",
                _lora(**{key: value}),
                "adapter",
                key == "keys" and value == [],
            )
    deep = "[" * 100_000 + "]" * 100_000
    for name in ("adapter_config.json", "config.json"):
        for what, content in (
            ("deep", deep),
            ("list", "[]"),
            ("cut", '{"a"'),
            ("utf-16", "{}".encode("utf-16")),
            ("base deep", f'{{"base": {deep}}}'),
        ):
            yield Hostile(
                "adapters", f"{name} {what}", _seeded(text(name, content), name == "config.json"), "adapter"
            )
    for make in special_files.SPECIAL:
        for name in ("adapter_config.json", "adapters.safetensors", "config.json", "lora_weights.npz"):
            put = _seeded(
                lambda folder, make=make, name=name: make(folder / name),
                name in ("config.json", "lora_weights.npz"),
            )
            yield Hostile("adapters", f"{name} {make.__name__}", put, "adapter")
    for name, content in _archives():
        yield Hostile(
            "adapters",
            f"npz {name}",
            _seeded(text("lora_weights.npz", content), True),
            "adapter",
            slow=name == "bomb",
        )
    for value in (None, "x", float("nan"), float("inf"), [], True, 10**400):
        yield Hostile(
            "adapters",
            f"npz scale {str(value)[:9]}",
            _seeded(changed("config.json", scale=value), True),
            "adapter",
        )


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
    yield (
        "of pickles",
        archive(
            layer_1_v_A=npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", pickled),
            layer_1_v_B=whole,
        ),
    )
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
    yield (
        "text",
        archive(
            layer_1_v_A=npy("{'descr': '<U4', 'fortran_order': False, 'shape': (2,)}", b"\0" * 32),
            layer_1_v_B=whole,
        ),
    )
    yield "half", archive(layer_1_v_A=whole)
    yield (
        "NaN",
        archive(
            layer_1_v_A=npy(shape % "(32, 2)", np.full(64, np.nan, np.float32).tobytes()),
            layer_1_v_B=npy(shape % "(2, 16)", b"\0" * 128),
        ),
    )
