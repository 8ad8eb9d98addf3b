"""Where a fact is read and stored, as measurements: the window of layers is chosen on some facts, and held to others.

`attention_knockout` and `causal_trace` show all windows to a reader. The largest of many is large by chance too, so
here one is chosen on half of the units, and the share of the answer's probability that it decides is measured on the
other half, compared with the same edit elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.patching.attention_knockout import attention_knockout
from lazarus_probe.introspection.patching.corrupted_runs import (
    Cell,
    Corrupted,
    Corruption,
    Restorer,
    corruptions,
    noise_size,
    replaceable,
)
from lazarus_probe.introspection.patching.windows import windows_with
from lazarus_probe.statistics.folds import halves_of_units
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.batches import Prompt, encode_all
from lazarus_probe.subject.relative_depth import spaced_layers
from lazarus_probe.subject.spans import Span
from lazarus_probe.sweep.metrics import probability, reader

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

PROBABILITY = "probability"
WINDOWS = 6  # of each analysis, evenly spaced
DRAWS = 2  # corrupted runs of a prompt, each the control of the other
NOISE = 3.0  # standard deviations of the parts' embeddings, as Meng et al. take
LEAST_LOST = 1e-6  # of the answer's probability; less is rounding


def windows_of(num_layers: int, share: float) -> tuple[list[int], int]:
    """The middles of evenly spaced windows, and how many layers each has: a share of the model's, at least one."""
    return spaced_layers(num_layers, WINDOWS), max(1, round(share * num_layers))


def read_by_attention(
    subject: Subject,
    prompts: Sequence[Prompt],
    parts: Sequence[Span],
    answers: Sequence[int],
    units: Sequence[str],
    *,
    share: float = 0.2,
    seed: int = 0,
) -> Measurement:
    """The share of the answer's probability that is lost where the last token may not read a part of the prompt.

    Control: `other_part`, the same of other parts of equal length. Geva et al. 2023 (arXiv:2304.14767).

    Args:
        subject: the model.
        prompts: P texts, or token ids, whose answers the model gives.
        parts: (P,) the tokens of each prompt's subject.
        answers: (P,) the first token of each answer.
        units: (P,) independent units, at least 4: half of them choose the window of layers.
        share: of the model's layers that a window has; Geva et al. take 9 of 48.
        seed: of halves, other parts and intervals.

    Raises:
        ValueError: as `attention_knockout` and `halves_of_units`; prompts without another part.
    """
    layers, window = windows_of(subject.num_layers, share)
    result = attention_knockout(
        subject,
        prompts,
        parts,
        list(answers),
        layers=layers,
        window=window,
        controls=2,
        units=units,
        seed=seed,
    )
    plain = result.baseline[PROBABILITY]
    lost, lost_elsewhere = (
        np.clip(1 - values[PROBABILITY] / plain, 0, 1) for values in (result.blocked, result.control)
    )
    if not np.isfinite(lost_elsewhere).all():
        raise ValueError("a prompt has no other part of equal length to block; give longer prompts")
    choosing, testing = halves_of_units(units, np.random.default_rng(seed))
    best = int(lost[:, choosing].mean(axis=1).argmax())
    return rate(
        "share of the answer's probability lost",
        lost[best, testing],
        [units[row] for row in testing],
        {"other_part": lost_elsewhere[best, testing]},
        seed=seed,
        details={"layers": list(result.windows[best])},
        damage=result.damage,
    )


def restored_by_mlp(
    subject: Subject,
    prompts: Sequence[Prompt],
    parts: Sequence[Span],
    answers: Sequence[int],
    units: Sequence[str],
    *,
    share: float = 0.2,
    corruption: Corruption = "resample",
    seed: int = 0,
) -> Measurement:
    """The share of the answer's lost probability that clean MLP outputs at a part's last token bring back.

    The part is corrupted by the same part of two other prompts, of equal length, or by noise on its embeddings as in
    Meng et al. 2022 (arXiv:2202.05262). Controls: `other_run`, the MLP outputs of another corrupted run at the same
    place, and `attention`, clean attention outputs there, of the window that is best for them.

    Args:
        subject: as for `read_by_attention`.
        prompts: P texts, or token ids.
        parts: (P,) the tokens that are corrupted, before the last token.
        answers: (P,) the first token of each answer.
        units: (P,) independent units; half of them choose the window. Prompts without two others to resample from are
            left out.
        share: of the model's layers that a window has; Meng et al. take 10 of 48.
        corruption: `resample` or `noise`.
        seed: of halves, other prompts and intervals.

    Raises:
        ValueError: as `corruptions`, `windows_with` and `halves_of_units`.
    """
    layers, window = windows_of(subject.num_layers, share)
    prompts = encode_all(subject, prompts)
    rows = replaceable(prompts, parts, DRAWS) if corruption == "resample" else range(len(prompts))
    encoded, spans = [prompts[row] for row in rows], [parts[row] for row in rows]
    units, chosen = [units[row] for row in rows], [answers[row] for row in rows]
    choosing, testing = halves_of_units(units, np.random.default_rng(seed))
    size = noise_size(subject, encoded, spans, NOISE) if corruption == "noise" else 0.0
    corrupted = corruptions(subject, encoded, spans, corruption, size, DRAWS, seed)
    shares: dict[str, NDArray[Any]] = {}
    details = {}
    for kind in ("mlp_out", "attn_out"):
        windows = windows_with(subject, kind, layers, window)
        back, control = shares_restored(subject, encoded, spans, chosen, kind, windows, corrupted)
        best = int(back[:, choosing].mean(axis=1).argmax())
        details[kind] = list(windows[best])
        shares[kind], shares[f"{kind} of another run"] = back[best, testing], control[best, testing]
    return rate(
        "share of the lost probability brought back",
        shares["mlp_out"],
        [units[row] for row in testing],
        {"other_run": shares["mlp_out of another run"], "attention": shares["attn_out"]},
        seed=seed,
        details={
            "layers": details["mlp_out"],
            "layers_of_attention": details["attn_out"],
            "left_out": len(prompts) - len(rows),
        },
    )


def shares_restored(
    subject: Subject,
    encoded: Sequence[Sequence[int]],
    parts: Sequence[Span],
    answers: Sequence[int],
    kind: str,
    windows: Sequence[tuple[int, ...]],
    corrupted: Sequence[Corrupted],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Twice (W, P) the share of the answer's lost probability that is back, 0 where nothing was lost.

    With clean values at the part's last token in W windows of layers, and with those of another corrupted run. It is
    what `causal_trace` says of that token, without its other spots and without the damage.
    """
    read = reader(subject, [probability(list(answers))], len(encoded))
    shares = []
    for row, ids in enumerate(encoded):
        restorer = Restorer(subject, ids, corrupted[row], kind, read, row)
        values = restorer.values([Cell(window, (parts[row].last,)) for window in windows])
        clean, before = values["clean"][0], values["corrupted"][0]
        gained = np.stack([values["restored"][0], values["control"][0]]) - before
        lost = clean - before
        shares.append(np.clip(gained / lost, 0, 1) if lost > LEAST_LOST else np.zeros_like(gained))
    back, control = np.stack(shares, axis=-1)
    return back, control
