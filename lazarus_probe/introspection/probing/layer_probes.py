"""Probes at several layers of the same prompts, from one run of each model over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lazarus_probe.hooks import ActivationStore
from lazarus_probe.introspection.probing.inputs import ProbeDataset, read
from lazarus_probe.introspection.probing.probe import measure
from lazarus_probe.sites import Site, resid_post
from lazarus_probe.statistics import Kind
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.threads import one_thread
from lazarus_probe.subject.relative_depth import EMBED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lazarus_probe.subject.control_models import ControlModels
    from lazarus_probe.subject.subject import Subject

# The embedding's place among layers, as in `emergence`.


def site_of(place: int) -> Site:
    """The residual stream after a layer, or for -1 the embedding."""
    return Site("embed") if place == EMBED else resid_post(place)


def probes(
    subject: Subject,
    untrained: ControlModels,
    labelled: ProbeDataset,
    places: Sequence[int],
    kind: Kind = "classification",
    *,
    known: Mapping[str, NDArray[Any]] | None = None,
    store: ActivationStore | None = None,
    seed: int = 0,
    step: Callable[[int], None] = lambda _: None,
) -> dict[int, Measurement]:
    """What `probe` measures at each of some places, with further controls if there are.

    Args:
        subject: the model.
        untrained: at least three untrained models of its architecture, as for `probe`.
        labelled: N prompts, labels and groups.
        places: layers, and -1 for the embedding.
        kind: `classification` scores accuracy, `regression` capped R2 against the mean of the training side.
        known: by the name of a control, features (N, any) that the same probe is given instead.
        store: activations shared with other analyses.
        seed: of folds, shuffles and intervals.
        step: called with 1 after each place.

    Raises:
        ValueError: as `probe`.
    """
    sites = {place: site_of(place) for place in places}
    by_site = read(
        subject, untrained, labelled, list(sites.values()), kind, store or ActivationStore(), known
    )
    found = {}
    with one_thread():
        for place, site in sites.items():
            found[place] = measure(by_site[site], kind, seed, {"site": str(site)})
            step(1)
    return found
