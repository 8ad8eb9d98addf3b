"""Tokenizers that strangers might hand over."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hostile import Hostile
from hostile_folders import ORGANISM, Content, changed, generate_input, many, text


def edited(**parts: Any) -> Callable[[Path], None]:
    """Rewrites parts of tokenizer.json, `model__vocab` for one within."""

    def put(folder: Path) -> None:
        whole = json.loads((ORGANISM / "tokenizer.json").read_text())
        for key, value in parts.items():
            *parents, last = key.split("__")
            at = whole
            for parent in parents:
                at = at[parent]
            at[last] = value
        (folder / "tokenizer.json").write_text(json.dumps(whole))

    return put


def _growing(count: int, factor: int = 10) -> dict[str, Any]:
    one = {"type": "Replace", "pattern": {"String": "7"}, "content": "7" * factor}
    return {"type": "Sequence", "normalizers": [one] * count}


def _split(regex: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def _token(number: int, content: str) -> dict[str, Any]:
    """A special token as tokenizer.json adds it."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": content, **flags, "special": True}


def _tokenizer_parts() -> Iterator[tuple[str, dict[str, Any], bool]]:
    yield "growing normaliser", {"normalizer": _growing(12)}, False
    yield "normaliser that grows a little", {"normalizer": _growing(5)}, False
    yield (
        "normaliser that puts in",
        {
            "normalizer": {
                "type": "Sequence",
                "normalizers": [{"type": "Replace", "pattern": {"Regex": ""}, "content": "x" * 1000}] * 4,
            }
        },
        False,
    )
    yield "long prepend", {"normalizer": {"type": "Prepend", "prepend": "x" * 5_000_000}}, False
    yield "growing decoder", {"decoder": {"type": "Sequence", "decoders": _growing(12)["normalizers"]}}, True
    for regex in (
        "(",
        "(a+)+$",
        "(.*)*x",
        r"(?:(?:\S+ ?)+)+z",
        "[",
        "(?<=a+)b",
        r"\p{Zzz}",
        "a{99999999}",
        "(x+x+)+y",
        r"(\d+)*(\d+)*(\d+)*!",
    ):
        yield f"split {regex}", {"pre_tokenizer": _split(regex)}, True
        yield (
            f"replace {regex}",
            {"normalizer": {"type": "Replace", "pattern": {"Regex": regex}, "content": ""}},
            True,
        )
    for key in ("normalizer", "pre_tokenizer", "post_processor", "decoder", "model"):
        for value in (5, "x", [], {}, {"type": "Zzz"}, {"type": None}):
            yield f"{key}={value!r}", {key: value}, key != "model"
    nested: Any = {"type": "Lowercase"}
    for _ in range(120):
        nested = {"type": "Sequence", "normalizers": [nested]}
    yield "deep normaliser", {"normalizer": nested}, True
    yield "no vocabulary", {"model__vocab": {}, "model__merges": []}, True
    yield "only one id", {"model__vocab": {"a": 0}, "model__merges": []}, True
    yield "huge ids", {"model__vocab": {"a": 2**32 - 1, "7": 2**31, " ": 2**30}, "model__merges": []}, False
    yield (
        "ids beyond the embedding",
        {
            "model__vocab": {"a": 9_000, "7": 9_001, " ": 9_002, "8": 9_003, "*": 9_004, "=": 9_005},
            "model__merges": [],
        },
        False,
    )
    yield "ids too large", {"model__vocab": {"a": 2**40}}, False
    yield "negative ids", {"model__vocab": {"a": -1}}, False
    yield "text as ids", {"model__vocab": {"a": "0"}}, False
    yield "odd merges", {"model__merges": [["zz", "yy"]]}, False
    yield "merges of one", {"model__merges": ["x"]}, False
    yield "merges of numbers", {"model__merges": [5]}, False
    yield (
        "padding",
        {
            "padding": {
                "strategy": {"Fixed": 10**10},
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "x",
            }
        },
        True,
    )
    yield (
        "padding to multiples",
        {
            "padding": {
                "strategy": "BatchLongest",
                "direction": "Right",
                "pad_to_multiple_of": 10**10,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "x",
            }
        },
        True,
    )
    yield (
        "truncation",
        {"truncation": {"max_length": 0, "stride": 10**9, "strategy": "LongestFirst", "direction": "Right"}},
        True,
    )
    yield (
        "added tokens",
        {"added_tokens": [_token(2**31, "7")]},
        True,
    )
    yield (
        "added tokens of no text",
        {"added_tokens": [_token(0, "")]},
        True,
    )
    yield "added numbers", {"added_tokens": [5]}, False
    yield (
        "template of unknown",
        {
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "zzz", "type_id": 0}}],
                "pair": [],
                "special_tokens": {},
            }
        },
        False,
    )
    yield "word level", {"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "zzz"}}, False
    yield "unigram", {"model": {"type": "Unigram", "unk_id": 5, "vocab": []}}, False
    yield "unigram without scores", {"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", "x"]]}}, False
    yield (
        "word piece",
        {
            "model": {
                "type": "WordPiece",
                "unk_token": "zz",
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 0,
                "vocab": {"a": 0},
            }
        },
        True,
    )
    yield "dropout", {"model__dropout": 7.5}, True


def tokenizers() -> Iterator[Hostile]:
    """tokenizer.json and tokenizer_config.json that are none, grow, or name what is not there."""
    for name, parts, harmless in _tokenizer_parts():
        yield generate_input("tokenizer.json", name, edited(**parts), harmless)
    whole = (ORGANISM / "tokenizer.json").read_text()
    contents: dict[str, Content] = {
        "empty": "",
        "null": "null",
        "list": "[]",
        "cut": whole[: len(whole) // 2],
        "deep": "[" * 100_000,
        "utf-16": whole.encode("utf-16"),
        "NUL": whole + "\0",
        "{}": "{}",
        "many": many,
    }
    for name, content in contents.items():
        yield generate_input("tokenizer.json", name, text("tokenizer.json", content))
    values: dict[str, tuple[Any, ...]] = {
        "tokenizer_class": (
            5,
            [],
            "Zzz",
            "../x",
            "AutoTokenizer",
            "BertTokenizer",
            "LlamaTokenizer",
            "T5Tokenizer",
            None,
        ),
        "model_max_length": ("x", -1, 0, float("nan"), [], 10**30, None),
        "bos_token": (5, [], {"content": 5}, "zzz never seen", {"content": "x" * 10**6}, "\ud800", None),
        "eos_token": (5, [], {"content": 5}, "zzz never seen", None),
        "added_tokens_decoder": (
            5,
            [],
            {"x": {}},
            {"99999999999": {"content": "x"}},
            {"5": 5},
            {"-1": {"content": "y", "special": True}},
        ),
        "extra_special_tokens": (5, "x", [5], {"a": 5}, [["x"]]),
        "padding_side": ("up", 5),
        "clean_up_tokenization_spaces": ("x", []),
        "backend": (5, "os"),
        "special_tokens_map_file": ("/etc/passwd",),
        "tokenizer_file": ("/dev/zero", 5),
        "name_or_path": (5, "../.."),
        "vocab_file": ("/dev/zero",),
        "processor_class": (5,),
        "additional_special_tokens": (5, [5], ["7"] * 10**5),
        "added_tokens_file": ("/dev/zero",),
    }
    for key, options in values.items():
        for value in options:
            name = f"{key}={str(value)[:30]!r}"
            yield generate_input(
                "tokenizer_config.json", name, changed("tokenizer_config.json", **{key: value}), True
            )
