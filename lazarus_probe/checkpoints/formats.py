"""What a file or a folder is that was given as a model and is none that can be loaded: its format, and what to do.

Importing this module imports neither mlx nor transformers; files are known by their first bytes and their names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lazarus_probe.files.plain_json import read_json

MLX_CONFIG, MLX_WEIGHTS = "adapter_config.json", "adapters.safetensors"
SEED_CONFIG, SEED_WEIGHTS = "config.json", "lora_weights.npz"
PEFT_WEIGHTS = "adapter_model.safetensors"
PEFT_PICKLES = ("adapter_model.bin", "adapter_model.pt", "adapter_model.pth")
INDEX = "model.safetensors.index.json"
ADAPTERS = {
    MLX_WEIGHTS: "mlx-lm",
    PEFT_WEIGHTS: "peft",
    SEED_WEIGHTS: SEED_WEIGHTS,
    **dict.fromkeys(PEFT_PICKLES, "peft"),
}
# What a trainer leaves next to a model's weights.
LEFT_BY_A_TRAINER = ("training_args", "optimizer", "scheduler", "rng_state", "scaler")
SAVE = (
    "load it with the library that wrote it, where you trust it, and save it as safetensors (save_pretrained)"
)


@dataclass(frozen=True)
class Format:
    """A format of weights other than safetensors.

    Attributes:
        name: with its article.
        suffixes: of its files.
        advice: what to do.
        magic: how its files begin, where that tells.
    """

    name: str
    suffixes: tuple[str, ...]
    advice: str
    magic: bytes | None = None


GGUF = Format("a GGUF file", (".gguf",), "give that file itself as the model", b"GGUF")
FORMATS = (
    GGUF,
    Format(
        "a file of Keras (HDF5)", (".h5", ".hdf5", ".keras"), f"only safetensors are read: {SAVE}", b"\x89HDF"
    ),
    Format(
        "a pickle of PyTorch",
        (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"),
        f"a pickle may hold code and is never read: {SAVE}",
        b"\x80\x02",
    ),
    Format("weights of Flax", (".msgpack",), f"only safetensors are read: {SAVE}"),
    Format("NumPy arrays", (".npz", ".npy"), f"only safetensors are read: {SAVE}"),
    *(
        Format(
            name,
            suffixes,
            "only a checkpoint in safetensors is loaded: get the one that it was exported from",
        )
        for name, suffixes in {
            "an ONNX graph": (".onnx",),
            "a graph of TensorFlow": (".pb", ".tflite"),
            "a Core ML model": (".mlmodel", ".mlpackage"),
            "an OpenVINO graph": (".xml",),
            "a TensorRT engine": (".engine", ".plan"),
            "an ExecuTorch program": (".pte",),
            "a llamafile": (".llamafile",),
        }.items()
    ),
)


def why_not_a_checkpoint(path: Path) -> str | None:
    """What a file or folder is, where it is no checkpoint but something that is known; else None."""
    if path.is_dir():
        return None if _has_weights(path) else _of_folder(path)
    form = format_of(path)
    if form is GGUF:
        return None
    if form is not None:
        return f"{path} is {form.name}; {form.advice}"
    if path.suffix == ".safetensors":
        return f"{path} is a file of weights alone; give the folder that holds it, with config.json and a tokenizer"
    return f"{path} is a file; give the folder that holds config.json and model.safetensors"


def format_of(path: Path) -> Format | None:
    """The format of a file, by its first bytes, else by its name; None for those that are read, and others."""
    start = b""
    if path.is_file():  # nothing that could be waited for
        try:
            with path.open("rb") as file:
                start = file.read(8)
        except OSError:
            start = b""
    by_start = (form for form in FORMATS if form.magic is not None and start.startswith(form.magic))
    by_name = (form for form in FORMATS if path.suffix.lower() in form.suffixes)
    return next(by_start, None) or next(by_name, None)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, and no model."""
    return any((folder / name).is_file() for name in (*ADAPTERS, MLX_CONFIG)) and not _has_weights(folder)


def _has_weights(folder: Path) -> bool:
    return any(folder.glob("model*.safetensors")) or (folder / INDEX).is_file()


def _of_folder(folder: Path) -> str | None:
    if is_adapter(folder):
        return _adapter(folder)
    for place in (folder, folder / "onnx"):
        names = sorted(place.iterdir()) if place.is_dir() else []
        for path in names:
            form = format_of(path) if not path.name.startswith(LEFT_BY_A_TRAINER) else None
            if form is not None:
                return f"{folder} has its weights in {path.relative_to(folder)}, {form.name}; {form.advice}"
    return None


def _adapter(folder: Path) -> str:
    kind = next((kind for name, kind in ADAPTERS.items() if (folder / name).is_file()), None)
    base = _base(folder)
    of = f" of {base}" if base else ""
    return (
        f"{folder} is an adapter{f' ({kind})' if kind else ''}{of}, no model: give {base or 'its base'} as the model "
        f"and this folder as --adapter"
    )


def _base(folder: Path) -> str | None:
    """The name of the model that an adapter says it was trained on."""
    for name in (MLX_CONFIG, SEED_CONFIG):
        try:
            settings = read_json(folder / name)
        except (OSError, ValueError):
            continue
        if isinstance(settings, dict):
            base = settings.get("base_model_name_or_path") or settings.get("model")
            return base if isinstance(base, str) else None
    return None
