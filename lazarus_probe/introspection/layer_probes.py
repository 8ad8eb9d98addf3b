"""Probes at several layers and positions of the same prompts, from one run of the model over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks import ActivationStore, Site, hooked, resid_post
from lazarus_probe.introspection.probe import measure
from lazarus_probe.introspection.readings import Labelled, Readings
from lazarus_probe.statistics import Kind, bag_of_tokens
from lazarus_probe.statistics.folds import check_split
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.threads import one_thread
from lazarus_probe.subject.batches import Prompt, by_length, encode_all
from lazarus_probe.subject.generate import forward

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

# The embedding's place among layers, as in `emergence`.
EMBED = -1


def site_of(place: int) -> Site:
    """The residual stream after a layer, or for -1 the embedding."""
    return Site("embed") if place == EMBED else resid_post(place)


def probes(
    subject: Subject,
    twin: Subject,
    labelled: Labelled,
    places: Sequence[int],
    kind: Kind = "classification",
    *,
    known: Mapping[str, NDArray[Any]] | None = None,
    store: ActivationStore | None = None,
    seed: int = 0,
    step: Callable[[int], None] = lambda _: None,
) -> dict[int, Measurement]:
    """What `decode` measures at each of some places, with further controls if there are.

    Args:
        subject: the model.
        twin: an untrained model of the same architecture.
        labelled: N prompts, labels and groups.
        places: layers, and -1 for the embedding.
        kind: `classification` scores accuracy, `regression` R2 against the mean of the training side.
        known: by the name of a control, features (N, any) that the same probe is given instead.
        store: activations shared with other analyses.
        seed: of folds, shuffles and intervals.
        step: called with 1 after each place.

    Raises:
        ValueError: as `decode`.
    """
    store, tokens = ActivationStore() if store is None else store, encode_all(subject, labelled.prompts)
    check_split(labelled.labels, labelled.groups, kind)
    sites = [site_of(place) for place in dict.fromkeys([*places, EMBED])]
    inside, untrained = (store.get(model, tokens, sites, at=labelled.at) for model in (subject, twin))
    found = {}
    with one_thread():
        for place in places:
            readings = readings_at(place, labelled, tokens, inside, untrained, known or {})
            found[place] = measure(readings, kind, seed, {"site": str(site_of(place))})
            step(1)
    return found


def readings_at(
    place: int,
    labelled: Labelled,
    tokens: Sequence[Sequence[int]],
    inside: Mapping[Site, NDArray[Any]],
    untrained: Mapping[Site, NDArray[Any]],
    known: Mapping[str, NDArray[Any]],
) -> Readings:
    """What a probe at a place is given, with the controls of `decode` and further ones.

    Args:
        place: a layer, or -1 for the embedding.
        labelled: N texts, labels and groups.
        tokens: (N, any) token ids of the texts.
        inside: by site, (N, D) of the model: the place's and the embedding.
        untrained: the same of an untrained model.
        known: by the name of a further control, features (N, any).
    """
    site, embed = site_of(place), site_of(EMBED)
    controls = {"bag_of_tokens": bag_of_tokens(tokens), "untrained": untrained[site]}
    controls |= {} if site == embed else {"token_embeddings": inside[embed]}
    texts = [str(text) for text in labelled.prompts]
    return Readings(labelled, tokens, texts, inside[site], {**controls, **known})


def collect_at(
    subject: Subject,
    prompts: Sequence[Prompt],
    sites: Sequence[Site],
    positions: Mapping[str, Sequence[int]],
) -> dict[str, dict[Site, NDArray[np.float32]]]:
    """Values at several positions of each prompt, by the position's name and by site, from one run.

    Args:
        subject: the model.
        prompts: N texts, or token ids.
        sites: residual streams or the embedding.
        positions: by name, one position of each prompt, from its start.

    Returns:
        By name and site, an array (N, D) in float32.

    Raises:
        ValueError: no prompts.
        IndexError: a layer that does not exist.
    """
    width = subject.anatomy.hidden_size
    found = {
        name: {site: np.empty((len(prompts), width), np.float32) for site in sites} for name in positions
    }
    for rows, tokens in by_length(encode_all(subject, prompts)):
        with hooked(subject, sites) as captures:
            forward(subject.model, tokens)
        each, at = (
            mx.arange(len(rows)),
            {name: mx.array([places[row] for row in rows]) for name, places in positions.items()},
        )
        for site in sites:
            values = captures[site].astype(mx.float32)
            for name, places in at.items():
                found[name][site][rows] = np.array(values[each, places])
    return found
