"""The tuned lens: a logit lens that first translates each layer's residual stream into the last one's terms.

Belrose et al. 2023 (arXiv:2303.08112). For each layer an affine map, `h + A h + b`, which begins as the plain lens and
is trained (`lazarus_probe.training.tuned_lens`) so that the model's own final norm and unembedding, applied to what it
returns, give the model's final distribution. After the last layer it is the plain lens, which is exact there.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.files.paths import user_path
from lazarus_probe.files.plain_json import read_json
from lazarus_probe.files.tensors import read_entries
from lazarus_probe.files.weight_files import write_unfinished
from lazarus_probe.files.whole_files import whole_file
from lazarus_probe.hooks.replay import require_free_tail
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.hooks.trace import hooked
from lazarus_probe.introspection.lens.logit_lens import LensResult, resid_after, tail_log_probs
from lazarus_probe.introspection.lens.tail_divergence import divergences_from, final_distributions
from lazarus_probe.subject.batches import Prompt, by_length
from lazarus_probe.subject.finite import refuse

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

WEIGHTS, CONFIG = "tuned_lens.safetensors", "tuned_lens.json"
FORMAT = "lazarus_probe tuned lens 1"
REQUIRED = {"format": str, "model": str, "base": str, "layers": list, "hidden_size": int, "crc32": int}


@dataclass(frozen=True, eq=False)
class TunedLens:
    """Affine maps of the residual stream after each layer but the last.

    Attributes:
        weights: (layers - 1, D, D) float32; A, which is added to the identity.
        biases: (layers - 1, D) float32.
        config: what it was trained on and how: `model`, `base` (the fingerprint), `layers`, `hidden_size`, `steps`,
            `seed`, `held_out`, ...

    Example:
        >>> from lazarus_probe.introspection import TunedLens
        >>> maps, width = subject.num_layers - 1, subject.anatomy.hidden_size
        >>> lens = TunedLens(np.zeros((maps, width, width)), np.zeros((maps, width)), {"base": subject.fingerprint})
        >>> resid = mx.ones((1, width))
        >>> bool((lens.translate(resid, layer=3) == resid).all())  # with maps of zeros it is the logit lens
        True
    """

    weights: NDArray[np.float32]
    biases: NDArray[np.float32]
    config: Mapping[str, Any]

    def translate(self, resid: mx.array, layer: int) -> mx.array:
        """The last layer's residual stream (..., D) as predicted from that after a layer, counted from 0."""
        if layer >= len(self.weights):
            return resid
        moved = resid.astype(mx.float32)
        moved = moved + moved @ mx.array(self.weights[layer]).T + mx.array(self.biases[layer])
        return moved.astype(resid.dtype)


def tuned_lens(
    subject: Subject,
    prompts: Sequence[Prompt],
    lens: TunedLens,
    layers: Sequence[int] | None = None,
    position: int | Sequence[int] | str = "last",
) -> LensResult:
    """Read each prompt's next token from the residual stream after each layer, through the lens.

    Arguments and errors are those of `logit_lens`; the lens must be of this model.

    Raises:
        LoadError: the lens was trained on another model.
        ValueError: no prompts, no layers, or "mean": a mean of residual streams is the state of no token.
        IndexError: a layer or position that does not exist.

    Example:
        >>> from lazarus_probe import tuned_lens
        >>> from lazarus_probe.introspection import read_lens
        >>> result = tuned_lens(subject, ["7*8=", "6*9="], read_lens("lens"))
        >>> result.probability(subject.single_token("56")).shape  # (prompts, layers)
        (2, 8)
    """
    check_lens(lens, subject)
    resid, read_layers = resid_after(subject, prompts, layers, position)
    states = mx.array(resid).astype(getattr(mx, subject.dtype))
    by_layer = [
        tail_log_probs(subject, lens.translate(states[:, column], layer))
        for column, layer in enumerate(read_layers)
    ]
    return LensResult(np.stack(by_layer, axis=1), read_layers)


def check_readable(subject: Subject) -> None:
    """Whether residual streams of a model can be read out one by one.

    Raises:
        UnsupportedArchitecture: it carries several streams, or its tail reads more than the residual.
    """
    if subject.anatomy.stream_axis is not None:
        raise UnsupportedArchitecture(f"{subject.name} carries several residual streams; a lens needs one")
    require_free_tail(subject)


def residuals(subject: Subject, encoded: Sequence[Sequence[int]]) -> tuple[mx.array, NDArray[np.intp]]:
    """Residual streams (N, layers, D) after each layer at all positions of prompts, and the prompt (N,) of each.

    A beginning-of-sequence token at the start, whose state is the same everywhere, is left out.
    """
    sites = [resid_post(layer) for layer in range(subject.num_layers)]
    bos = getattr(subject.tokenizer, "bos_token_id", None)
    values, owners = [], []
    for indices, tokens in by_length(encoded):
        with hooked(subject, sites) as captures:
            forward(subject.model, tokens)
        start = int(tokens.shape[1] > 1 and bos is not None and bool((tokens[:, 0] == bos).all().item()))
        resid = mx.stack([captures[site] for site in sites], axis=2)[:, start:]
        mx.eval(resid)
        if not mx.isfinite(resid).all().item():
            refuse(subject, tokens, "residual streams")
        values.append(resid.reshape(-1, *resid.shape[2:]))
        owners.append(np.repeat(indices, resid.shape[1]))
    return mx.concatenate(values), np.concatenate(owners)


