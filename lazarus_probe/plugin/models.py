"""Which models a run is about, and the parametrisation of tests over them and over their layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from _pytest.python import _ascii_escaped_by_config

from lazarus_probe.files.paths import user_path

DEFAULT_MODEL = "organism"
DEFAULT_BASES = {"organism": "organism-early", "organism-rlvf": "organism-early"}
OWN = "lazarus_probe.plugin.fixtures"
WITH = " with adapter "

Definitions = Mapping[str, Sequence[pytest.FixtureDef[Any]]]


def models(config: pytest.Config) -> list[str]:
    """The requested models, each once, in order; with `--probe-adapter`, each with that adapter on."""
    names = list(dict.fromkeys(asked_for(config) or [DEFAULT_MODEL]))
    adapter = config.getoption("probe_adapter")
    if adapter is None:
        return names
    folder = config.invocation_params.dir / user_path(adapter)  # whatever a test changes to
    return [f"{name}{WITH}{folder}" for name in names]


def parts(name: str) -> tuple[str, str | None]:
    """A requested model as what `Subject.load` takes: its name, and the folder of its adapter if it has one."""
    model, _, adapter = name.partition(WITH)
    return model, adapter or None


def asked_for(config: pytest.Config) -> list[str]:
    """What `--probe-model` was given, or a repository's own alias of it."""
    return config.getoption("probe_model") or []


def bases_of(config: pytest.Config, name: str) -> list[str]:
    """What a model may have been tuned from: those of `--probe-base`, else what is known of it.

    A model with an adapter was tuned from the model without; some bundled models from others.
    """
    default = [DEFAULT_BASES[name]] if name in DEFAULT_BASES else []
    adapted = [parts(model)[0] for model in models(config) if parts(model)[1] and label(model) == name]
    return config.getoption("probe_base") or adapted or default


def label(name: str) -> str:
    """What reports call a model that was requested, with its adapter and the seed of an untrained one."""
    from lazarus_probe.adapters import adapter_files
    from lazarus_probe.checkpoints.names import label_of, untrained_name

    name, adapter = parts(name)
    if adapter:
        return adapter_files.label(label(name), adapter)
    if untrained := untrained_name(name):
        return f"{untrained[0]}-untrained-{untrained[1]}" if untrained[1] else f"{untrained[0]}-untrained"
    return label_of(name)


def identifier(config: pytest.Config, name: str) -> str:
    """A model's label as it stands in the id of a test: pytest spells out what is no ASCII."""
    return _ascii_escaped_by_config(label(name), config)


def problem_with(config: pytest.Config) -> str | None:
    """Why the requested models cannot be tested, in one line; weights are looked at, not loaded."""
    labels: dict[str, str] = {}
    for base in config.getoption("probe_base") or []:
        if wrong := _problem(base):
            return f"--probe-base {base}: {wrong}"
    if wrong := _problem_with_adapter(config):
        return wrong
    for name in models(config):
        if wrong := _problem(parts(name)[0]):
            return f"--probe-model {parts(name)[0]}: {wrong}"
        first_name = labels.setdefault(label(name), name)
        if first_name != name:
            return f"--probe-model: {first_name} and {name} would both be called {label(name)!r}; rename one folder"
    return None


def _problem_with_adapter(config: pytest.Config) -> str | None:
    from lazarus_probe.adapters.adapter_files import check_adapter
    from lazarus_probe.checkpoints.errors import LoadError
    from lazarus_probe.checkpoints.names import untrained_name

    for name, adapter in map(parts, models(config)):
        if adapter is None:
            return None
        option = f"--probe-adapter {config.getoption('probe_adapter')}"
        if untrained_name(name):
            return f"{option}: {name} takes no adapter, which was trained on other weights"
        try:
            check_adapter(adapter)
        except LoadError as error:
            return f"{option}: {' '.join(str(error).split())}"
    return None


def _problem(name: str) -> str | None:
    from lazarus_probe.checkpoints.check import check_files, check_gguf
    from lazarus_probe.checkpoints.errors import LoadError
    from lazarus_probe.checkpoints.names import find, is_path, read_config, untrained_name
    from lazarus_probe.organisms import bundled

    untrained = untrained_name(name)
    base = untrained[0] if untrained else name
    try:
        folder = find(base, files=["config.json"])
        if folder.is_file():
            check_gguf(folder)
            return None
        read_config(folder)
        if base in bundled.names() or is_path(base):
            check_files(folder)  # from the Hub only config.json is here yet
    except LoadError as error:
        return " ".join(str(error).split())
    return None


@pytest.hookimpl(tryfirst=True)  # so that the model comes first in a test's id
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that asks for `subject` once a model, and for `layer` once a layer of that model.

    A `subject` or `layer` that the tests define or parametrise themselves is left to them.
    """
    fixtures, marked = metafunc._arg2fixturedefs, set(_marked(metafunc))
    if "subject" in marked or not _is_ours(fixtures):
        return
    names = models(metafunc.config)
    if "layer" not in metafunc.fixturenames or "layer" in fixtures or "layer" in marked:
        ids = [label(name) for name in names]
        metafunc.parametrize("subject", names, indirect=True, ids=ids, scope="session")
        return
    pairs = [(name, layer) for name in names for layer in range(_num_layers(name))]
    ids = [f"{label(name)}-L{layer}" for name, layer in pairs]
    metafunc.parametrize(("subject", "layer"), pairs, indirect=["subject"], ids=ids, scope="session")


def uses_models(item: pytest.Item) -> bool:
    """Whether a test runs once a model of the run."""
    info, callspec = getattr(item, "_fixtureinfo", None), getattr(item, "callspec", None)
    return (
        info is not None and "subject" in getattr(callspec, "params", {}) and _is_ours(info.name2fixturedefs)
    )


def parameters(item: pytest.Item) -> str:
    """A test's parameters without the model, as in `task-embed` or `L5`: the same for every model and repetition."""
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return ""
    text = f"-{callspec.id}-"
    if uses_models(item):
        text = text.replace(f"-{identifier(item.config, callspec.params['subject'])}-", "-", 1)
    if step := _repeated(item):
        before, _, after = text.rpartition(f"-{step}-")
        text = f"{before}-{after}"
    return text[1:-1]


def _repeated(item: Any) -> str:
    """What pytest-repeat adds to a test's parameters, as in `2-3` for the second of three times; else nothing."""
    step = item.callspec.params.get("__pytest_repeat_step_number")
    if step is None:
        return ""
    marker = item.get_closest_marker("repeat")
    return f"{step + 1}-{int(marker.args[0]) if marker else item.config.option.count}"


def _is_ours(definitions: Definitions) -> bool:
    """Whether `subject` is the plugin's fixture, or one that overrides it and asks for it."""
    for definition in reversed(definitions.get("subject", ())):
        if definition.func.__module__ == OWN:
            return True
        if "subject" not in definition.argnames:
            return False
    return False


def _marked(metafunc: pytest.Metafunc) -> Iterable[str]:
    """The arguments that the test's own `parametrize` marks give."""
    for mark in metafunc.definition.iter_markers("parametrize"):
        names = mark.args[0] if mark.args else mark.kwargs["argnames"]
        yield from (name.strip() for name in (names.split(",") if isinstance(names, str) else names))


def _num_layers(name: str) -> int:
    from lazarus_probe.checkpoints.errors import LoadError
    from lazarus_probe.checkpoints.names import num_layers_of

    try:
        return num_layers_of(parts(name)[0])
    except LoadError:
        return 1  # the model is refused, in one line, as soon as collection is done
