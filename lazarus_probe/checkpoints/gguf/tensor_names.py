"""Which tensor of a GGUF file holds a parameter of an mlx-lm model, by the gguf package's table of names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from gguf import get_tensor_name_map
from gguf.constants import MODEL_ARCH_NAMES

OF_A_BLOCK = re.compile(r"(?:\w+\.)*?(?:layers|h|blocks)\.(?P<block>\d+)\.(?P<rest>.+)")
BLOCK_PREFIXES = (
    *(
        "model.layers",
        "transformer.h",
        "h",
        "gpt_neox.layers",
        "layers",
        "transformer.blocks",
        "transformer.layers",
    ),
    *("backbone.layers", "model.layers.layers"),
)
PREFIXES = ("model.", "transformer.", "", "gpt_neox.", "backbone.")
SUFFIXES = (".weight", ".bias")
# Names that mlx-lm alone has: of experts, and of one matrix where files may have several.
OWN_NAMES = (
    (re.compile(r"(?:.+\.)?(?:switch_mlp|experts)\.(gate|up|down)_proj\.(weight|bias)"), r"ffn_\1_exps.\2"),
    (re.compile(r"(?:.+\.)?(?:wqkv|qkv_proj)\.(weight|bias)"), r"attn_qkv.\1"),
    (re.compile(r"(?:.+\.)?gate_up_proj\.(weight|bias)"), r"ffn_up.\1"),
)
ARCHITECTURES = {name: number for number, name in MODEL_ARCH_NAMES.items()}
SAME = {"mistral": "llama"}


def tensor_names(parameters: Iterable[str], architecture: str, num_blocks: int) -> dict[str, str]:
    """The tensor for each parameter; those of which the table knows none are left out.

    Args:
        parameters: names in mlx-lm's model.
        architecture: llama.cpp's name.
        num_blocks: of the model.
    """
    table = get_tensor_name_map(ARCHITECTURES[SAME.get(architecture, architecture)], num_blocks)
    names = {}
    for parameter in parameters:
        candidates = (table.get_name(spelling, try_suffixes=SUFFIXES) for spelling in _spellings(parameter))
        name = _own(parameter) or next(filter(None, candidates), None)
        if name is not None:
            names[parameter] = name
    return names


def _own(parameter: str) -> str | None:
    match = OF_A_BLOCK.fullmatch(parameter)
    if match is None:
        return None
    for pattern, name in OWN_NAMES:
        if own := pattern.fullmatch(match["rest"]):
            return f"blk.{match['block']}.{own.expand(name)}"
    return None


def _spellings(parameter: str) -> Iterator[str]:
    """A parameter's name as the models from which the table was made may have it."""
    yield parameter
    match: Any = OF_A_BLOCK.fullmatch(parameter)
    if match:
        yield from (f"{prefix}.{match['block']}.{match['rest']}" for prefix in BLOCK_PREFIXES)
        return
    bare = parameter
    for prefix in PREFIXES:
        bare = bare.removeprefix(prefix)
    yield from (f"{prefix}{bare}" for prefix in PREFIXES)
