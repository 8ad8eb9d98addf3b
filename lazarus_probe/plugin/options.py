"""Options, the claim marker and the header line."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy

import pytest

from lazarus_probe.plain import without_halves
from lazarus_probe.plugin.models import DEFAULT_MODEL, asked_for, label, models
from lazarus_probe.plugin.parallel import add_parallel_option, join_run
from lazarus_probe.plugin.seeds import add_seed_options, check_seeds, seeds_of
from lazarus_probe.plugin.settings import activations_folder, fail_on, report_folder
from lazarus_probe.plugin.shards import add_shard_option, check_shard


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the plugin's options; `pytest_load_initial_conftests` adds short names of two."""
    group = parser.getgroup("lazarus_probe", "claims about what happens inside a language model")
    group.addoption(
        "--probe-model",
        action="append",
        metavar="MODEL",
        help=f"model to test: bundled model name, folder or Hub id; repeatable (default: {DEFAULT_MODEL})",
    )
    group.addoption(
        "--probe-adapter",
        metavar="FOLDER",
        help="adapter to apply to each model: a folder as written by mlx-lm or peft, or one with lora_weights.npz",
    )
    group.addoption(
        "--probe-base",
        action="append",
        metavar="MODEL",
        help="base model that the tested one was fine-tuned from, for claims about the pair; repeatable: each model "
        "uses the first base of its architecture and size (default: organism-early for organism and organism-rlvf; "
        "with --probe-adapter, the model without it)",
    )
    add_seed_options(group)
    add_shard_option(group)
    add_parallel_option(group)
    group.addoption(
        "--probe-fail-on",
        metavar="CHANGES",
        help="changes of verdict since the baseline that fail a test: any, none, or some of lost, weakened, "
        "no-longer-measurable, gained and newly-measurable (default: the first three); a newly measurable claim "
        "that does not fail counts as it would without a baseline",
    )
    group.addoption(
        "--probe-report", metavar="DIR", help="folder to write runs to (default: reports/ in the rootdir)"
    )
    group.addoption(
        "--probe-strict",
        action="store_true",
        help="fail inconclusive claims, and runs in which no claim applies to a model",
    )
    group.addoption(
        "--probe-baseline",
        default="auto",
        metavar="auto|none|PATH|NAME",
        help="baseline verdicts to test against: those of exactly this model, as saved by --probe-update (auto), or "
        "those of any version of it, in a file or under the NAME of --probe-save (default: auto)",
    )
    group.addoption(
        "--probe-save",
        metavar="NAME",
        help="save this run's verdicts and numbers as baselines/NAME.json in the report folder; one model per run",
    )
    group.addoption(
        "--probe-update",
        action="store_true",
        help="update the baseline of each model, baselines/MODEL.json; claims that did not run keep their entries",
    )
    group.addoption(
        "--probe-activations",
        metavar="DIR",
        help="folder to keep activations in for later runs and for parallel workers, up to 10 GiB (default: pytest's "
        "cache, up to 1 GiB)",
    )
    group.addoption(
        "--probe-scores-only",
        action="store_true",
        help="measure scores without the controls that other models are run for, many times faster, for "
        "versions of a model side by side (`lazarus report moved`); a claim that depends on them is inconclusive",
    )
    group.addoption(
        "--probe-anytime",
        action="store_true",
        help="run prompts only until a claim is supported, refuted or confounded, under intervals that hold at every "
        "look; claims that use `evidence.known`",
    )
    parser.addini(
        "probe_activations",
        "default of --probe-activations: a folder, relative to the rootdir",
        type="string",
    )


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Iterator[None]:
    """Take `--model` for `--probe-model`, and `--adapter`, where no conftest.py or other plugin has such an option.

    Added with the others they would clash with one that has, and break every session of its user.
    """
    yield
    short = {"--model": {"dest": "probe_model", "action": "append"}, "--adapter": {"dest": "probe_adapter"}}
    if not any(arg.partition("=")[0] in short for arg in args):
        return
    _, unknown = parser.parse_known_and_unknown_args(args, copy(early_config.option))
    for name in {arg.partition("=")[0] for arg in unknown} & short.keys():
        parser.addoption(name, **short[name])


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker and check the options' values."""
    config.addinivalue_line(
        "markers",
        "claim(id, **fields): the claim that a test decides: an id in expectations/*.yaml next to it, or all fields",
    )
    config.addinivalue_line(
        "markers", "training: trains the model, which takes minutes; deselect with `-m 'not training'`"
    )
    _check_options(config)
    from lazarus_probe.plugin.session import ClaimSession

    config.pluginmanager.register(ClaimSession(config), "lazarus_probe-session")


def _check_options(config: pytest.Config) -> None:
    from lazarus_probe.files.whole_files import is_there

    check_seeds(config)
    check_shard(config)
    _check_workers_get_them(config)
    if config.getoption("probe_fail_on") is not None:  # else nothing is to be imported yet
        fail_on(config)
    folders = {"--probe-report": report_folder(config), "--probe-activations": activations_folder(config)}
    for option, folder in folders.items():
        if folder and is_there(folder) and not folder.is_dir():
            value = config.getoption(option.removeprefix("--").replace("-", "_")) or folder
            raise pytest.UsageError(f"{option} {value} is a file; give a folder")
    from lazarus_probe.plugin.baselines import check_baselines

    check_baselines(config)
    join_run(config)


def _check_workers_get_them(config: pytest.Config) -> None:
    """Refuse a name that is not UTF-8 in a parallel run: pytest-xdist cannot hand it to a worker."""
    if config.getoption("dist", "no") == "no":
        return
    for name, value in sorted(vars(config.option).items()):
        texts = [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
        if name.startswith("probe_") and any(without_halves(text) != text for text in texts):
            option = f"--{name.replace('_', '-')}"
            raise pytest.UsageError(
                f"{option} {value!a} is not UTF-8, which pytest-xdist needs: give another name, or -n0"
            )


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say what claims will run on, if models were requested."""
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
