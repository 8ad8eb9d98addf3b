"""A battery of probe sets over all layers: which property is readable from where on, beyond its controls.

Stratigraphy, after the layers of a dig. A property emerges at the first layer where the declared claim
`property-emerges` is supported: the whole interval of its held-out accuracy past a threshold and beyond every control,
which are the majority class, a bag of tokens, the embeddings of all tokens, the same layer of untrained and lesioned
models, and shuffled labels. All layers of all sets are one family (Benjamini & Hochberg 1995).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lazarus_probe.circuit.layer_probes import LayerProbe, emergence_of, probe_layers
from lazarus_probe.circuit.sets import ProbeSet
from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.declared import declared
from lazarus_probe.claims.judging import at_threshold, judge_together, q_values
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.display import Cell, table
from lazarus_probe.introspection.probing.inputs import ProbeDataset, layer_inputs
from lazarus_probe.introspection.probing.layer_scan import Scan
from lazarus_probe.subject.control_models import control_models

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

CLAIM = "property-emerges"


@dataclass(frozen=True)
class SetProbes:
    """One set at all layers.

    Attributes:
        name: of the set.
        category: of the set.
        classes: its classes.
        layers: by layer, the probe.
        q: the least p of the claim at its layers, corrected for all layers of all sets; None where none was drawn.
        emergence: the first layer at which the claim is supported among all of them, if there is one.
    """

    name: str
    category: str
    classes: tuple[str, ...]
    layers: Mapping[int, LayerProbe]
    q: float | None
    emergence: int | None

    @property
    def best(self) -> LayerProbe:
        """The layer with the highest accuracy."""
        return max(self.layers.values(), key=lambda each: each.accuracy)

    def as_data(self) -> dict[str, Any]:
        """By layer, plain data with the published keys first."""
        return {
            str(layer): {
                "accuracy": each.accuracy,
                "cv_std": each.cv_std,
                "baseline": each.majority,
                "above_chance": each.accuracy - each.majority,
                "n_samples": each.n,
                **each.as_data(),
            }
            for layer, each in self.layers.items()
        }


@dataclass(frozen=True)
class Stratigraphy:
    """A battery of sets.

    Attributes:
        model_id: the model.
        num_layers: of the model.
        threshold: the least accuracy of what emerges: the declared one, or the one given.
        sets: by name.
        full: whether there are control models and shuffled labels, without which nothing is said to emerge.
    """

    model_id: str
    num_layers: int
    threshold: float
    sets: Mapping[str, SetProbes]
    full: bool

    def as_data(self) -> dict[str, Any]:
        """Plain data, with the published keys first."""
        data: dict[str, Any] = {
            "model_id": self.model_id,
            "num_layers": self.num_layers,
            "probes": {name: each.as_data() for name, each in self.sets.items()},
            "threshold": self.threshold,
            "claim": CLAIM,
        }
        if self.full:
            data["emergence"] = {
                name: {"layer": each.emergence, "q": each.q, "classes": list(each.classes)}
                for name, each in self.sets.items()
            }
        return data

    def _repr_html_(self) -> str:
        layers = list(next(iter(self.sets.values())).layers)
        rows = [
            [
                name,
                *(Cell(f"{each.layers[n].accuracy:.2f}", shade=each.layers[n].accuracy / 2) for n in layers),
                "-" if each.emergence is None else f"L{each.emergence}",
            ]
            for name, each in self.sets.items()
        ]
        return table(f"Stratigraphy: {self.model_id}", ["set", *(f"L{n}" for n in layers), "emerges"], rows)


def stratigraphy(
    subject: Subject,
    sets: Sequence[ProbeSet],
    layers: Sequence[int] | None = None,
    *,
    threshold: float | None = None,
    full: bool = True,
    draws: int | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Stratigraphy:
    """Probe each set at each layer, at the last position.

    Args:
        subject: the model.
        sets: prompts with the property to be read.
        layers: which; all layers, if left out.
        threshold: the least held-out accuracy of what is said to emerge, in place of the declared one.
        full: whether to run untrained and lesioned models and shuffle labels; without, nothing is said to emerge.
        draws: shuffles of the labels, 1000 if left out.
        seed: of folds, shuffles and intervals.
        progress: called with the name of each set before it is probed.

    Raises:
        ValueError: no sets, a layer that the model does not have, a threshold above 1, or prompts of the same words in
            two groups of a set.
    """
    if not sets:
        raise ValueError("no probe sets; give at least one")
    claim = declared(CLAIM) if threshold is None else at_threshold(CLAIM, threshold)
    wanted = list(range(subject.num_layers)) if layers is None else list(layers)
    store, by_set = ActivationStore(), {}
    for each in sets:
        progress(each.name)
        dataset = ProbeDataset(each.texts, each.labels, each.groups)
        models = control_models(subject) if full else None
        inputs = layer_inputs(subject, models, dataset, wanted, "classification", store)
        scan = Scan(inputs, seed=seed, draws=draws, keep_blocks=True)
        by_set[each.name] = probe_layers(scan, claim if full else None)
    judged = _among_all(by_set, claim) if full else {name: (layers, None) for name, layers in by_set.items()}
    return Stratigraphy(
        subject.name,
        subject.num_layers,
        claim.threshold,
        {each.name: _described(each, *judged[each.name]) for each in sets},
        full,
    )


def _among_all(
    by_set: Mapping[str, Mapping[int, LayerProbe]], claim: Claim
) -> dict[str, tuple[dict[int, LayerProbe], float]]:
    """By set, its layers with their verdicts among all layers of all sets, and the least q of them."""
    tests = {
        f"{layer} {name}": (claim, each.measurement)
        for name, layers in by_set.items()
        for layer, each in layers.items()
    }
    verdicts, q = judge_together(tests), q_values(tests)
    return {
        name: (
            {layer: replace(each, verdict=verdicts[f"{layer} {name}"]) for layer, each in layers.items()},
            min(q[f"{layer} {name}"] for layer in layers),
        )
        for name, layers in by_set.items()
    }


def _described(probed: ProbeSet, layers: Mapping[int, LayerProbe], q: float | None) -> SetProbes:
    return SetProbes(probed.name, probed.category, tuple(probed.classes), layers, q, emergence_of(layers))
