"""Options, the claim marker and the header line."""

from __future__ import annotations

import pytest

from lazarus_probe.plain import without_halves
from lazarus_probe.plugin.models import DEFAULT_MODEL, asked_for, label, models
from lazarus_probe.plugin.seeds import add_seed_options, check_seeds, seeds_of
from lazarus_probe.plugin.settings import activations_folder, fail_on, report_folder


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the plugin's options; a repository may alias `--model` to `--probe-model` in its conftest.py."""
    group = parser.getgroup("lazarus_probe", "claims about what happens inside a language model")
    group.addoption(
        "--probe-model",
        action="append",
        metavar="MODEL",
        help=f"model to test: a bundled name, a folder or a Hub id; repeatable (default: {DEFAULT_MODEL})",
    )
    group.addoption(
        "--probe-adapter",
        metavar="FOLDER",
        help="test each model with this adapter on: a folder as mlx-lm or peft writes it, or with lora_weights.npz",
    )
    group.addoption(
        "--probe-base",
        action="append",
        metavar="MODEL",
        help="the model that the tested one was tuned from, for claims about a tuned pair; repeatable: each model "
        "takes the first of its architecture and size (default: organism-early for organism and organism-rlvf; "
        "with --probe-adapter the model without it)",
    )
    add_seed_options(group)
    group.addoption(
        "--probe-fail-on",
        metavar="CHANGES",
        help="which changes of a verdict since the baseline fail: any, none, or some of lost, weakened, "
        "no-longer-measurable, gained and newly-measurable (default: the first three); what is newly measurable and "
        "does not fail counts as it would without a baseline",
    )
    group.addoption(
        "--probe-report", metavar="DIR", help="where runs are written (default: reports/ in the rootdir)"
    )
    group.addoption(
        "--probe-strict",
        action="store_true",
        help="an inconclusive claim fails, and so does a run in which none applies to a model",
    )
    group.addoption(
        "--probe-baseline",
        default="auto",
        metavar="auto|none|PATH|NAME",
        help="known verdicts to test against: of this very model, as --probe-update left them (auto), or of any "
        "version of it, in a file or under the NAME of --probe-save (default: auto)",
    )
    group.addoption(
        "--probe-save",
        metavar="NAME",
        help="keep this run's verdicts and numbers as baselines/NAME.json of the report folder; one model a run",
    )
    group.addoption(
        "--probe-update",
        action="store_true",
        help="bring the models' own baselines up to date, baselines/MODEL.json; claims that did not run stay in them",
    )
    group.addoption(
        "--probe-activations",
        metavar="DIR",
        help="where activations are kept for later runs and for the workers of a parallel one, up to 10 GiB (default: "
        "pytest's cache, up to 1 GiB)",
    )
    parser.addini(
        "probe_activations", "the same folder, from the rootdir, where the option is not given", type="string"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker and check the options' values."""
    config.addinivalue_line(
        "markers",
        "claim(id, **fields): what a test decides: an id of expectations/*.yaml beside it, or all fields",
    )
    config.addinivalue_line(
        "markers", "training: trains the model, for minutes; left out by `-m 'not training'`"
    )
    _check_options(config)
    from lazarus_probe.plugin.session import ClaimSession

    config.pluginmanager.register(ClaimSession(config), "lazarus_probe-session")


def _check_options(config: pytest.Config) -> None:
    from lazarus_probe.files.whole_files import is_there

    check_seeds(config)
    _check_workers_get_them(config)
    if config.getoption("probe_fail_on") is not None:  # else nothing is to be imported yet
        fail_on(config)
    folders = {"--probe-report": report_folder(config), "--probe-activations": activations_folder(config)}
    for option, folder in folders.items():
        if folder and is_there(folder) and not folder.is_dir():
            given = config.getoption(option.removeprefix("--").replace("-", "_")) or folder
            raise pytest.UsageError(f"{option} {given} is a file; give a folder")
    from lazarus_probe.plugin.baselines import check_baselines

    check_baselines(config)


def _check_workers_get_them(config: pytest.Config) -> None:
    """Refuse a name that is no UTF-8 in a parallel run: pytest-xdist cannot hand it to a worker."""
    if config.getoption("dist", "no") == "no":
        return
    for name, value in sorted(vars(config.option).items()):
        texts = [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]
        if name.startswith("probe_") and any(without_halves(text) != text for text in texts):
            option = f"--{name.replace('_', '-')}"
            raise pytest.UsageError(
                f"{option} {value!a} is no UTF-8, which pytest-xdist needs: give another name, or -n0"
            )


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say what claims will run on, where models were asked for."""
    if not asked_for(config) and not config.getoption("probe_adapter"):
        return None
    from lazarus_probe.claims.record import named_seeds
    from lazarus_probe.reports.run import blas, device

    try:
        blas_line = blas()  # before mlx is imported for the device
    except OSError as error:
        raise pytest.UsageError(str(error)) from None
    names, seeds = ", ".join(label(name) for name in models(config)), named_seeds(seeds_of(config))
    return f"lazarus_probe: models {names}; {seeds}; device {device()}; BLAS {blas_line}"
