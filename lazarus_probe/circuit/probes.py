"""A battery of probe sets over all layers: from which layer on each property can be read, beyond its controls.

Stratigraphy, after the layers of a dig. A property emerges at the first layer where the declared claim
`property-emerges` is supported: the whole interval of its held-out accuracy past a threshold and beyond every control,
which are the majority class, a bag of tokens, the embeddings of all tokens, the same layer of untrained and lesioned
models, and shuffled labels. All layers of all sets are one family (Benjamini & Hochberg 1995).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lazarus_probe.circuit.layer_probes import LayerProbe, first_supported_layer, judged_probes
from lazarus_probe.circuit.sets import ProbeSet
from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.declared import declared
from lazarus_probe.claims.judging import at_threshold, judge_together, q_values
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.probing.inputs import ProbeDataset, layer_inputs
from lazarus_probe.introspection.probing.layer_scan import Scan
from lazarus_probe.subject.control_models import control_models
from lazarus_probe.tables import Cell, Column, Table

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
        return max(self.layers.values(), key=lambda probe: probe.accuracy)

    def as_data(self) -> dict[str, Any]:
        """By layer, plain data with the published keys first."""
        return {
            str(layer): {
                "accuracy": probe.accuracy,
                "cv_std": probe.cv_std,
                "baseline": probe.majority,
                "above_chance": probe.accuracy - probe.majority,
                "n_samples": probe.n,
                **probe.as_data(),
            }
            for layer, probe in self.layers.items()
        }


@dataclass(frozen=True)
class Stratigraphy:
    """A battery of sets.

    Attributes:
        model_id: the model.
        num_layers: of the model.
        threshold: the least held-out accuracy of a property that emerges.
        sets: by name.
        full: whether control models and shuffled labels were run; without them there is no emergence.
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
            "probes": {name: probes.as_data() for name, probes in self.sets.items()},
            "threshold": self.threshold,
            "claim": CLAIM,
        }
        if self.full:
            data["emergence"] = {
                name: {"layer": probes.emergence, "q": probes.q, "classes": list(probes.classes)}
                for name, probes in self.sets.items()
            }
        return data

    @property
    def table(self) -> Table:
        """The accuracy of each set by layer, and what the controls score at its best layer."""
        layers = next(iter(self.sets.values())).layers
        columns = [
            Column("set", width=max(map(len, self.sets)) + 1),
            *(Column(f"L{layer}", ".2f", 5) for layer in layers),
            Column("| n", width=6),
            Column("classes", width=8),
            Column("majority", ".2f", 9),
            Column("bag", ".2f", 5),
            *((Column("untrained", ".2f", 10), Column("p", ".3f")) if self.full else ()),
        ]
        rows = []
        for name, probes in self.sets.items():
            best = probes.best
            scores = {control.name: control.score for control in best.controls}
            accuracies = [Cell(probe.accuracy, shade=probe.accuracy / 2) for probe in probes.layers.values()]
            row = [
                name,
                *accuracies,
                f"| {best.n}",
                best.classes,
                scores["majority"],
                scores["bag_of_tokens"],
            ]
            rows.append([*row, scores["untrained"], best.worst_p] if self.full else row)
        return Table(columns, rows, f"Stratigraphy: {self.model_id}")

    def _repr_html_(self) -> str:
        emerges = [
            None if probes.emergence is None else f"L{probes.emergence}" for probes in self.sets.values()
        ]
        rows = [[*row, layer] for row, layer in zip(self.table.rows, emerges, strict=True)]
        return Table([*self.table.columns, "emerges"], rows, self.table.title).html()


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
        sets: prompts of the classes to probe.
        layers: which; all layers, if left out.
        threshold: the least held-out accuracy of a property that emerges, in place of the declared one.
        full: whether to run untrained and lesioned models and shuffle labels; without them there is no emergence.
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
    for probe_set in sets:
        progress(probe_set.name)
        dataset = ProbeDataset(probe_set.texts, probe_set.labels, probe_set.groups)
        models = control_models(subject) if full else None
        inputs = layer_inputs(subject, models, dataset, wanted, "classification", store)
        scan = Scan(inputs, seed=seed, draws=draws, keep_blocks=True)
        by_set[probe_set.name] = judged_probes(scan, claim if full else None)
    judged = _among_all(by_set, claim) if full else {name: (layers, None) for name, layers in by_set.items()}
    probed = {}
    for probe_set in sets:
        probes, q = judged[probe_set.name]
        probed[probe_set.name] = SetProbes(
            probe_set.name,
            probe_set.category,
            tuple(probe_set.classes),
            probes,
            q,
            first_supported_layer(probes),
        )
    return Stratigraphy(subject.name, subject.num_layers, claim.threshold, probed, full)


def _among_all(
    by_set: Mapping[str, Mapping[int, LayerProbe]], claim: Claim
) -> dict[str, tuple[dict[int, LayerProbe], float]]:
    """By set, its layers with their verdicts among all layers of all sets, and the least q of them."""
    tests = {
        f"{layer} {name}": (claim, probe.measurement)
        for name, layers in by_set.items()
        for layer, probe in layers.items()
    }
    verdicts, q = judge_together(tests), q_values(tests)
    return {
        name: (
            {layer: replace(probe, verdict=verdicts[f"{layer} {name}"]) for layer, probe in layers.items()},
            min(q[f"{layer} {name}"] for layer in layers),
        )
        for name, layers in by_set.items()
    }