def divergences(subject: Subject, resid: mx.array, lens: TunedLens | None = None) -> NDArray[np.float64]:
    """KL(final || lens) in nats (N, layers), of residual streams (N, layers, D); without a lens, of the plain one."""
    by_layer = [
        resid[:, layer] if lens is None else lens.translate(resid[:, layer], layer)
        for layer in range(resid.shape[1])
    ]
    final = final_distributions(subject, resid[:, -1])
    return divergences_from(final, subject, mx.stack(by_layer)).T


def write_lens(folder: Path, lens: TunedLens) -> Path:
    """Write `tuned_lens.safetensors` and `tuned_lens.json`, both aside, and put them in place when they are whole.

    Raises:
        OSError: they cannot be written.

    Example:
        >>> from pathlib import Path
        >>> from lazarus_probe.introspection import read_lens, write_lens
        >>> folder = write_lens(Path("copy"), read_lens("lens"))
        >>> sorted(path.name for path in folder.iterdir())
        ['tuned_lens.json', 'tuned_lens.safetensors']
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"weights": mx.array(lens.weights), "biases": mx.array(lens.biases)}
    settings = {**lens.config, "crc32": _checksum(lens.weights, lens.biases)}
    with whole_file(folder / CONFIG) as config, whole_file(folder / WEIGHTS) as weights:
        write_unfinished(weights, arrays, {"format": "mlx"})
        config.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return folder


def read_lens(folder: str | Path) -> TunedLens:
    """The lens in a folder.

    Raises:
        LoadError: there is none, or a file is damaged or of another form; the message names it.

    Example:
        >>> from lazarus_probe.introspection import read_lens
        >>> lens = read_lens("lens")
        >>> lens.config["model"], lens.weights.shape
        ('organism', (7, 128, 128))
    """
    path = user_path(folder)
    config = _config(path / CONFIG)
    arrays = _arrays(path / WEIGHTS)
    depth, width = len(config["layers"]), config["hidden_size"]
    wanted = {"weights": (depth, width, width), "biases": (depth, width)}
    shapes = {name: tuple(value.shape) for name, value in arrays.items()}
    if shapes != wanted:
        raise LoadError(f"{path / WEIGHTS} holds {shapes}; {CONFIG} announces {wanted}")
    weights, biases = arrays["weights"], arrays["biases"]
    if weights.dtype != np.float32 or biases.dtype != np.float32:
        raise LoadError(f"{path / WEIGHTS} holds {weights.dtype} and {biases.dtype}; float32 is needed")
    if _checksum(weights, biases) != config["crc32"]:
        raise LoadError(f"{path / WEIGHTS} is damaged: its numbers are not those that were written")
    if not (np.isfinite(weights).all() and np.isfinite(biases).all()):
        raise LoadError(f"{path / WEIGHTS} holds numbers that are not finite; train the lens again")
    return TunedLens(weights, biases, config)


def check_lens(lens: TunedLens, subject: Subject) -> None:
    """Whether a lens is of this model.

    Raises:
        LoadError: it was trained on another, or its maps have other sizes; the message names both.
    """
    if lens.config["base"] != subject.fingerprint:
        raise LoadError(
            f"the lens was trained on {lens.config['model']} ({lens.config['base'][:12]}), and this is "
            f"{subject.name} ({subject.fingerprint[:12]}); give that model, or train a lens for this one"
        )
    width = subject.anatomy.hidden_size
    wanted = (subject.num_layers - 1, width, width)
    if lens.weights.shape != wanted:
        raise LoadError(
            f"the lens has maps {lens.weights.shape}, and {subject.name} needs {wanted}; train it again"
        )


def _checksum(weights: NDArray[np.float32], biases: NDArray[np.float32]) -> int:
    return zlib.crc32(np.ascontiguousarray(biases).data, zlib.crc32(np.ascontiguousarray(weights).data))


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise LoadError(
            f"{path.parent} holds no tuned lens: {path.name} is missing; train one with tuned-lens train"
        )
    try:
        settings = read_json(path)
    except (OSError, ValueError) as error:
        raise LoadError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        raise LoadError(f"{path} is not the configuration of a tuned lens; its format must be {FORMAT!r}")
    wrong = [key for key, kind in REQUIRED.items() if not isinstance(settings.get(key), kind)]
    if wrong:
        raise LoadError(f"{path} has no usable {wrong[0]!r}; train the lens again")
    return settings


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.is_file():
        raise LoadError(f"{path.parent} holds no tuned lens: {path.name} is missing")
    try:
        read_entries(path)
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise LoadError(f"{path} is damaged: {str(error).splitlines()[0]}") from None
