"""Whether a fitted lens reads the token that a model comes to name earlier than the logit lens does.

Belrose et al. 2023 (arXiv:2303.08112) train an affine map for each layer on texts, so that the unembedding can read
what earlier layers hold in other directions. Here the maps are those of least squares, which a tuned lens is trained
from (`training.lens_start`; Din et al. 2023, arXiv:2303.09435, read layers by them alone): closed, so that the same is
done in seconds in every control model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.as_needed import as_needed
from lazarus_probe.hooks.replay import replay
from lazarus_probe.introspection.lens.lens_emergence import layer_curve
from lazarus_probe.introspection.lens.logit_lens import LOGITS_PER_BATCH
from lazarus_probe.introspection.lens.tuned_lens import TunedLens, check_readable, residuals
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.control_models import ControlModel, ControlModels, built, faced
from lazarus_probe.training.lens_start import least_squares

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.subject.subject import Subject

FEWEST = 4  # texts; half of them to fit on
RIDGE = 0.1  # of `lens_start.RIDGES` the strongest, for a few positions a dimension


def reads_earlier(
    subject: Subject,
    untrained: ControlModels,
    texts: Sequence[Sequence[int]],
    *,
    earlier: float = 0.1,
    fitted: float = 0.6,
    per_text: int = 3,
    seed: int = 0,
    claim: Claim | None = None,
) -> Measurement:
    """How often a fitted lens names a model's next token from an earlier layer on than the logit lens does.

    A lens names it from a layer on if the model's own most probable token is the lens's after that layer and after
    each later one. Maps are fitted on some texts and read on the others, which are the units.

    Controls: `shuffled_states`, a lens fitted to the last states of other positions, which learns what last states are
    like in general; and control models with lenses of their own, for a map may take what no layer computed.

    Args:
        subject: the model.
        untrained: at least three untrained models of its architecture.
        texts: token ids of at least 4 texts, best sampled from the model (`training.own_texts`).
        earlier: the share of the layers by which it must be earlier to count.
        fitted: the share of the texts that maps are fitted on.
        per_text: positions read in each other text, drawn at random.
        seed: of the texts, the positions, the shuffles and the interval.
        claim: what the measurement is judged by; where its outcome is settled without the control models, they are not
            run.

    Raises:
        UnsupportedArchitecture: residual streams that cannot be read out position by position.
        ValueError: fewer texts, texts of one token, a single layer, or as `checked_models`.
    """
    check_readable(subject)
    if subject.num_layers < 2:
        raise ValueError(f"has {subject.num_layers} layer, after which the logit lens is exact")
    long = [list(text) for text in texts if len(text) > 2]
    if len(long) < FEWEST:
        raise ValueError(f"{len(long)} texts of three tokens or more; give at least {FEWEST}")
    order = np.random.default_rng(seed).permutation(len(long))
    parts = np.split(order, [min(len(long) - 2, max(2, round(fitted * len(long))))])
    fit, read = ([long[row] for row in part] for part in parts)
    ahead = math.ceil(earlier * subject.num_layers)

    def named(model: Subject, *, shuffled: bool = False) -> tuple[NDArray[np.intp], ...]:
        """Where the logit lens, the fitted one, and one fitted to shuffled states name the tokens, and their texts."""
        rng = np.random.default_rng(seed)
        states = np.array(residuals(model, fit)[0].astype(mx.float32))
        lenses = [None, TunedLens(*least_squares(states, RIDGE), {})]
        if shuffled:
            states[:, -1] = states[rng.permutation(len(states)), -1]
            lenses.append(TunedLens(*least_squares(states, RIDGE), {}))
        resid, owners = residuals(model, read)
        rows = _drawn(owners, per_text, np.random.default_rng(seed))
        resid = resid[mx.array(rows.astype(np.int32))]
        return (*(named_from(model, resid, lens) for lens in lenses), owners[rows])

    plain, tuned, shuffled, owners = named(subject, shuffled=True)

    def measure(controls: Mapping[str, Any], left_out: tuple[str, ...]) -> Measurement:
        return rate(
            "share of tokens named earlier by the fitted lens",
            plain - tuned >= ahead,
            [str(owner) for owner in owners],
            controls,
            seed=seed,
            details={
                "layers_earlier": ahead,
                "logit_lens": float(plain.mean()),
                "fitted_lens": float(tuned.mean()),
                "fitted_on": sum(map(len, fit)),
            },
            curves=tuple(
                layer_curve(name, (layers[:, None] <= np.arange(subject.num_layers)).astype(np.float64))
                for name, layers in (
                    ("fitted lens", tuned),
                    ("logit lens", plain),
                    ("shuffled states", shuffled),
                )
            ),
            unmeasured=left_out,
        )

    def in_models(models: Sequence[ControlModel | Subject]) -> Callable[[], NDArray[np.bool_]]:
        def ahead_in(model: Subject) -> NDArray[np.bool_]:
            plain, tuned, _ = named(model)
            return plain - tuned >= ahead

        return lambda: np.stack([ahead_in(built(model)) for model in models])

    costly = {kind: in_models(models) for kind, models in faced(subject, untrained).items()}
    return as_needed(claim, measure, costly, {"shuffled_states": plain - shuffled >= ahead})


def named_from(subject: Subject, resid: mx.array, lens: TunedLens | None = None) -> NDArray[np.intp]:
    """(N,) the layer from which on a lens names the most probable token after the last layer.

    Args:
        subject: the model whose final norm and unembedding read.
        resid: (N, layers, D) residual streams after each layer.
        lens: without one, the logit lens.
    """
    layers = resid.shape[1]
    step = max(1, LOGITS_PER_BATCH // subject.anatomy.vocab_size)
    tops = np.empty(resid.shape[:2], dtype=np.int64)
    for layer in range(layers):
        states = resid[:, layer]
        if lens is not None:
            states = lens.translate(states, layer)
        for start in range(0, len(states), step):
            logits = replay(subject, states[start : start + step, None])
            tops[start : start + step, layer] = np.array(logits[:, 0].argmax(axis=-1))
    kept = np.logical_and.accumulate((tops == tops[:, -1:])[:, ::-1], axis=1)
    return layers - kept.sum(axis=1)


def _drawn(owners: NDArray[np.intp], per_text: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Some positions of each text, as rows."""
    rows = [np.flatnonzero(owners == text) for text in np.unique(owners)]
    return np.concatenate([rng.permutation(some)[:per_text] for some in rows])
