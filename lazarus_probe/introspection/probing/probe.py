"""Is a label linearly decodable at a site, beyond what the prompts alone give away? A probe with its controls.

The score is on held-out groups. The controls, on the same splits, are the majority class or the mean; the same probe on
a bag of tokens, on the token embeddings of the whole prompt, on the same site of untrained models (random-weight nulls:
arXiv:2512.18792), and of models with the trained embeddings and untrained blocks; random classes by type (control task:
arXiv:1909.03368); and shuffled labels. A score that they reach as well says nothing about the model or its layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lazarus_probe.claims.verdict import decided_early
from lazarus_probe.hooks.model_sites import resolve
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.probing.inputs import ProbeDataset, ProbeInputs, model_features, probe_inputs
from lazarus_probe.introspection.probing.probe_scores import (
    OwnScores,
    control_task_of,
    model_scores,
    own_scores,
)
from lazarus_probe.statistics.bounded import count_units, fewest_units
from lazarus_probe.statistics.folds import Kind
from lazarus_probe.statistics.measurement import Control, Example, Measurement, some_examples
from lazarus_probe.statistics.measurement.group_scores import group_scores
from lazarus_probe.statistics.null import PermutationTest
from lazarus_probe.statistics.probes.held_out import (
    HeldOut,
    code_of,
    control_gains,
    mean_of,
    null_of,
    shuffled_control,
)
from lazarus_probe.statistics.threads import one_thread
from lazarus_probe.subject.control_models import faced

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.subject.control_models import ControlModels
    from lazarus_probe.subject.subject import Subject

__all__ = ["ProbeDataset", "ProbeInputs", "measure", "probe"]

UNIT = {"classification": "held-out accuracy", "regression": "held-out capped R2"}


def probe(
    subject: Subject,
    untrained: ControlModels,
    labelled: ProbeDataset,
    site: Site | str,
    *,
    kind: Kind = "classification",
    store: ActivationStore | None = None,
    seed: int = 0,
    claim: Claim | None = None,
    also: Sequence[Site | str] = (),
) -> Measurement:
    """Probe one site of a model, with its controls.

    They are `majority` (or `mean`), `bag_of_tokens`, `untrained`, `shuffled_labels`; above the embedding
    `token_embeddings`, `new_blocks` and `permuted_blocks`; and `control_task` where there are types to memorise, else
    the details say why not. `untrained`, `new_blocks` and `permuted_blocks` are several models each, and the interval
    of the gain over them is for one more such model. For classes, the details also have the labels' online code
    length. `growth` is the end of the probe's learning curve, or why there is none; then nothing is refuted.

    Args:
        subject: the model.
        untrained: at least three untrained models of its architecture, as `control_models(subject)` or
            `untrained_models(subject)` give; as many lesioned ones of each kind are made.
        labelled: prompts, labels and groups.
        site: where to read, as in `resid_post.4`.
        kind: `classification` scores accuracy, `regression` capped R2 against the mean of the training side
            (`statistics.probes.capped`: an error counts for one standard deviation of the labels at most); the details
            then also have the plain `r2`, and that of the controls.
        store: activations shared with other claims.
        seed: of folds, shuffles and intervals.
        claim: what the measurement is judged by. Where its outcome does not depend on the control models
            (`decided_early`), as where the score misses the threshold, they are not run, and `unmeasured` names them:
            on a model of 135M parameters they are 15 of 16 parts of the cost.
        also: sites of the same prompts that later calls will read, with the same store: to build a control model takes
            longer than to run it up to an early layer.

    Raises:
        ValueError: no prompts, no groups, labels without a grouped split, prompts of one content in different groups,
            or untrained models that are fewer than three, alike, or of another architecture. Also as `resolve`.

    Example:
        >>> from itertools import combinations
        >>> from lazarus_probe import ProbeDataset, probe
        >>> from lazarus_probe.sites import resid_post
        >>> from lazarus_probe.subject import untrained_models
        >>> operands = list(combinations(range(2, 7), 2))
        >>> dataset = ProbeDataset(
        ...     prompts=[f"{a}{sign}{b}=" for a, b in operands for sign in "*+"],
        ...     labels=["multiply", "add"] * len(operands),
        ...     groups=[f"{a},{b}" for a, b in operands for _ in "*+"],
        ... )
        >>> measurement = probe(subject, untrained_models(subject, count=3), dataset, resid_post(4))
        >>> measurement.unit, measurement.n, measurement.groups
        ('held-out accuracy', 20, 10)
        >>> measurement.best_control.gain < 0.05  # the operation is in the prompt: some control reads it, too
        True
    """
    # Claims that share a store read the other layers next.
    ahead = store is not None and (claim is None or claim.cases == "layers")
    store = ActivationStore() if store is None else store
    site, *others = (resolve(one, subject.anatomy) for one in (site, *also))
    models, details = faced(subject, untrained), {"site": str(site)}
    inputs = probe_inputs(
        subject,
        models["untrained"],
        labelled,
        [site],
        kind,
        store,
        ahead=ahead,
        also=others,
        with_models=False,
    )[site]
    with one_thread():
        own = own_scores(inputs, kind, seed)
        if claim is not None and decided_early(claim, _without_models(inputs, own, kind)):
            names = ("untrained",) if site == Site("embed") else tuple(models)
            return replace(measure(inputs, kind, seed, details, own), unmeasured=names)
    features = model_features(models, inputs.tokens, labelled.at, [site], store, ahead=ahead, also=others)[
        site
    ]
    with one_thread():
        return measure(replace(inputs, models=features), kind, seed, details, own)


def measure(
    inputs: ProbeInputs, kind: Kind, seed: int, details: Mapping[str, Any], own: OwnScores | None = None
) -> Measurement:
    """The probe of these inputs, with all of its controls, its learning curve and its code length.

    `own` is what was computed of it already.
    """
    own = own_scores(inputs, kind, seed) if own is None else own
    score, models = own.score, model_scores(inputs, kind, seed)
    task = control_task_of(inputs, score, kind, seed)
    measured = measurement_of(
        inputs,
        own,
        models,
        null_of(inputs.problem(inputs.features, kind, seed)),
        kind,
        seed,
        details,
        further=[task] if isinstance(task, Control) else [],
    )
    return replace(
        measured,
        details={
            **measured.details,
            **({"selectivity": task.gain} if isinstance(task, Control) else {"control_task": task}),
            **_code_details(inputs, kind, seed),
            **_r2_details(
                score, {**own.controls, **{kind: mean_of(scores) for kind, scores in models.items()}}
            ),
        },
    )


def _without_models(inputs: ProbeInputs, own: OwnScores, kind: Kind) -> Measurement:
    """What a claim may be settled by: the score, its gains over what needs no other model, and the learning curve."""
    units = inputs.dataset.units
    return Measurement(
        score=own.score.score,
        low=own.interval.low,
        high=own.interval.high,
        n=len(own.score.hits),
        groups=fewest_units(units),
        unit=UNIT[kind],
        controls=own.gains,
        units=count_units(units) if isinstance(units, Mapping) else {},
        growth=own.growth,
        group_scores=group_scores(own.score.hits / own.score.of.mean(), units),
    )


def measurement_of(
    inputs: ProbeInputs,
    own: OwnScores,
    models: Mapping[str, Sequence[HeldOut]],
    null: PermutationTest,
    kind: Kind,
    seed: int,
    details: Mapping[str, Any],
    *,
    further: Sequence[Control] = (),
) -> Measurement:
    """A held-out score with its interval, its gains over controls and over control models by kind, and its p.

    `further` are controls whose gain is known.
    """
    units, score = inputs.dataset.units, own.score
    return replace(
        _without_models(inputs, own, kind),
        controls=(
            *own.gains,
            *control_gains(score, {}, models, units, kind, seed),
            *further,
            shuffled_control(null),
        ),
        p=null.p,
        seed=seed,
        details={
            **details,
            "permutations": len(null.null),
            "models": {kind: [model.score for model in scores] for kind, scores in models.items()},
        },
        tokens=sum(map(len, inputs.tokens)),
        examples=_examples(inputs, score, kind),
    )


def _code_details(inputs: ProbeInputs, kind: Kind, seed: int) -> dict[str, Any]:
    """The code length of the labels from the site, and from that of the first untrained model."""
    if kind == "regression":
        return {}
    code = code_of(inputs.problem(inputs.features, kind, seed))
    details = {
        "classes": len(np.unique(inputs.dataset.labels)),
        "codelength_bits": code.bits,
        "compression": code.compression,
    }
    if "untrained" not in inputs.models:
        return details
    untrained = code_of(inputs.problem(inputs.models["untrained"][0], kind, seed))
    return details | {
        "untrained_codelength_bits": untrained.bits,
        "untrained_compression": untrained.compression,
    }


def _r2_details(score: HeldOut, controls: Mapping[str, HeldOut]) -> dict[str, Any]:
    """The plain R2 of a regression and of its controls, to compare with published numbers."""
    if score.errors is None:
        return {}
    plain = {name: control.errors.r2 for name, control in controls.items() if control.errors is not None}
    return {"r2": score.errors.r2, "r2_of_controls": plain}


def _examples(inputs: ProbeInputs, score: HeldOut, kind: Kind) -> tuple[Example, ...]:
    labels = inputs.dataset.labels
    if kind == "classification":
        return some_examples(inputs.texts, labels.tolist(), score.predictions.tolist(), score.hits > 0)
    expected, predicted = ([f"{value:.4g}" for value in values] for values in (labels, score.predictions))
    return some_examples(inputs.texts, expected, predicted, score.hits > 0)
