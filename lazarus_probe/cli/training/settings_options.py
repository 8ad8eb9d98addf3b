"""Options of a training command, made from its settings: names, types, defaults and help are stated there alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lazarus_probe.cli.options import AsJson
from lazarus_probe.training.settings import Settings, read_settings, section_of, types_of

Config = Annotated[
    Path | None,
    typer.Option(help="YAML file with these options as keys, `_` for `-`; the command line overrides it."),
]
# Spellings of options other than their own name.
SPELLINGS = {
    "model": ("--model", "-m"),
    "output": ("--output", "-o"),
    "prompts": ("--prompts", "--data"),
}
TYPES = (bool, int, float, Path)  # a value of another type is parsed by the settings, from text


def settings_command(
    kind: type[Settings],
    command: Callable[[Settings, bool], None],
    defaults: Mapping[str, str],
    metavars: Mapping[str, str],
    repeatable: Collection[str] = (),
) -> Callable[..., None]:
    """A command with an option for every setting, a file of settings, and JSON.

    Args:
        kind: the settings.
        command: called with the settings, those on the command line over those in the file, and with whether the
            result is printed as JSON. Its name and docstring are the new command's.
        defaults: by option, its default in words; empty where help shows none.
        metavars: by option, what help shows in place of its type.
        repeatable: options that may be given several times; the settings get a list of texts.
    """
    keys: dict[str, str] = {}
    parameters = [Parameter("config", Parameter.KEYWORD_ONLY, default=None, annotation=Config)]
    for name, key, field in _settings(kind):
        keys[name] = key
        option = typer.Option(
            None,
            *SPELLINGS.get(name, ()),
            help=_help(field),
            show_default=defaults.get(name, _in_words(field.default)) or False,
            metavar=metavars.get(name),
        )
        annotation = (list[str] if name in repeatable else _type(field)) | None
        parameters.append(Parameter(name, Parameter.KEYWORD_ONLY, default=option, annotation=annotation))
    parameters.append(Parameter("as_json", Parameter.KEYWORD_ONLY, default=False, annotation=AsJson))

    def run(*, config: Path | None, as_json: bool, **values: Any) -> None:
        chosen = {keys[name]: value for name, value in values.items() if value is not None and value != []}
        command(read_settings(kind, config, chosen), as_json)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    vars(run)["__signature__"] = Signature(parameters)
    return run


def _settings(kind: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, FieldInfo]]:
    """Every setting: the name of its option, its key in a file, and its field.

    That a section is enabled is the option of the section itself: `--intermediate-loss`.
    """
    for name, field in kind.model_fields.items():
        if section := section_of(field):
            yield from _settings(section, f"{name}.")
        else:
            key = f"{prefix}{name}"
            yield key.removesuffix(".enabled").replace(".", "_"), key, field


def _type(field: FieldInfo) -> Any:
    return next((kind for kind in types_of(field.annotation) if kind in TYPES), str)


def _help(field: FieldInfo) -> str:
    required = " Required, here or in --config." if field.is_required() else ""
    return f"{field.description}{required}"


def _in_words(default: Any) -> str:
    """A default as it is given on the command line; empty where there is none."""
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, tuple):
        return ",".join(default)
    if isinstance(default, float):
        return f"{default:g}".replace("e-0", "e-")
    return str(default) if isinstance(default, int | str | Path) else ""
