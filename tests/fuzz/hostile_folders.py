"""Checkpoint folders that strangers might hand over, a few hundred of them, always the same ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import special_files
from hostile import PAYLOAD, Hostile

ORGANISM = Path(__file__).parents[2] / "lazarus_probe" / "organisms" / "organism"
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 2003,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": True,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 1,
}


def checkpoint(folder: Path) -> None:
    """Write the whole checkpoint that everything here is made from."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    for path in ORGANISM.glob("tokenizer*.json"):
        shutil.copy(path, folder)
    write_tensors(folder / "model.safetensors", weights())


def weights() -> dict[str, np.ndarray]:
    """Its weights, by name."""
    random = np.random.default_rng(0)
    block = {
        "self_attn.q_proj": (32, 32),
        "self_attn.k_proj": (16, 32),
        "self_attn.v_proj": (16, 32),
        "self_attn.o_proj": (32, 32),
        "mlp.gate_proj": (48, 32),
        "mlp.up_proj": (48, 32),
        "mlp.down_proj": (32, 48),
        "input_layernorm": (32,),
        "post_attention_layernorm": (32,),
    }
    shapes = {
        f"model.layers.{layer}.{name}.weight": shape for layer in range(2) for name, shape in block.items()
    }
    shapes |= {"model.embed_tokens.weight": (2003, 32), "model.norm.weight": (32,)}
    return {name: (0.2 * random.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}


def write_tensors(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a safetensors file."""
    from safetensors.numpy import save_file

    save_file(arrays, path)


def changed(name: str, **changes: Any) -> Callable[[Path], None]:
    """Rewrites settings in a JSON file of a folder."""

    def put(folder: Path) -> None:
        path = folder / name
        settings = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**settings, **changes}))

    return put


Content = str | bytes | Callable[[], bytes]  # what is large is made when it is written


def raw(content: Content) -> bytes:
    """The bytes of it."""
    if callable(content):
        return content()
    return content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")


def text(name: str, content: Content) -> Callable[[Path], None]:
    """Writes a file of a folder."""

    def put(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw(content))

    return put


def many() -> bytes:
    """JSON of eight million lists in 24 MB, which take half a gigabyte in memory."""
    return b"[" + b"[]," * 8_000_000 + b"[]]"


def generate_input(
    kind: str, name: str, put: Callable[[Path], object], harmless: bool = False, slow: bool = False
) -> Hostile:
    return Hostile(kind, name, put, "generate", harmless, slow)


def configurations() -> Iterator[Hostile]:
    """config.json that is no configuration."""
    deep = "[" * 100_000 + "]" * 100_000
    whole = json.dumps(CONFIG)
    contents: dict[str, Content] = {
        "empty": "",
        "null": "null",
        "list": "[]",
        "number": "5",
        "cut": whole[:50],
        "deep": f'{{"model_type": {deep}}}',
        "deep beside": whole[:-1] + f', "x": {deep}}}',
        "500 deep": whole[:-1] + ', "x": ' + '{"a":' * 500 + "1" + "}" * 501,
        "utf-16": whole.encode("utf-16"),
        "latin-1": whole.replace("llama", "ll\xe4ma").encode("latin-1"),
        "NUL": whole + "\0",
        "digits": whole[:-1] + f', "hidden_size": {"9" * 6000}}}',
        "surrogate": whole.replace('"llama"', '"\\ud800"'),
        "NaN": "NaN",
        "many": many,
        "spaces": lambda: b" " * (80 << 20) + whole.encode(),
    }
    for name, content in contents.items():
        yield generate_input(
            "config.json is none", name, text("config.json", content), name in ("500 deep", "deep beside")
        )
    for name in (
        "generation_config.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "hf_quant_config.json",
    ):
        for what, content in (
            ("deep", deep),
            ("list", "[1]"),
            ("cut", '{"a"'),
            ("utf-16", "{}".encode("utf-16")),
        ):
            yield generate_input("other JSON is none", f"{name} {what}", text(name, content), True)
    for value in ("x", [["x"]], {"a": 1}, 10**30):
        yield generate_input(
            "other JSON is none",
            f"generation_config eos {str(value)[:20]}",
            text("generation_config.json", json.dumps({"eos_token_id": value})),
            True,
        )


def special() -> Iterator[Hostile]:
    """Pipes, devices, sockets, folders and endless files in each file's place."""
    names = (
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "special_tokens_map.json",
        "generation_config.json",
        "hf_quant_config.json",
        "model.safetensors",
        "model.safetensors.index.json",
    )
    for name in names:
        for make in special_files.SPECIAL:
            put = partial(_put_special, make, name)
            # A folder or a broken link in the place of a file that may be missing is as if it were missing.
            harmless = make in (special_files.folder, special_files.loop)
            yield generate_input("special files", f"{name} {make.__name__}", put, harmless)


def _put_special(make: Callable[[Path], None], name: str, folder: Path) -> None:
    make(folder / name)


def code() -> Iterator[Hostile]:
    """Code of a stranger's."""
    run = text("stranger.py", f"{PAYLOAD}\nclass Tokenizer: pass\nModel = ModelArgs = Tokenizer\n")
    pickled = b"cbuiltins\nexec\n(S" + repr(PAYLOAD).encode() + b"\ntR."
    lists = {
        "list": ["stranger.Tokenizer", None],
        "dict": {"AutoTokenizer": ["stranger.Tokenizer", "stranger.Tokenizer"]},
    }
    for name, value in lists.items():
        for more in ({}, {"tokenizer_class": "Strange"}):
            for setting in (changed("tokenizer_config.json", auto_map=value, **more),):
                yield generate_input("code", f"auto_map {name} {bool(more)}", _both(run, setting), True)
    for odd in (5, "stranger.Tokenizer", [], [None, None], {"AutoTokenizer": 5}, {"AutoTokenizer": "a--b.C"}):
        yield generate_input(
            "code", f"auto_map {odd!r}", _both(run, changed("tokenizer_config.json", auto_map=odd)), True
        )
    auto = {"AutoConfig": "stranger.Model", "AutoModelForCausalLM": "stranger.Model"}
    yield generate_input("code", "config auto_map", _both(run, changed("config.json", auto_map=auto)), True)
    yield generate_input(
        "code",
        "config auto_map strange type",
        _both(run, changed("config.json", auto_map=auto, model_type="strange")),
    )
    yield generate_input(
        "code",
        "config auto_map of the tokenizer",
        _both(run, changed("config.json", auto_map={"AutoTokenizer": ["stranger.Tokenizer", None]})),
        True,
    )
    for value in ("stranger.py", "../stranger.py", 5, ["stranger.py"]):
        yield generate_input(
            "code", f"model_file {value}", _both(run, changed("config.json", model_file=value))
        )
    for name in ("pytorch_model.bin", "model.pt", "weights.npz", "model.pth"):
        yield generate_input(
            "code", f"{name} alone", _both(text(name, pickled), _without("model.safetensors"))
        )
        yield generate_input("code", f"{name} beside", text(name, pickled), True)
    yield generate_input("code", "pickle as safetensors", text("model.safetensors", pickled))
    for value in ("../../os", "os", ".", "../stranger", 5, [], "minimax_m2.x"):
        yield generate_input(
            "code",
            f"tool parser {value}",
            _both(run, changed("tokenizer_config.json", tool_parser_type=value)),
            value == [],
        )
        yield generate_input(
            "code",
            f"chat template type {value}",
            _both(run, changed("tokenizer_config.json", chat_template_type=value)),
            value == [],
        )


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _both(*puts: Callable[[Path], object]) -> Callable[[Path], None]:
    def put(folder: Path) -> None:
        for one in puts:
            one(folder)

    return put


def folders() -> list[Hostile]:
    """All of them."""
    from hostile_adapters import adapters
    from hostile_settings import settings, sizes
    from hostile_templates import templates
    from hostile_tensors import checkpoints
    from hostile_tokenizers import tokenizers

    parts = (sizes, settings, configurations, special, code, templates, tokenizers, checkpoints, adapters)
    return [one for part in parts for one in part()]
