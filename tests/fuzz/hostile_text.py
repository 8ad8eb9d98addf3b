"""Tokenizers and chat templates that strangers might hand over."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hostile import Hostile
from hostile_folders import ORGANISM, Content, _generate, changed, many, text

TEMPLATES = {
    "endless": "{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(99999) %}{% endfor %}{% endfor %}{% endfor %}x",
    "endless output": "{% for i in range(99999) %}{% for j in range(99999) %}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}{% endfor %}",
    "12 GB": "{{ 'x' * 12000000000 }}", "12 GB of a list": "{{ [1] * 3000000000 }}", "1 GB": "{{ 'x' * 1000000000 }}",
    "center": "{{ 'x' | center(12000000000) }}", "ljust": "{{ 'x'.ljust(12000000000) }}", "format": "{{ '%12000000000d' % 1 }}",
    "format method": "{{ '{:>12000000000}'.format(1) }}", "power": "{{ 7 ** 99999999999 }}", "powers": "{{ 9 ** 9 ** 9 ** 9 }}",
    "power of a variable": "{% set x = 99999999 %}{{ (7 ** x) ** x }}", "zfill": "{{ '1'.zfill(9000000000) }}",
    "doubling": "{% set n = namespace(s='xxxxxxxx') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
    "doubling list": "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}",
    "replace": "{% set a = 'x' * 99999 %}{{ a.replace('x', a) }}", "indent": "{{ ('\\n' * 999999) | indent(99999) }}",
    "squaring": "{% set n = namespace(s=99999999) %}{% for i in range(60) %}{% set n.s = n.s * n.s %}{% endfor %}{{ n.s }}",
    "recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "syntax": "{% for %}", "unclosed": "{{ messages",
    "undefined": "{{ a.b.c }}", "divide": "{{ 1 // 0 }}", "type": "{{ 'a' + 1 }}", "index": "{{ messages[99]['role'] }}",
    "filter": "{{ 'a' | nofilter }}", "test": "{{ 'a' is notest }}", "raise": "{{ raise_exception('no\\nsystem \\u001b[31m') }}",
    "include": "{% include '/etc/passwd' %}", "import": "{% import 'os' as os %}{{ os }}", "extends": "{% extends 'x' %}",
    "mro": "{{ ''.__class__.__mro__[1].__subclasses__() }}", "globals": "{{ raise_exception.__globals__ }}",
    "deep": "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "deep lists": "{{ " + "[" * 3000 + "]" * 3000 + " }}",
    "wide": "{{ 1" + " + 1" * 5000 + " }}", "nested if": "{% if 1 %}" * 200 + "{% endif %}" * 200,
    "lipsum": "{{ lipsum(n=99999, min=9999, max=99999) }}", "lone surrogate": "a\ud800b{{ messages }}",
    "surrogate made": "{{ '%c' % 55296 }}{{ messages[0].content }}", "assignment": "{% set messages.x = 1 %}",
    "list append": "{{ messages.append(1) }}", "huge join": "{{ (range(99999) | list * 9999) | join('xxxxxxxxxxxxxxxx') }}",
    "batch": "{{ [1] | batch(9999999999, 'x') | list }}", "slice": "{{ [1] | slice(9999999999) | list }}",
    "strftime": "{{ strftime_now('%' * 100000) }}", "wordwrap": "{{ ('x' * 9999999) | wordwrap(1) | wordwrap(1) }}",
    "empty": "{{ '' }}",
}  # fmt: skip
# They break nothing, or only where one looks: an attribute that is hidden is an undefined one.
QUIET = ("undefined", "globals", "mro", "lone surrogate", "surrogate made", "wide", "nested if", "deep", "list append", "strftime", "wordwrap")


def _large() -> bytes:
    return b"{# " + b"x" * (70 << 20) + b" #}{{ messages[0].content }}"


def templates() -> Iterator[Hostile]:
    """Templates that never end, grow, break or reach out."""
    for name, template in TEMPLATES.items():
        yield _generate("chat templates", name, changed("tokenizer_config.json", chat_template=template), name in QUIET)
    for name in ("endless", "12 GB", "syntax", "doubling", "raise", "power"):
        yield _generate("chat templates", f"{name}, a file", text("chat_template.jinja", TEMPLATES[name]))
    yield _generate("chat templates", "70 MB, a file", text("chat_template.jinja", _large))
    for value in (5, [5], {}, [{"name": "default"}], [{"name": 5, "template": 5}], True, {"default": 5}, [], ["x"], ""):
        yield _generate("chat templates", f"{value!r}", changed("tokenizer_config.json", chat_template=value), True)


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


def _tokenizer_parts() -> Iterator[tuple[str, dict[str, Any], bool]]:
    yield "growing normaliser", {"normalizer": _growing(12)}, False
    yield "normaliser that grows a little", {"normalizer": _growing(5)}, False
    yield "normaliser that puts in", {"normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"Regex": ""}, "content": "x" * 1000}] * 4}}, False  # fmt: skip
    yield "long prepend", {"normalizer": {"type": "Prepend", "prepend": "x" * 5_000_000}}, False
    yield "growing decoder", {"decoder": {"type": "Sequence", "decoders": _growing(12)["normalizers"]}}, True
    for regex in ("(", "(a+)+$", "(.*)*x", r"(?:(?:\S+ ?)+)+z", "[", "(?<=a+)b", r"\p{Zzz}", "a{99999999}", "(x+x+)+y", r"(\d+)*(\d+)*(\d+)*!"):
        yield f"split {regex}", {"pre_tokenizer": _split(regex)}, True
        yield f"replace {regex}", {"normalizer": {"type": "Replace", "pattern": {"Regex": regex}, "content": ""}}, True
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
    yield "ids beyond the embedding", {"model__vocab": {"a": 9_000, "7": 9_001, " ": 9_002, "8": 9_003, "*": 9_004, "=": 9_005}, "model__merges": []}, False
    yield "ids too large", {"model__vocab": {"a": 2**40}}, False
    yield "negative ids", {"model__vocab": {"a": -1}}, False
    yield "text as ids", {"model__vocab": {"a": "0"}}, False
    yield "odd merges", {"model__merges": [["zz", "yy"]]}, False
    yield "merges of one", {"model__merges": ["x"]}, False
    yield "merges of numbers", {"model__merges": [5]}, False
    yield "padding", {"padding": {"strategy": {"Fixed": 10**10}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "x"}}, True
    yield "padding to multiples", {"padding": {"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": 10**10, "pad_id": 0, "pad_type_id": 0, "pad_token": "x"}}, True
    yield "truncation", {"truncation": {"max_length": 0, "stride": 10**9, "strategy": "LongestFirst", "direction": "Right"}}, True
    yield "added tokens", {"added_tokens": [{"id": 2**31, "content": "7", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}]}, True
    yield "added tokens of no text", {"added_tokens": [{"id": 0, "content": "", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}]}, True
    yield "added numbers", {"added_tokens": [5]}, False
    yield "template of unknown", {"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "zzz", "type_id": 0}}], "pair": [], "special_tokens": {}}}, False
    yield "word level", {"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "zzz"}}, False
    yield "unigram", {"model": {"type": "Unigram", "unk_id": 5, "vocab": []}}, False
    yield "unigram without scores", {"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", "x"]]}}, False
    yield "word piece", {"model": {"type": "WordPiece", "unk_token": "zz", "continuing_subword_prefix": "##", "max_input_chars_per_word": 0, "vocab": {"a": 0}}}, True
    yield "dropout", {"model__dropout": 7.5}, True


def tokenizers() -> Iterator[Hostile]:
    """tokenizer.json and tokenizer_config.json that are none, grow, or name what is not there."""
    for name, parts, harmless in _tokenizer_parts():
        yield _generate("tokenizer.json", name, edited(**parts), harmless)
    whole = (ORGANISM / "tokenizer.json").read_text()
    contents: dict[str, Content] = {
        "empty": "", "null": "null", "list": "[]", "cut": whole[: len(whole) // 2], "deep": "[" * 100_000,
        "utf-16": whole.encode("utf-16"), "NUL": whole + "\0", "{}": "{}", "many": many,
    }  # fmt: skip
    for name, content in contents.items():
        yield _generate("tokenizer.json", name, text("tokenizer.json", content))
    values: dict[str, tuple[Any, ...]] = {
        "tokenizer_class": (5, [], "Zzz", "../x", "AutoTokenizer", "BertTokenizer", "LlamaTokenizer", "T5Tokenizer", None),
        "model_max_length": ("x", -1, 0, float("nan"), [], 10**30, None),
        "bos_token": (5, [], {"content": 5}, "zzz never seen", {"content": "x" * 10**6}, "\ud800", None),
        "eos_token": (5, [], {"content": 5}, "zzz never seen", None),
        "added_tokens_decoder": (5, [], {"x": {}}, {"99999999999": {"content": "x"}}, {"5": 5}, {"-1": {"content": "y", "special": True}}),
        "extra_special_tokens": (5, "x", [5], {"a": 5}, [["x"]]),
        "padding_side": ("up", 5), "clean_up_tokenization_spaces": ("x", []), "backend": (5, "os"),
        "special_tokens_map_file": ("/etc/passwd",), "tokenizer_file": ("/dev/zero", 5), "name_or_path": (5, "../.."),
        "vocab_file": ("/dev/zero",), "processor_class": (5,), "additional_special_tokens": (5, [5], ["7"] * 10**5), "added_tokens_file": ("/dev/zero",),
    }  # fmt: skip
    for key, options in values.items():
        for value in options:
            name = f"{key}={str(value)[:30]!r}"
            yield _generate("tokenizer_config.json", name, changed("tokenizer_config.json", **{key: value}), True)
