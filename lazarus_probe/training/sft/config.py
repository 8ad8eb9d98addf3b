"""The settings of a supervised fine-tuning: YAML, with the command line over it and defaults below."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from lazarus_probe.files.paths import user_path
from lazarus_probe.files.plain_yaml import YamlError, read_yaml
from lazarus_probe.spelling import choices_in, first_to_tell, nearest, one_of

Settings = TypeVar("Settings", bound=BaseModel)
UserPath = Annotated[Path, AfterValidator(user_path)]  # no shell has seen what stands in YAML

LAYERS = re.compile(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?")
OPERATIONS = ("multiply", "add", "subtract", "divide")


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


class IntermediateLoss(BaseModel):
    """The classification loss of the dual reward, by the lens after a middle layer.

    Attributes:
        enabled: whether it is part of the loss.
        layer: where the class is read; by default at 55% of the depth.
        weight: of this loss; the answer's has the rest.
        targets: the class word of each label; one token each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    layer: int | None = Field(None, ge=0)
    weight: float = Field(0.4, ge=0, le=1)
    targets: dict[str, str] = Field({name: name for name in OPERATIONS}, min_length=1)


class SftConfig(BaseModel):
    """Everything that decides a supervised fine-tuning, in the words of the YAML files.

    Attributes:
        model: a bundled name, a folder or a Hub id.
        data: JSON lines to train on; see `training.sft.jsonl`.
        output: the folder for the adapter, the log and the checkpoints.
        adapter: a folder with the adapter to go on from.
        eval_data: JSON lines for the validation loss.
        eval_share: the share of `data` to hold out for it instead; equal prompts stay on one side.
        epochs: how often each example is learned.
        max_steps: updates at most.
        batch_size: examples a forward.
        accumulate: forwards an update.
        learning_rate: of AdamW, at its highest.
        warmup: updates until then; a cosine leads to 0 after it.
        max_length: tokens that an example has at most; longer ones are refused, never cut.
        mask_prompt: learn the responses only.
        chat: put prompts and responses into the chat template.
        skip_bad: leave out lines of `data` and `eval_data` that cannot be used.
        use_lora: train LoRA matrices, and not the weights themselves.
        lora_rank: of each update.
        lora_scale: what the update is multiplied by.
        lora_dropout: the share of a projection's inputs that the update does not see in a step.
        lora_targets: names of projections.
        freeze_layers: layers that are not trained, as in `0-12`.
        grad_checkpoint: compute blocks again in the backward pass, for less memory.
        log_interval: updates a row of the table.
        log_format: of the log of every update.
        eval_interval: updates between two validations.
        patience: validations without a lower loss after which to stop.
        checkpoint_interval: updates between two states that the same command goes on from.
        seed: of the order of the data and of new LoRA matrices.
        intermediate_loss: the classification loss, if any.

    Example:
        >>> from lazarus_probe.training import SftConfig
        >>> config = SftConfig(model="organism", data="facts.jsonl", epochs=1, lora_rank=4, eval_share=0.1)
        >>> config.lora_targets, config.validates
        (('v_proj', 'o_proj'), True)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1)
    data: UserPath
    output: UserPath = Path("checkpoints/sft")
    adapter: UserPath | None = None
    eval_data: UserPath | None = None
    eval_share: float = Field(0.0, ge=0, lt=1)
    epochs: int = Field(3, ge=1)
    max_steps: int | None = Field(None, ge=1)
    batch_size: int = Field(4, ge=1)
    accumulate: int = Field(1, ge=1)
    learning_rate: float = Field(1e-5, gt=0, allow_inf_nan=False)
    warmup: int = Field(0, ge=0)
    max_length: int | None = Field(None, ge=2)
    mask_prompt: bool = True
    chat: bool = False
    skip_bad: bool = False
    use_lora: bool = True
    lora_rank: int = Field(16, ge=1)
    lora_scale: float = Field(2.0, gt=0, allow_inf_nan=False)
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    lora_targets: Names = ("v_proj", "o_proj")
    freeze_layers: Layers = None
    grad_checkpoint: bool = False
    log_interval: int = Field(10, ge=1)
    log_format: Literal["csv", "jsonl"] = "csv"
    eval_interval: int = Field(100, ge=1)
    patience: int | None = Field(None, ge=1)
    checkpoint_interval: int = Field(100, ge=1)
    seed: int = Field(0, ge=0)
    intermediate_loss: IntermediateLoss | None = None

    @model_validator(mode="after")
    def _consistent(self) -> SftConfig:
        if self.eval_data is not None and self.eval_share:
            raise ValueError("eval_data and eval_share both say what to validate on; give one of them")
        if self.patience is not None and not self.validates:
            raise ValueError("patience needs a validation loss; give eval_data or eval_share")
        if self.lora_dropout and not self.use_lora:
            raise ValueError("lora_dropout has nothing to drop without use_lora; leave it out")
        return self

    @property
    def validates(self) -> bool:
        """Whether there is a validation loss."""
        return self.eval_data is not None or self.eval_share > 0

    @property
    def classifies(self) -> IntermediateLoss | None:
        """The classification loss, where it is enabled."""
        return self.intermediate_loss if self.intermediate_loss and self.intermediate_loss.enabled else None


def read_settings(
    kind: type[Settings], file: str | Path | None, given: Mapping[str, Any] | None = None
) -> Settings:
    """Settings from a YAML file, with those given on the command line over them.

    Args:
        kind: what to make.
        file: YAML, a mapping; or none.
        given: values by key, `intermediate_loss.layer` for one within; they win over the file's.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no YAML, or a key or a value is wrong; the message names file and line, or the option.
    """
    document, lines = _read_yaml(Path(file)) if file is not None else ({}, {})
    given = dict(given or {})
    for key, value in given.items():
        _put(document, key.split("."), value)
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise ValueError(_described(kind, first_to_tell(error.errors()), lines, given)) from None


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
        found = read_yaml(file)
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not UTF-8 text; a YAML file is needed") from None
    except YamlError as error:
        place = f"{file}:{error.line}" if error.line else str(file)
        raise ValueError(f"{place}: not YAML: {error}") from None
    document = {} if found.node is None else found.value
    if not isinstance(document, dict):
        raise ValueError(f"{file} must hold settings, as in `model: organism`, one a line")
    lines = dict(_key_lines(found.node, file)) if isinstance(found.node, yaml.MappingNode) else {}
    return document, lines


def _key_lines(node: yaml.MappingNode, file: Path, prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        yield name, f"{file}:{key.start_mark.line + 1}"
        if isinstance(value, yaml.MappingNode):
            yield from _key_lines(value, file, f"{name}.")


def _described(kind: type[BaseModel], error: Any, lines: Mapping[str, str], given: Mapping[str, Any]) -> str:
    """One error of pydantic's: where, which key, which value, and what would be right."""
    path = [str(part) for part in error["loc"]]
    key = ".".join(path)
    at = f"{lines[key]}: " if key in lines and key not in given else ""
    option = "--" + key.replace("_", "-").replace(".", "-")
    name = option if key in given else key
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
    known = list(kind.model_fields if len(path) == 1 else IntermediateLoss.model_fields)
    prefix = "".join(f"{part}." for part in path[:-1])
    close = nearest(path[-1], known)
    return f"did you mean {prefix}{close}?" if close else f"known are {', '.join(known)}"
