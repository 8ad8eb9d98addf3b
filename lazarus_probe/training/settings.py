"""Settings of trainings: YAML, with the command line over it and defaults below."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ValidationError
from pydantic.fields import FieldInfo

from lazarus_probe.files.paths import user_path
from lazarus_probe.files.plain_yaml import YamlError, read_yaml
from lazarus_probe.spelling import choices_in, first_to_tell, nearest, one_of

Settings = TypeVar("Settings", bound=BaseModel)
UserPath = Annotated[Path, AfterValidator(user_path)]  # no shell has seen what stands in YAML
LAYERS = re.compile(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?")


def layer_range(text: str, num_layers: int) -> tuple[int, ...]:
    """The layers that `0-12,15` names, in order, of a model with `num_layers`.

    Raises:
        ValueError: it is no such list, or names a layer that the model does not have.
    """
    layers = sorted({layer for low, high in _ranges(text) for layer in range(low, high + 1)})
    if layers[-1] >= num_layers:
        raise ValueError(
            f"freeze_layers {text}: there is no layer {layers[-1]}; the model's are 0 to {num_layers - 1}"
        )
    return tuple(layers)


def split_layers(freeze_layers: str | None, num_layers: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The layers that stay frozen, and those that are trained.

    Raises:
        ValueError: as `layer_range`, or no layer is left to train.
    """
    frozen = layer_range(freeze_layers, num_layers) if freeze_layers else ()
    trained = tuple(layer for layer in range(num_layers) if layer not in frozen)
    if not trained:
        raise ValueError(f"freeze_layers {freeze_layers} are all {num_layers} layers; leave one to train")
    return frozen, trained


def _ranges(text: str) -> Iterator[tuple[int, int]]:
    for part in text.split(","):
        match = LAYERS.fullmatch(part)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if low > high:
            raise ValueError(
                f"layers are written as 0-12, or 0-3,8 with the lower number first, not {text!r}"
            )
        yield low, high


def _checked_layers(value: Any) -> Any:
    """Layers as text: YAML may give one number, or a list of numbers."""
    if isinstance(value, list):
        value = ",".join(map(str, value))
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str):
        list(_ranges(text))
    return text


def _names(value: Any) -> Any:
    """`v_proj,o_proj` or a list of such names."""
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return value
    names = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
    if not names:
        raise ValueError("at least one projection is needed, as in v_proj,o_proj")
    return names


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Layers = Annotated[str | None, BeforeValidator(_checked_layers)]


def read_settings(
    kind: type[Settings], file: str | Path | None, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Settings from a YAML file, with those given on the command line over them.

    Args:
        kind: what to make.
        file: YAML, a mapping; or none.
        overrides: values by key, `intermediate_loss.layer` for one within; they win over the file's.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no YAML, or a key or a value is wrong; the message names file and line, or the option.
    """
    document, lines = _read_yaml(Path(file)) if file is not None else ({}, {})
    overrides = dict(overrides or {})
    for key, value in overrides.items():
        _put(document, key.split("."), value)
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise ValueError(_described(kind, first_to_tell(error.errors()), lines, overrides)) from None


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The settings that a field holds; None where it holds a value."""
    kinds = [kind for kind in types_of(field.annotation) if issubclass(kind, BaseModel)]
    return kinds[0] if kinds else None


def types_of(annotation: Any) -> Iterator[type]:
    """The types of a field's values, without None and what is in containers."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        for choice in get_args(annotation):
            yield from types_of(choice)
    elif annotation is not NoneType:
        yield annotation if isinstance(annotation, type) else str


def _put(document: dict[str, Any], path: list[str], value: Any) -> None:
    *parents, last = path
    for parent in parents:
        if not isinstance(document.get(parent), dict):
            document[parent] = {}
        document = document[parent]
    document[last] = value


def _read_yaml(file: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The mapping in a file, and `file:line` of each key."""
    try:
        composed = read_yaml(file)
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not UTF-8 text; a YAML file is needed") from None
    except YamlError as error:
        place = f"{file}:{error.line}" if error.line else str(file)
        raise ValueError(f"{place}: not YAML: {error}") from None
    document = {} if composed.node is None else composed.value
    if not isinstance(document, dict):
        raise ValueError(f"{file} must hold settings, as in `model: organism`, one a line")
    lines = dict(_key_lines(composed.node, file)) if isinstance(composed.node, yaml.MappingNode) else {}
    return document, lines


def _key_lines(node: yaml.MappingNode, file: Path, prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        yield name, f"{file}:{key.start_mark.line + 1}"
        if isinstance(value, yaml.MappingNode):
            yield from _key_lines(value, file, f"{name}.")


def _described(
    kind: type[BaseModel], error: Any, lines: Mapping[str, str], overrides: Mapping[str, Any]
) -> str:
    """One error of pydantic's: where, which key, which value, and what would be right."""
    path = [str(part) for part in error["loc"]]
    key = ".".join(path)
    at = f"{lines[key]}: " if key in lines and key not in overrides else ""
    option = "--" + key.replace("_", "-").replace(".", "-")
    name = option if key in overrides else key
    if error["type"] == "extra_forbidden":
        return f"{at}unknown key {key!r}; {_advice(kind, path)}"
    if error["type"] == "missing":
        return f"{key} is missing; give {option}, or `{key}:` in a file for --config"
    if choices := choices_in(error):
        return f"{at}{name} is {error['input']!r}; {one_of(str(error['input']), choices)}"
    message = error["msg"].removeprefix("Input ")
    if message.startswith("Value error, "):  # one of this module's, which says all but where
        where = f"{at}{name}: " if path else ""
        return where + message.removeprefix("Value error, ")
    return f"{at}{name} is {error['input']!r}: it {message[0].lower()}{message[1:]}"


def _advice(kind: type[BaseModel], path: list[str]) -> str:
    """The nearest key there is at that place, or all of them."""
    for part in path[:-1]:
        kind = section_of(kind.model_fields[part]) or kind
    known = list(kind.model_fields)
    prefix = "".join(f"{part}." for part in path[:-1])
    close = nearest(path[-1], known)
    return f"did you mean {prefix}{close}?" if close else f"known are {', '.join(known)}"
