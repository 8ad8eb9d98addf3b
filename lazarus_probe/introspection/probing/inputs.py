"""The inputs of a probe: prompts with labels, and the activations and other features that predict the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.sites import Site, resid_post
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.probing.leaks import check_leaks
from lazarus_probe.statistics.bounded import Units, take_units
from lazarus_probe.statistics.controls import bag_of_tokens
from lazarus_probe.statistics.folds import Kind, check_split
from lazarus_probe.statistics.probes.held_out import Problem
from lazarus_probe.statistics.rows import LABEL, NAME, numbers, present
from lazarus_probe.subject.batches import Prompt, encode_all
from lazarus_probe.subject.control_models import ControlModel, ControlModels, faced
from lazarus_probe.subject.relative_depth import EMBED
from lazarus_probe.subject.spans import Span

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject
    from lazarus_probe.tasks.prompts import Question

# Most bytes of the residual streams of all layers that are collected in one pass, for later calls.
TOGETHER = 2**26
OF_ROWS = ("labels", "groups", "clusters", "types", "facts")


@dataclass(frozen=True)
class ProbeDataset:
    """Prompts with labels.

    Attributes:
        prompts: (N,) texts, or token ids.
        labels: (N,) classes, or numbers for a regression.
        groups: (N,) prompts that a split keeps together: template, operand family, token.
        clusters: (N,) the independent units of intervals; the groups by default. Or several kinds of units by name, as
            in `{"phrasing": ..., "family": ...}`: intervals then generalise over all of them.
        at: what is read, as in `collect`: a position; a span of tokens (`subject.span`), as its mean; or as many
            positions of each prompt, one after the other.
        facts: (N,) the content of each prompt, such as its sorted operands; one fact in two groups is an error.
        types: (N,) what a probe could memorise, for the control task. By default the tokens at the position, counted
            back from the one read, that predict the labels of other groups best, if they could explain half of the
            score.

    Example:
        >>> from itertools import combinations
        >>> from lazarus_probe import ProbeDataset
        >>> operands = list(combinations(range(2, 7), 2))
        >>> dataset = ProbeDataset(
        ...     prompts=[f"{a}{sign}{b}=" for a, b in operands for sign in "*+"],
        ...     labels=["multiply", "add"] * len(operands),
        ...     groups=[f"{a},{b}" for a, b in operands for _ in "*+"],  # 2*3 and 2+3 stay together in a split
        ... )
        >>> len(dataset.prompts), len(set(dataset.groups.tolist()))
        (20, 10)
    """

    prompts: Sequence[Prompt]
    labels: Any
    groups: Any
    clusters: Any = None
    at: Any = "last"
    types: Any = None
    facts: Any = None

    def __post_init__(self) -> None:
        """Refuse missing values."""
        for name in OF_ROWS:
            values = getattr(self, name)
            if isinstance(values, Mapping):
                of_kind = {kind: present(units, f"{name}[{kind!r}]", NAME) for kind, units in values.items()}
                object.__setattr__(self, name, of_kind)
            elif values is not None:
                right = LABEL if name == "labels" else NAME
                object.__setattr__(self, name, present(values, name, right))

    @property
    def units(self) -> Units:
        """The clusters, or by default the groups."""
        units: Units = self.groups if self.clusters is None else self.clusters
        return units

    @property
    def half_units(self) -> NDArray[Any]:
        """(N,) units that two halves of the prompts do not share; the groups where there are several kinds of units."""
        units: NDArray[Any] = np.asarray(self.groups if isinstance(self.clusters, Mapping) else self.units)
        return units

    def take(self, rows: NDArray[Any]) -> ProbeDataset:
        """A subset of the prompts, by row number."""
        columns: dict[str, Any] = {
            name: None if getattr(self, name) is None else take_units(getattr(self, name), rows)
            for name in OF_ROWS
        }
        at = self.at if isinstance(self.at, str | int | np.integer) else [self.at[row] for row in rows]
        return replace(self, prompts=[self.prompts[row] for row in rows], at=at, **columns)


def by_phrasing(questions: Sequence[Question], at: Any = "last") -> ProbeDataset:
    """Questions labelled by operation, in held-out phrasings; phrasings and operand families are independent units."""
    phrasings, families = (
        [getattr(question, name) for question in questions] for name in ("phrasing", "family")
    )
    return ProbeDataset(
        [question.text for question in questions],
        [question.fact.operation for question in questions],
        groups=phrasings,
        clusters={"phrasing": phrasings, "family": families},
        at=at,
    )


@dataclass(frozen=True)
class ProbeInputs:
    """The features of a probe at one site, and those of its controls.

    Attributes:
        dataset: the N prompts and labels.
        tokens: (N, any) token ids.
        texts: (N,) the prompts as text.
        features: (N, D) activations at the site.
        control_features: features (N, any) by control.
        embeddings: token embeddings in several forms, each (N, any); the best is the control.
        models: (N, D) activations at the site, by kind of control model, of at least three models each.
    """

    dataset: ProbeDataset
    tokens: Sequence[Sequence[int]]
    texts: Sequence[str]
    features: NDArray[Any]
    control_features: Mapping[str, NDArray[Any]]
    embeddings: Sequence[NDArray[Any]] = ()
    models: Mapping[str, Sequence[NDArray[Any]]] = field(default_factory=dict)

    def take(self, rows: NDArray[Any]) -> ProbeInputs:
        """A subset of the prompts, by row number."""
        return ProbeInputs(
            self.dataset.take(rows),
            [self.tokens[row] for row in rows],
            [self.texts[row] for row in rows],
            self.features[rows],
            {name: values[rows] for name, values in self.control_features.items()},
            [values[rows] for values in self.embeddings],
            {kind: [values[rows] for values in models] for kind, models in self.models.items()},
        )

    def problem(self, features: NDArray[Any], kind: Kind, seed: int) -> Problem:
        """The prediction of the labels from these features."""
        return Problem.of(features, self.dataset.labels, self.dataset.groups, kind, seed)


def probe_inputs(
    subject: Subject,
    untrained: ControlModels | None,
    dataset: ProbeDataset,
    sites: Sequence[Site],
    kind: Kind,
    store: ActivationStore,
    control_features: Mapping[str, NDArray[Any]] | None = None,
    *,
    ahead: bool = False,
    also: Sequence[Site] = (),
    with_models: bool = True,
) -> dict[Site, ProbeInputs]:
    """Collect the inputs of the probes at several sites, in one pass over each model.

    Above the embedding the controls include as many lesioned models of each kind as untrained ones, and the token
    embeddings; at the embedding they do not, as lesioned models share it.

    Args:
        subject: the model.
        untrained: at least three untrained models of its architecture; None for no control models.
        dataset: N prompts, labels and groups.
        sites: where to read.
        kind: whether the labels are classes or numbers.
        store: caches activations.
        control_features: features (N, any) of further controls, by name.
        ahead: collect all layers of small datasets at once, for later calls with the same store.
        also: collect these sites in the same passes, for later calls with the same store.
        with_models: run the control models; else only what needs no other model is collected.

    Raises:
        ValueError: as `probe`.
    """
    if not len(dataset.prompts):
        raise ValueError("no prompts to probe; give at least two groups of them")
    check_split(dataset.labels, dataset.groups, kind)
    control_models = {} if untrained is None else faced(subject, untrained)
    if kind == "regression":
        dataset = replace(dataset, labels=numbers(dataset.labels, "labels"))
    tokens = encode_all(subject, dataset.prompts)
    texts = [_text(subject, prompt) for prompt in dataset.prompts]
    check_leaks(dataset.prompts, texts, dataset.groups, dataset.facts)
    embed = Site("embed")
    above = [site for site in sites if site != embed]
    with_embeddings = untrained is not None and bool(above)
    collected = partial(_collected, store, tokens=tokens, at=dataset.at, ahead=ahead, also=also)
    inside = collected(subject, list(dict.fromkeys([*sites, embed])) if with_embeddings else sites)
    by_model = model_features(
        control_models if with_models else {}, tokens, dataset.at, sites, store, ahead=ahead, also=also
    )
    embeddings = embedding_features(subject, _until(tokens, dataset.at), store) if with_embeddings else ()
    of_controls = {"bag_of_tokens": bag_of_tokens(tokens), **(control_features or {})}
    return {
        site: ProbeInputs(
            dataset,
            tokens,
            texts,
            inside[site],
            of_controls,
            (inside[embed], *embeddings) if with_embeddings and site != embed else (),
            by_model[site],
        )
        for site in sites
    }


def model_features(
    models: Mapping[str, Sequence[ControlModel | Subject]],
    tokens: Sequence[Sequence[int]],
    at: Any,
    sites: Sequence[Site],
    store: ActivationStore,
    *,
    ahead: bool = False,
    also: Sequence[Site] = (),
) -> dict[Site, dict[str, list[NDArray[Any]]]]:
    """Features (N, D) at each site in the control models of each kind, in one pass over each model.

    Lesioned models have the subject's embeddings, so of the embedding there are those of untrained models alone.

    Args:
        models: by kind, as `faced` gives them.
        tokens: (N, any) token ids.
        at: the positions that are read, as in `collect`.
        sites: where to read.
        store: caches activations.
        ahead: as in `probe_inputs`.
        also: as in `probe_inputs`.
    """
    features: dict[Site, dict[str, list[NDArray[Any]]]] = {site: {} for site in sites}
    requests: list[tuple[ControlModel | Subject, Sequence[Site]]] = []
    by_request: list[tuple[str, Sequence[Site]]] = []
    for kind, of_kind in models.items():
        if read := [site for site in sites if kind == "untrained" or site != Site("embed")]:
            requests += [(model, _with_further(model, read, len(tokens), ahead, also)) for model in of_kind]
            by_request += [(kind, read)] * len(of_kind)
    for (kind, to_read), values in zip(by_request, store.get_of_models(requests, tokens, at), strict=True):
        for site in to_read:
            features[site].setdefault(kind, []).append(values[site].reshape(len(tokens), -1))
    return features


def layer_inputs(
    subject: Subject,
    untrained: ControlModels | None,
    dataset: ProbeDataset,
    layers: Sequence[int],
    kind: Kind,
    store: ActivationStore,
    control_features: Mapping[str, NDArray[Any]] | None = None,
) -> dict[int, ProbeInputs]:
    """`probe_inputs` of the residual stream, by layer; -1 is the embedding."""
    sites = {layer: site_of(layer) for layer in layers}
    by_site = probe_inputs(subject, untrained, dataset, list(sites.values()), kind, store, control_features)
    return {layer: by_site[site] for layer, site in sites.items()}


def site_of(layer: int) -> Site:
    """The residual stream after a layer; for -1 the embedding."""
    return Site("embed") if layer == EMBED else resid_post(layer)


def embedding_features(
    subject: Subject, tokens: Sequence[Sequence[int]], store: ActivationStore
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The token embeddings of each prompt: their mean (N, D), and concatenated (N, any).

    Concatenated embeddings are aligned at the prompts' ends and padded in front with zeros; positions with the same
    token in all prompts are left out. The token at the position that is read may be the same in all prompts and say
    nothing, while layers attend to every position before it: so the control reads those as well.

    Args:
        subject: the model.
        tokens: (N, any) token ids up to the position that is read.
        store: caches the embeddings.
    """
    counts, vocabulary = bag_of_tokens(tokens), np.unique(np.concatenate([np.asarray(ids) for ids in tokens]))
    embed = Site("embed")
    table = store.get(subject, [[int(token)] for token in vocabulary], [embed])[embed]
    table = table.reshape(len(vocabulary), -1)
    mean = (counts / counts.sum(axis=1, keepdims=True)) @ table
    longest = max(map(len, tokens))
    by_position = []
    for back in range(1, longest + 1):
        rows = np.array(
            [np.searchsorted(vocabulary, ids[-back]) if len(ids) >= back else -1 for ids in tokens]
        )
        if len(np.unique(rows)) > 1:
            by_position.append(np.where(rows[:, None] < 0, np.float32(0), table[rows]))
    return mean.astype(np.float32), np.concatenate(by_position or [mean], axis=1).astype(np.float32)


