"""Parses the values of options: layers, prompts, positions, files to write."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from lazarus_probe.files.paths import check_utf8
from lazarus_probe.files.whole_files import try_file, try_folder

At = Literal["last", "all"] | int


def parse_layers(text: str, num_layers: int, option: str = "--layers") -> list[int]:
    """The blocks of `all`, or of numbers and ranges as in `0,2-5` (-1 is the last), in order and each once.

    Raises:
        ValueError: it is neither, or names a block that the model does not have.
    """
    if text == "all":
        return list(range(num_layers))
    layers: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(-\d{1,9})|(\d{1,9})(?:-(\d{1,9}))?", part.strip(), re.ASCII)
        if match is None:
            raise ValueError(
                f"{option} {text}: {part.strip()!r} is not a layer or range; give all, or numbers as in 0,2-5"
            )
        if match[1]:
            layers.add(layer_of(int(match[1]), num_layers, option))
            continue
        first, last = int(match[2]), int(match[3] or match[2])
        if first > last:
            raise ValueError(
                f"{option} {text}: {part.strip()!r} is not a layer or range; give all, or numbers as in 0,2-5"
            )
        if last >= num_layers:
            raise ValueError(
                f"{option} {text}: there is no layer {last}; the model has 0 to {num_layers - 1}"
            )
        layers.update(range(first, last + 1))
    return sorted(layers)


def layer_of(layer: int, num_layers: int, option: str = "--layer") -> int:
    """A layer counted from 0; a negative one counts from the last.

    Raises:
        ValueError: the model does not have it.
    """
    if not -num_layers <= layer < num_layers:
        raise ValueError(f"{option} {layer}: there is no layer {layer}; the model has 0 to {num_layers - 1}")
    return layer % num_layers


def parse_prompts(text: str, option: str = "--prompts") -> list[str]:
    r"""The prompts of `a|b|c`, or of `@FILE`; their spaces are part of them, and `\|` is a bar in a prompt.

    A file has one prompt a line, or is JSON: a list of texts, or {"prompts": [{"text": ...}]}.

    Raises:
        OSError: the file cannot be read.
        ValueError: an empty prompt, text that is not Unicode, or a file that holds no prompts.
    """
    if text.startswith("@"):
        from lazarus_probe.circuit.dataset import read_prompts

        return list(read_prompts(Path(text[1:])).texts)
    prompts = [part.replace(r"\|", "|") for part in re.split(r"(?<!\\)\|", text)]
    if "" in prompts:
        raise ValueError(
            f"{option} {text!r}: prompt {prompts.index('')} is empty; write them as in 'one|two'"
        )
    return [checked_text(prompt, option) for prompt in prompts]


def parse_prompt(text: str, option: str = "--prompt") -> list[str]:
    """One prompt exactly as it stands, bars included, or those of `@FILE` as in `parse_prompts`.

    Raises:
        OSError: the file cannot be read.
        ValueError: the prompt is empty or not Unicode, or a file holds no prompts.
    """
    if text.startswith("@"):
        return parse_prompts(text, option)
    if not text:
        raise ValueError(f"{option} is empty; give at least one character")
    return [checked_text(text, option)]


def paired_prompts(
    first: str | None,
    second: str | None,
    file: Path | None,
    options: tuple[str, str],
    parse: Callable[[str, str], list[str]],
) -> list[tuple[str, str]]:
    """The prompts of two options, one of each a pair; none where a file of pairs brings them.

    Raises:
        OSError: a file cannot be read.
        ValueError: neither both options nor a file of pairs, or both; or options that are not equally long.
    """
    if file is not None:
        if first is not None or second is not None:
            raise ValueError(f"--pairs brings its own prompts; leave {options[0]} and {options[1]} out")
        return []
    if first is None or second is None:
        raise ValueError(f"give {options[0]} and {options[1]}, or --pairs FILE")
    prompts, others = parse(first, options[0]), parse(second, options[1])
    if len(prompts) != len(others):
        raise ValueError(
            f"{options[0]} has {len(prompts)} prompts and {options[1]} {len(others)}; give as many of both"
        )
    return list(zip(prompts, others, strict=True))


def checked_text(text: str, option: str) -> str:
    """A text that can be encoded: what a shell passes on need not be Unicode.

    Raises:
        ValueError: it is not.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{option} {text!a} is not valid Unicode; give it as UTF-8") from None
    return text


def parse_position(text: str, option: str = "--position") -> At:
    """The position of `last`, `all` or a number; -1 is the last.

    Raises:
        ValueError: it is none of these.
    """
    named: dict[str, At] = {"last": "last", "all": "all"}
    if text in named:
        return named[text]
    if not re.fullmatch(r"-?\d{1,9}", text, re.ASCII):
        raise ValueError(f"{option} {text} is unknown; give last, all or a number")
    return int(text)


def check_folder(folder: Path, option: str = "--output") -> None:
    """Check before the work that a folder can be written to, or made.

    Raises:
        ValueError: it is a file, or cannot be.
    """
    check_utf8(folder, option)
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise ValueError(f"{option} {folder}: {existing} is a file; give a folder")
    try:
        try_folder(folder)
    except OSError as error:
        raise ValueError(
            f"{option} {folder}: {existing} cannot be written to ({error.strerror}); give another folder"
        ) from None


def seed_of(seed: int | None, draws: bool, why: str) -> int:
    """The seed that is used, 0 unless one was given.

    Raises:
        ValueError: one was given where nothing is drawn.
    """
    if seed is not None and not draws:
        raise ValueError(f"--seed has no effect {why}; leave it out")
    return seed or 0


def check_output(path: Path | None, option: str = "--output", suffix: str | None = None) -> None:
    """Check before the work that its result can be saved to a file; missing folders will be made.

    Raises:
        ValueError: another suffix, the name of a folder, or a path that cannot be written to.
    """
    if path is None:
        return
    if suffix is not None and path.suffix != suffix:
        raise ValueError(f"{option} {path}: give a name that ends in {suffix}")
    if "\0" in str(path):
        raise ValueError(f"{option} {str(path)!r} holds a NUL; give the name of a file")
    if path.is_dir():
        raise ValueError(f"{option} {path} is a folder; give the name of a file")
    existing = next(parent for parent in path.absolute().parents if parent.exists())
    if not existing.is_dir():
        raise ValueError(f"{option} {path}: {existing} is a file; give another place")
    try:
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        try_file(path)
    except OSError as error:
        raise ValueError(
            f"{option} {path} cannot be written to ({error.strerror}); give another place"
        ) from None
