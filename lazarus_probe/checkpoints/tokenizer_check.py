"""Checking that the files of a tokenizer are safe for the libraries that read them.

A tokenizer.json is a program: it repeatedly replaces texts by longer ones, and splits them by regular expressions. Its
output is bounded here before it is given a text, and it is tried out before work begins.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.checkpoints.limits import check_template
from lazarus_probe.files.plain_json import read_json
from lazarus_probe.files.reading import MIB, check_regular

T = TypeVar("T")
MOST = {".json": 256 * MIB, ".jinja": 4 * MIB, ".txt": 256 * MIB, ".model": 256 * MIB, ".tiktoken": 256 * MIB}
SMALL = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.json")
SETTINGS = ("config.json", "generation_config.json", "hf_quant_config.json")
READ = (*SMALL, *SETTINGS, "tokenizer.json", "chat_template.jinja")
MOST_GROWTH = 1_000  # times the length of a text: Unicode normalisation turns one character into up to 18
MOST_PUT_IN = 10_000  # characters before each text
MOST_PADDING = 1_000_000
COMPOSED = ("NFC", "NFD", "NFKC", "NFKD", "Precompiled", "BertNormalizer", "Nmt")
NAME = re.compile(r"\w{1,100}")
SECONDS = 10.0
# Repeated characters, on which backtracking regular expressions can take hours.
TRIALS = (
    "7 * 8 = 56",
    *(f"{letter * 2_000}!" for letter in ("a", "x", "1", " ", "A", "\n", "é", "aA1 ", "_", "0")),
)


def check_texts(folder: Path) -> None:
    """Check that a checkpoint's files other than its weights are regular, bounded in size, and valid JSON if named so.

    Raises:
        LoadError: one is invalid; the message names it.
    """
    for path in sorted([*folder.iterdir(), *(folder / "additional_chat_templates").glob("*.jinja")]):
        if path.suffix not in MOST or (path.is_dir() and path.name not in READ):
            continue
        try:
            if path.is_symlink() and not path.exists():
                raise OSError(0, "it is a link that leads nowhere")
            check_regular(path, MOST[path.suffix])
            if path.name in READ and path.suffix == ".json":
                _check_object(path, read_json(path, MOST[path.suffix]))
        except LoadError:
            raise
        except OSError as error:
            raise LoadError(f"{path} cannot be read: {error.strerror or error}") from None
        except ValueError as error:
            raise LoadError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
        if path.suffix == ".jinja":
            _check_template(path, path.name, path.read_text(encoding="utf-8", errors="replace"))


def _check_object(path: Path, content: Any) -> None:
    if not isinstance(content, dict):
        raise LoadError(f"{path} holds no JSON object")
    if path.name == "tokenizer_config.json":
        _check_config(path, content)
    if path.name == "tokenizer.json":
        _check_program(path, content)


def _check_config(path: Path, config: Mapping[str, Any]) -> None:
    for key in ("tool_parser_type", "chat_template_type", "tokenizer_class"):
        value = config.get(key)
        if value is not None and not (isinstance(value, str) and NAME.fullmatch(value)):
            raise LoadError(f"{path}: {key} is {ascii(value)[:60]}; a name is needed")
    for key, value in config.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise LoadError(f"{path}: {key} is {value}; a finite number is needed")
        if key.endswith("_file") and isinstance(value, str) and Path(value).exists():
            _check_named(path, key, Path(value))
    length = config.get("model_max_length")
    if length is not None and (isinstance(length, bool) or not isinstance(length, int | float) or length < 1):
        raise LoadError(f"{path}: model_max_length is {ascii(length)[:60]}; a number of at least 1 is needed")
    for name, template in _templates(path, config.get("chat_template")):
        _check_template(path, name, template)


def _check_named(path: Path, key: str, named: Path) -> None:
    """Check a file elsewhere that transformers may open because a setting names it."""
    try:
        check_regular(named, MOST[".json"])
    except OSError as error:
        raise LoadError(f"{path}: {key} names {named}, which cannot be read: {error.strerror}") from None


def _templates(path: Path, value: Any) -> Iterator[tuple[str, str]]:
    """Each template by name: one, a mapping, or a list of `name` and `template`."""
    several = isinstance(value, list) and all(isinstance(entry, dict) for entry in value)
    pairs = [(entry.get("name"), entry.get("template")) for entry in value] if several else []
    if isinstance(value, dict):
        pairs = list(value.items())
    elif value is not None and not several:
        pairs = [("chat_template", value)]
    for name, template in pairs:
        if not isinstance(name, str) or not isinstance(template, str):
            raise LoadError(
                f"{path}: chat_template is {ascii(value)[:60]}; a text, or texts by name, are needed"
            )
        yield name, template


def _check_template(path: Path, name: str, template: str) -> None:
    try:
        check_template(template)
    except ValueError as error:
        raise LoadError(f"{path}: the chat template {name} is not used: {error}") from None


def _check_program(path: Path, program: Mapping[str, Any]) -> None:
    """Check that a tokenizer can lengthen a text by a bounded factor only."""
    for key in ("normalizer", "pre_tokenizer", "decoder"):
        growth, put_in = _growth(program.get(key))
        if growth > MOST_GROWTH or put_in > MOST_PUT_IN:
            raise LoadError(
                f"{path}: {key} makes texts {growth:.0e} times as long; at most {MOST_GROWTH} times is read"
                if growth > MOST_GROWTH
                else f"{path}: {key} puts {put_in} characters before each text; at most {MOST_PUT_IN} are read"
            )
    padding = program.get("padding")
    if isinstance(padding, dict):
        strategy = padding.get("strategy")
        fixed = strategy.get("Fixed") if isinstance(strategy, dict) else None
        for value in (fixed, padding.get("pad_to_multiple_of")):
            if isinstance(value, int) and value > MOST_PADDING:
                raise LoadError(f"{path}: padding is to {value} tokens; at most {MOST_PADDING} is read")


def _growth(part: Any) -> tuple[float, int]:
    """Upper bounds for a tokenizer step: the growth factor of a text, and the number of characters it prepends."""
    if not isinstance(part, dict):
        return 1.0, 0
    inner = [step for key in ("normalizers", "pretokenizers", "decoders") for step in _list(part.get(key))]
    growths = [_growth(step) for step in inner]
    growth = math.prod(factor for factor, _ in growths)
    put_in = sum(characters for _, characters in growths)
    kind, content = part.get("type"), str(part.get("content", ""))
    if kind == "Replace":
        pattern = part.get("pattern")
        literal = pattern.get("String") if isinstance(pattern, dict) else pattern
        replaced = len(literal) if isinstance(literal, str) else 0  # a regular expression may match nothing
        growth *= max(1.0, len(content) / replaced) if replaced else 1.0 + len(content)
    elif kind == "Prepend":
        put_in += len(str(part.get("prepend", "")))
    elif kind in COMPOSED:
        growth *= 18
    return min(growth, 1e300), put_in


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def code_of(folder: Path) -> str | None:
    """The Python code named by a tokenizer_config.json, which is never run; None if there is none."""
    path = folder / "tokenizer_config.json"
    auto_map = read_json(path).get("auto_map") if path.is_file() else None
    named = auto_map.get("AutoTokenizer") if isinstance(auto_map, dict) else auto_map
    names = [name for name in (named if isinstance(named, list) else [named]) if name]
    return ascii(names[0]) if names else None


def check_ids(folder: Path, tokenizer: Any, vocab_size: int) -> None:
    """Check that the vocabulary of a tokenizer fits the model's embedding; added tokens may lie beyond.

    Raises:
        LoadError: it does not.
    """
    added = set(getattr(tokenizer, "added_tokens_decoder", {}) or {})
    top = max((number for number in tokenizer.get_vocab().values() if number not in added), default=0)
    if top >= vocab_size:
        raise LoadError(
            f"the tokenizer in {folder} has a token {top}, and the model embeds {vocab_size}; fetch both again"
        )


def try_out(folder: Path, tokenizer: Any) -> None:
    """Let a tokenizer encode a few texts within a time limit.

    Raises:
        LoadError: it takes too long, or cannot read them.
    """
    failure: list[BaseException] = []

    def work() -> None:
        try:
            tokenizer.encode(TRIALS[0], verbose=False)  # with the special tokens around it
            for text in TRIALS:
                tokenizer.decode(tokenizer.encode(text, add_special_tokens=False, verbose=False))
        except BaseException as error:  # panics of tokenizers are not an Exception
            failure.append(error)

    # The native code of tokenizers cannot be stopped, but need not be waited for.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(SECONDS)
    if thread.is_alive():
        raise LoadError(
            f"the tokenizer in {folder} takes longer than {SECONDS:g} s for a text of 2,000 characters"
        )
    if failure and type(failure[0]).__name__ == "PanicException":
        raise failure[0]
    if failure:
        detail = " ".join(str(failure[0]).split())[:200] or type(failure[0]).__name__
        raise LoadError(f"the tokenizer in {folder} cannot read a text: {detail}") from None


def panics_as_errors(action: Callable[[], T]) -> T:
    """The result of `action`; a panic of tokenizers becomes an error, and any other output is printed afterwards.

    Raises:
        ValueError: it panicked.
    """
    with _held_back() as held:
        try:
            return action()
        except BaseException as error:
            if type(error).__name__ != "PanicException":
                raise
            held.clear()
            raise ValueError(" ".join(str(error).split())[:200] or "tokenizers panicked") from None


@contextmanager
def _held_back() -> Iterator[Any]:
    """Redirect standard error to a file, and print its content on exit, unless it is cleared."""
    try:
        file, stderr = tempfile.TemporaryFile(), os.dup(2)  # noqa: SIM115 - closed below
    except OSError:  # nowhere to put it
        yield _Held(None)
        return
    with file:
        os.dup2(file.fileno(), 2)
        try:
            yield _Held(file)
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            file.seek(0)
            while part := file.read(MIB):
                os.write(2, part)


class _Held:
    """The output held back."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def clear(self) -> None:
        """Discard it."""
        if self._file is not None:
            self._file.seek(0)
            self._file.truncate()
