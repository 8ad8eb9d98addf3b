"""What a claim's test may ask for."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import pytest

from lazarus_probe.plugin.collection import EVIDENCE, claim_of, is_worker, refuse_on_worker
from lazarus_probe.plugin.models import bases_of, parts
from lazarus_probe.plugin.pooled import seed_of
from lazarus_probe.plugin.seeds import seeds_of
from lazarus_probe.plugin.settings import activations_folder

if TYPE_CHECKING:
    import numpy as np

    from lazarus_probe.asking.ability import Ability, Completions
    from lazarus_probe.asking.exams import Exam
    from lazarus_probe.claims.evidence import Evidence
    from lazarus_probe.hooks.store import ActivationStore
    from lazarus_probe.hooks.trace import Trace
    from lazarus_probe.subject.control_models import ControlModel
    from lazarus_probe.subject.subject import Subject

# Bytes of activations kept in a folder that was given, and in pytest's cache.
DISK, CACHED = 10 * 2**30, 2**30
BASES: pytest.StashKey[dict[str, Subject | str]] = pytest.StashKey()
TWINS: pytest.StashKey[dict[tuple[str, int], Subject]] = pytest.StashKey()


@pytest.fixture(scope="session")
def subject(request: pytest.FixtureRequest) -> Subject:
    """The model under study, once a model of `--probe-model`.

    What is wrong with its files was found at collection; where the model itself cannot be studied, the
    run ends with one line and the exit code of an error of usage.
    """
    loaded = _load(request.param)
    if isinstance(loaded, str):
        _end(request.config, loaded)
    return loaded


def _load(name: str, option: str = "--probe-model") -> Subject | str:
    """The model, or the one line that says why there is none."""
    try:
        from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
        from lazarus_probe.checkpoints.differences import CheckpointWarning
        from lazarus_probe.checkpoints.errors import LoadError
        from lazarus_probe.subject.subject import Subject
    except OSError as error:  # the BLAS that the environment names
        return str(error)
    try:
        with warnings.catch_warnings():
            # Notes on a checkpoint are warnings, and end no test of a project where warnings are errors.
            warnings.simplefilter("default", CheckpointWarning)
            return Subject.load(*parts(name))
    except (LoadError, UnsupportedArchitecture) as error:
        return f"{option} {name}: {error}"


def _end(config: pytest.Config, problem: str) -> NoReturn:
    line = " ".join(problem.split())
    if not is_worker(config):
        pytest.exit(line, returncode=pytest.ExitCode.USAGE_ERROR)
    refuse_on_worker(config, line)
    pytest.fail(line, pytrace=False)


def _once_a_seed(fixture_name: str, config: pytest.Config) -> Literal["session", "function"]:  # noqa: ARG001 - given by pytest
    """The scope of what belongs to the seed: with several, a test has one after the other."""
    return "session" if len(seeds_of(config)) == 1 else "function"


@pytest.fixture(scope=_once_a_seed)
def twin(subject: Subject, request: pytest.FixtureRequest) -> Subject:
    """An untrained model of the subject's architecture: what it shows too is no finding."""
    seed = 1 + seed_of(request.node)
    twins = request.config.stash.setdefault(TWINS, {})
    if (subject.fingerprint, seed) not in twins:
        for other in [key for key in twins if key[0] != subject.fingerprint]:
            del twins[other]  # of the model before this one
        twins[subject.fingerprint, seed] = subject.untrained(seed=seed)
    return twins[subject.fingerprint, seed]


@pytest.fixture(scope="session")
def untrained_models(subject: Subject) -> tuple[ControlModel, ...]:
    """Five untrained models of the subject's architecture, for what is to hold for one more such model.

    They are the same in every run, whatever `--probe-seed`, so that runs share what was computed of them.
    """
    from lazarus_probe.subject.control_models import control_models

    return control_models(subject)


@pytest.fixture
def base(evidence: Evidence, subject: Subject, request: pytest.FixtureRequest) -> Subject:
    """The model that the subject was tuned from; without one the claim is not applicable, and says how to give it.

    The report names it, with its fingerprint, among what the claim rests on.
    """
    candidates = [_loaded_once(request.config, name) for name in bases_of(request.config, subject.name)]
    unfit = [_no_pair(candidate, subject) for candidate in candidates]
    fits = [candidate for candidate, reason in zip(candidates, unfit, strict=True) if reason is None]
    why = "; ".join(filter(None, unfit)) or "give the model it was tuned from with --probe-base MODEL"
    named = f"tuned from {fits[0].name} (fingerprint {fits[0].fingerprint[:12]})" if fits else ""
    evidence.require(bool(fits), named or f"it needs a tuned pair: {why}")
    return fits[0]


def _loaded_once(config: pytest.Config, name: str) -> Subject:
    loaded = config.stash.setdefault(BASES, {})
    if name not in loaded:
        loaded[name] = _load(name, "--probe-base")
    base = loaded[name]
    if isinstance(base, str):
        _end(config, base)
    return base


def _no_pair(base: Subject, subject: Subject) -> str | None:
    """Why two models are no tuned pair."""
    if base.fingerprint == subject.fingerprint:
        return f"{base.name} of --probe-base is the model itself"
    kinds = [
        (model.config.get("model_type"), model.num_layers, model.anatomy.hidden_size)
        for model in (base, subject)
    ]
    if kinds[0] != kinds[1]:
        (of_base, layers, width), (ours, *_) = kinds
        shapes = f"{layers} layers of width {width}" if of_base == ours else f"{of_base}, this one {ours}"
        return f"{base.name} of --probe-base is another architecture ({shapes})"
    return None