def last_read(at: Any, count: int) -> list[int]:
    """The last position of each of `count` prompts that is read."""
    if isinstance(at, str):
        return [-1] * count
    places = [at] * count if isinstance(at, int | np.integer) else at
    return [place.last if isinstance(place, Span) else int(np.max(place)) for place in places]


def _until(tokens: Sequence[Sequence[int]], at: Any) -> list[Sequence[int]]:
    """The tokens of each prompt up to the last position that is read."""
    positions = last_read(at, len(tokens))
    return [ids[: position % len(ids) + 1] for ids, position in zip(tokens, positions, strict=True)]


def _text(subject: Subject, prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return prompt
    return " ".join(map(str, prompt)) if subject.tokenizer is None else subject.decode(prompt)


def _collected(
    store: ActivationStore,
    model: ControlModel | Subject,
    sites: Sequence[Site],
    tokens: Sequence[Prompt],
    at: Any,
    ahead: bool,
    also: Sequence[Site] = (),
) -> dict[Site, NDArray[Any]]:
    """Each site's values (N, D)."""
    values = store.get(model, tokens, _with_further(model, sites, len(tokens), ahead, also), at=at)
    return {site: values[site].reshape(len(tokens), -1) for site in sites}


def _with_further(
    model: ControlModel | Subject, sites: Sequence[Site], count: int, ahead: bool, also: Sequence[Site]
) -> list[Site]:
    """Sites with those that are collected in the same pass of so many prompts."""
    origin = model.origin if isinstance(model, ControlModel) else model
    collected, layers = list(dict.fromkeys([*sites, *also])), range(origin.num_layers)
    size = count * origin.anatomy.hidden_size * 4 * len(layers)
    if ahead and size <= TOGETHER and any(site.kind == "resid_post" for site in sites):
        collected = list(dict.fromkeys([*collected, Site("embed"), *map(resid_post, layers)]))
    return collected
