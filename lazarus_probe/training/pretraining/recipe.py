"""The recipe of a pre-training run: everything that determines the trained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lazarus_probe.files.plain_yaml import YamlError, read_yaml
from lazarus_probe.files.whole_files import write_aside
from lazarus_probe.organisms import bundled
from lazarus_probe.spelling import first_to_tell, one_of

RECIPE = bundled.FOLDER / "recipe.yaml"


class Architecture(BaseModel):
    """The Llama configuration, in Hugging Face's names."""

    model_config = ConfigDict(extra="forbid")

    model_type: Literal["llama"] = "llama"
    hidden_size: int = Field(gt=0)
    num_hidden_layers: int = Field(gt=0)
    intermediate_size: int = Field(gt=0)
    num_attention_heads: int = Field(gt=0)
    num_key_value_heads: int = Field(gt=0)
    rope_theta: float
    rms_norm_eps: float
    tie_word_embeddings: bool
    max_position_embeddings: int = Field(gt=0)

    @model_validator(mode="after")
    def _check_heads(self) -> Architecture:
        for multiple, divisor in (
            ("hidden_size", "num_attention_heads"),
            ("num_attention_heads", "num_key_value_heads"),
        ):
            if getattr(self, multiple) % getattr(self, divisor):
                raise ValueError(
                    f"{multiple} {getattr(self, multiple)} is not a multiple of {divisor} {getattr(self, divisor)}"
                )
        return self


class Recipe(BaseModel):
    """Everything that determines the trained weights."""

    model_config = ConfigDict(extra="forbid")

    seed: int
    model: Architecture
    steps: int = Field(gt=0)
    early_step: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    pool: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    final_learning_rate: float = Field(ge=0)
    warmup: int = Field(ge=0)
    weight_decay: float = Field(ge=0)
    betas: tuple[float, float]
    clip_norm: float = Field(gt=0)
    prompt_weight: float = Field(ge=0, le=1)
    checkpoint_every: int = Field(gt=0)


def read_recipe(path: Path = RECIPE) -> Recipe:
    """Read and validate a recipe.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not YAML, or not a recipe; the message names the first setting that is wrong.
    """
    try:
        return Recipe.model_validate(read_yaml(path).value)
    except ValidationError as error:
        raise ValueError(f"{path.name}: {_described(first_to_tell(error.errors()))}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not UTF-8 text; a YAML file is needed") from None
    except YamlError as error:
        location = f"{path.name}:{error.line}" if error.line else path.name
        raise ValueError(f"{location} is not YAML: {error}") from None


def write_recipe(recipe: Recipe, folder: Path) -> None:
    """Write `recipe.yaml`, which documents how the models in a folder were trained."""
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    write_aside(folder / RECIPE.name, text)


def _described(error: Any) -> str:
    where = ".".join(map(str, error["loc"]))
    if not where:
        return f"a recipe is a mapping with the settings {', '.join(Recipe.model_fields)}"
    if error["type"] == "extra_forbidden":
        section = Architecture if error["loc"][0] == "model" else Recipe
        return f"{where} is not a setting of a recipe; {one_of(str(error['loc'][-1]), section.model_fields)}"
    value = "" if isinstance(error["input"], dict) else f" is {error['input']!r}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{where}{value}: {message[0].lower()}{message[1:]}"