@pytest.fixture(scope="session")
def activations(pytestconfig: pytest.Config) -> ActivationStore:
    """What all claims of the run compute: those that ask for the same prompts and sites share one pass.

    Later runs find it in pytest's cache, where no other folder is given.
    """
    folder = activations_folder(pytestconfig)
    store = _store(folder, DISK) if folder else _store(_cache_folder(pytestconfig), CACHED)
    if isinstance(store, str):
        _end(pytestconfig, store)
    return store


def _cache_folder(config: pytest.Config) -> Path | None:
    """A folder of pytest's cache; none where that is switched off."""
    cache = getattr(config, "cache", None)
    return None if cache is None else Path(cache.mkdir("lazarus_probe-activations"))


def _store(folder: Path | None, disk: int) -> ActivationStore | str:
    """The store, or the one line that says why there is none."""
    try:
        from lazarus_probe.hooks.store import ActivationStore
    except OSError as error:  # the BLAS that the environment names
        return str(error)
    try:
        return ActivationStore(folder=folder, disk=disk)
    except OSError as error:
        return f"--probe-activations {error}"


@pytest.fixture(scope="session")
def completions() -> Completions:
    """What models answered in this session: claims that ask the same prompts in the same form share it."""
    from lazarus_probe.asking.ability import Completions

    return Completions()


@pytest.fixture
def ability(subject: Subject, evidence: Evidence, completions: Completions) -> Callable[..., Ability]:
    """`ability(exam, what)`: what the model answers of an exam, in the form (and of several wordings) it answers best.

    The claim is not applicable to a model that answers less than its parameter `answered`, or `needed`, in every form.
    """
    from lazarus_probe.asking.ability import ability

    def asking(exam: Exam | Sequence[Exam], what: str, needed: float | None = None) -> Ability:
        declared = evidence.claim.parameters
        if needed is None and "answered" not in declared:
            raise ValueError(
                f"claim {evidence.claim.id!r} declares no `answered` among its parameters: declare the share that the "
                "model must answer there, or give it as needed="
            )
        least = float(str(declared["answered"])) if needed is None else needed
        answers = ability(subject, exam, least, completions)
        evidence.require(answers.reached, f"{answers.says(what)}; {least:.2f} needed")
        return answers

    return asking


@pytest.fixture
def hooks(subject: Subject) -> Callable[..., Trace]:
    """`trace` on the subject: `hooks(prompts, capture=[...], interventions=[...])`."""
    from lazarus_probe.hooks.trace import trace

    return partial(trace, subject)


@pytest.fixture
def lora(subject: Subject) -> Callable[..., AbstractContextManager[Any]]:
    """LoRA on the subject that leaves no trace: called as `lora.attached` without the subject, in a `with`."""
    from lazarus_probe.training.lora.lora import attached

    return partial(attached, subject)


@pytest.fixture
def evidence(request: pytest.FixtureRequest, subject: Subject) -> Evidence:
    """Where a claim's test hands in its measurement; needs the `claim` marker."""
    from lazarus_probe.claims.evidence import Evidence
    from lazarus_probe.claims.expectations import family_of
    from lazarus_probe.claims.record import ModelRecord
    from lazarus_probe.plugin.baselines import baselines

    claim = claim_of(request.node)
    baselines(request.config).of(subject.name)  # a damaged one is found before the work, not after
    seed, pooled = derived_seed(claim.id, seed_of(request.node)), len(seeds_of(request.config)) > 1
    if request.config.getoption("probe_scores_only"):
        claim = claim.of_scores_only()
    evidence = Evidence(claim, seed, pooled=pooled)
    if request.config.getoption("probe_anytime"):
        evidence.anytime = True
        evidence.family_size = sum(family_of(claim, request.node.path, subject.num_layers).values())
    model = ModelRecord(
        name=subject.name, fingerprint=subject.fingerprint, num_layers=subject.num_layers, dtype=subject.dtype
    )
    request.node.stash[EVIDENCE] = (evidence, model)
    return evidence


@pytest.fixture
def probe_seed(request: pytest.FixtureRequest) -> int:
    """The seed of `--probe-seed`, or the one of `--probe-seeds` that the test runs with now.

    It is for what several claims share, as training runs; what belongs to one claim takes `evidence.seed`.
    """
    return seed_of(request.node)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator seeded by the claim's id (or the test's name) and the run's seed."""
    import numpy as np

    marked = request.node.get_closest_marker("claim")
    name = claim_of(request.node).id if marked else request.node.name
    return np.random.default_rng(derived_seed(name, seed_of(request.node)))


@pytest.fixture
def family_rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator seeded by the claim's family and the run's seed.

    Claims of a family that draw the same prompts from it share their activations, and differ by where they look alone.
    """
    import numpy as np

    return np.random.default_rng(derived_seed(claim_of(request.node).family, seed_of(request.node)))


def derived_seed(name: str, seed: int) -> int:
    """A seed of its own for each claim, the same in every run."""
    return int.from_bytes(hashlib.sha256(f"{name} {seed}".encode()).digest()[:4], "big")
