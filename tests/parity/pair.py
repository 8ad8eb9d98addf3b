"""One checkpoint in two libraries: a model that transformers runs on torch, and the subject the loader makes of it."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from lazarus_probe.checkpoints.checkpoint import load_checkpoint
from lazarus_probe.organisms import bundled  # chooses the BLAS, which must happen before mlx is imported
from lazarus_probe.subject import Subject

import numpy as np  # isort: skip
import torch  # isort: skip
import yaml  # isort: skip

Edit = Callable[[torch.Tensor], torch.Tensor]
TOKENS = [[3, 5, 7, 11, 13, 2, 4, 6, 8, 10, 12, 9], [9, 8, 7, 6, 5, 4, 3, 2, 14, 15, 16, 17]]
TABLE: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("families.yaml").read_text())
FAMILIES = ["organism", *TABLE["families"]]


@dataclass(frozen=True, eq=False)
class Pair:
    """A model in both libraries, and where transformers keeps its parts."""

    reference: Any
    subject: Subject
    where: dict[str, str]


def pair(family: str, folder: Path) -> Pair:
    """The pair of a family in families.yaml, or of the bundled organism."""
    from transformers import AutoModelForCausalLM

    if family == "organism":
        path = bundled.path("organism")
        reference = AutoModelForCausalLM.from_pretrained(
            path, dtype=torch.float32, attn_implementation="eager"
        )
        return Pair(reference.eval(), Subject.load(path), TABLE["families"]["llama"]["where"])
    entry = TABLE["families"][family]
    reference = random_model(family, entry["settings"])
    return Pair(reference, subject_of(reference, folder), entry["where"])


def random_model(model_type: str, settings: Mapping[str, Any], seed: int = 0) -> Any:
    """A tiny model by transformers, in float32 with eager attention, no parameter at its initial value."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    known = {*vars(CONFIG_MAPPING[model_type]()), *CONFIG_MAPPING[model_type].attribute_map}
    sizes = {key: value for key, value in TABLE["common"].items() if key in known}
    config = CONFIG_MAPPING[model_type](**{**sizes, **settings})
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        for parameter in model.parameters():
            # Norms of all ones and biases of zero would hide that one of them was left out.
            parameter += torch.randn(parameter.shape) * (0.15 if parameter.ndim == 1 else 0.1)
    return model.eval()


def subject_of(model: Any, folder: Path) -> Subject:
    """The subject that the loader makes of a model saved by transformers."""
    save(model, folder)
    loaded, config = load_checkpoint(folder)
    return Subject.from_model(loaded, config=config)


def save(model: Any, folder: Path) -> None:
    """A checkpoint as transformers saves it."""
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)


def run(
    model: Any, where: Mapping[str, str], edits: Mapping[str, Edit] | None = None
) -> dict[str, np.ndarray]:
    """A forward of the tokens by transformers, every site by name; `edits` change a site's output as it passes."""
    seen: dict[str, torch.Tensor] = {}
    handles = []
    for layer, block in enumerate(attrgetter(where["blocks"])(model)):
        attention = attrgetter(where["attention"])(block)
        parts = {"resid_post": block, "attn_out": attention, "mlp_out": attrgetter(where["mlp"])(block)}
        for kind, module in parts.items():
            handles.append(module.register_forward_hook(_after(seen, kind, layer, edits or {})))
        heads = attrgetter(where["output"])(attention)
        handles.append(heads.register_forward_pre_hook(_before(seen, f"head_out.{layer}")))
    try:
        with torch.no_grad():
            seen["logits"] = model(torch.tensor(TOKENS), use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()
    return {name: value.numpy().copy() for name, value in seen.items()}


def _after(seen: dict[str, torch.Tensor], kind: str, layer: int, edits: Mapping[str, Edit]) -> Any:
    def after(module: Any, args: Any, output: Any) -> Any:
        value, *rest = output if isinstance(output, tuple) else (output,)
        name = f"{kind}.{layer}"
        value = edits[name](value) if name in edits else value
        seen[name] = value
        if kind == "attn_out":
            seen[f"pattern.{layer}"] = rest[0]
        return (value, *rest) if isinstance(output, tuple) else value

    return after


def _before(seen: dict[str, torch.Tensor], name: str) -> Any:
    def before(module: Any, args: Any) -> None:
        seen[name] = args[0]

    return before


def error(found: Any, expected: np.ndarray) -> float:
    """The largest difference, as a part of the largest value."""
    found = np.array(found).reshape(expected.shape)
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def quietly(action: Callable[[], Any]) -> tuple[Any, list[str]]:
    """What an action returns, and what it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = action()
    return result, [str(warning.message) for warning in caught]
