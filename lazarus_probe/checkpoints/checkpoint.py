"""Reading a checkpoint folder through mlx-lm."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from lazarus_probe.backend import warn_if_slow
from lazarus_probe.checkpoints.config import Section, section_of, translated
from lazarus_probe.checkpoints.differences import CheckpointWarning, differences
from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.checkpoints.library_errors import in_words
from lazarus_probe.checkpoints.limits import bounded_chat
from lazarus_probe.checkpoints.quantised import for_cpu
from lazarus_probe.checkpoints.saved_names import reads_saved_names
from lazarus_probe.checkpoints.settings_check import (
    Shaped,
    check_ends,
    check_plain,
    check_settings,
    nulls,
    totals_of,
)
from lazarus_probe.checkpoints.tokenizer_check import code_of, panics_as_errors, try_out
from lazarus_probe.checkpoints.weights import weight_entries
from lazarus_probe.files.plain_json import read_json
from lazarus_probe.files.tensors import TensorEntry
from lazarus_probe.organisms import bundled
from lazarus_probe.warn import warn

# Packed weights are stored as unsigned integers, which their layers unpack.
NO_WEIGHTS = (mx.bool_, mx.int8, mx.int16, mx.int32, mx.int64, mx.complex64)


def load_checkpoint(
    folder: Path, entries: Mapping[str, TensorEntry] | None = None, lazy: bool = False
) -> tuple[nn.Module, dict[str, Any]]:
    """The model in a folder, and the configuration it was built with.

    The configuration is checked against the weights before anything is built.

    Args:
        folder: of the checkpoint.
        entries: the tensors of its weights, if their headers were read already.
        lazy: leave weights unread, for who needs only parts of them.

    On a CPU weights are float32, those of a quantised model too if they fit; see `quantised.for_cpu`.

    Warns (`CheckpointWarning`) of each known difference from transformers, see `differences`, and of quantised weights
    that are used as float32.

    Raises:
        LoadError: mlx-lm cannot build it, or would build something other than the configuration says.
    """
    with few_files_suffice():
        from mlx_lm.utils import _get_classes, load_config, load_model

    path, failure = folder / "config.json", f"{folder} cannot be built"
    written, generation = read_json(path), folder / "generation_config.json"
    check_ends(path, written)
    if generation.is_file():
        check_ends(generation, read_json(generation))
    check_plain(path, written)
    config = or_load_error(f"{folder} cannot be read", lambda: load_config(folder))
    classes = or_load_error(failure, lambda: _get_classes(config))
    tensors = (entries or weight_entries(folder)).values()
    overrides, section = section_for(path, config, classes, tensors)
    if empty := nulls(section.settings, section.arguments):
        failure += f" ({', '.join(empty)} in config.json {'is' if len(empty) == 1 else 'are'} null)"
    reading = (reads_saved_names(classes[0]), classes[1])
    model, config = or_load_error(
        failure,
        lambda: load_model(
            Literal(folder),
            lazy=True,
            model_config=overrides,
            get_model_classes=lambda **_: reading,
            trust_remote_code=False,
        ),
    )
    model.__class__ = classes[0]
    _check_floating(folder, model)
    if mx.default_device() == mx.cpu:
        warn_if_slow()
        if config.get("quantization"):
            config = or_load_error(failure, lambda: for_cpu(folder.name, model, config))
        else:
            model.set_dtype(mx.float32)
    if not lazy:
        read_weights(folder, model)
    return model, config


def read_weights(folder: Path, model: nn.Module) -> None:
    """Read what a lazily loaded model needs of its files.

    Raises:
        LoadError: they cannot be read.
    """
    or_load_error(f"the weights in {folder} cannot be read", lambda: mx.eval(model.parameters()))


def section_for(
    path: Path, config: dict[str, Any], classes: tuple[type[nn.Module], type], tensors: Iterable[Shaped]
) -> tuple[dict[str, Any], Section]:
    """What to change in a configuration for mlx-lm, and its settings for the language model, checked.

    Args:
        path: of the file that the configuration is from.
        config: the configuration.
        classes: mlx-lm's model and arguments for it.
        tensors: the weights of the checkpoint.

    Warns (`CheckpointWarning`) of each difference to transformers that is known.

    Raises:
        LoadError: mlx-lm cannot honour a setting, or the weights cannot hold it.
    """
    checkpoint = path.parent if path.name == "config.json" else path
    failure = f"{checkpoint} cannot be built"
    overrides = or_load_error(failure, lambda: translated(config, *classes))
    section = section_of({**config, **overrides}, *classes)
    check_settings(path, section.settings, section.arguments, totals_of(tensors))
    for line in or_load_error(failure, lambda: differences(section)):
        warn(f"{checkpoint.name}: {line}", CheckpointWarning)
    return overrides, section


def load_tokenizer(folder: Path, config: dict[str, Any]) -> Any:
    """The tokenizer in a folder, ending texts at the configuration's end-of-sequence tokens.

    Raises:
        LoadError: it cannot be read.
    """
    from mlx_lm.utils import load_tokenizer as load

    def read() -> Any:
        # Never prompts for trust on a terminal: code named by an untrusted folder is not run.
        return load(folder, {"trust_remote_code": False}, eos_token_ids=config.get("eos_token_id"))

    code = code_of(folder)
    failure = f"the tokenizer in {folder} cannot be read"
    if code:
        failure += f" without its own code ({code}), which is never run"
    tokenizer = or_load_error(failure, lambda: panics_as_errors(read))
    if code:
        warn(
            f"{folder.name}: the tokenizer's own code ({code}) is not run; it is read from its files without it",
            CheckpointWarning,
        )
    if folder.parent != bundled.FOLDER:
        or_load_error(failure, lambda: panics_as_errors(lambda: try_out(folder, tokenizer)))
    bounded_chat(tokenizer)
    return tokenizer


class Literal(type(Path())):  # type: ignore[misc]
    """A folder whose name may contain `[` and `*`, which mlx-lm would take for a glob pattern."""

    def __truediv__(self, key: Any) -> Path:
        return Path(glob.escape(str(self)) if "*" in str(key) else str(self)) / key


@contextmanager
def few_files_suffice() -> Iterator[None]:
    """Allow mlx-lm, on import, to request more open files than the process may have."""
    try:
        import resource
    except ImportError:  # not on this system
        yield
        return
    own = resource.setrlimit

    def if_allowed(which: int, limits: tuple[int, int]) -> None:
        with suppress(ValueError, OSError):
            own(which, limits)

    resource.setrlimit = if_allowed
    try:
        yield
    finally:
        resource.setrlimit = own


def _check_floating(folder: Path, model: nn.Module) -> None:
    """Check that unpacked weights are floating-point: integers would silently be used as such."""
    for path, module in model.named_modules():
        for name in ("weight", "bias"):
            values = module.get(name) if isinstance(module, dict) else None
            if isinstance(values, mx.array) and values.dtype in NO_WEIGHTS and "scales" not in module:
                kind = str(values.dtype).rpartition(".")[2]
                raise LoadError(
                    f"the weights in {folder} cannot be used: {path}.{name} holds {kind}; floating-point "
                    "numbers are needed"
                )


def or_load_error(failure: str, action: Callable[[], Any]) -> Any:
    """The result of `action`; errors of the underlying libraries become a one-line `LoadError`."""
    try:
        return action()
    except Exception as error:
        detail = " ".join(str(error).split()) or type(error).__name__
        detail = detail if isinstance(error, LoadError) else in_words(detail)[:200]
        raise LoadError(f"{failure}: {detail}") from error
    except SystemExit as error:
        # mlx-lm's olmo exits the process if an optional package is missing.
        raise LoadError(f"{failure}: mlx-lm exits, asking for another package") from error
