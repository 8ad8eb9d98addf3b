"""Which worker of a parallel run tests what: with several models, each worker holds one at a time."""

from __future__ import annotations

from typing import Any

import pytest

from lazarus_probe.plugin.models import asked_for, identifier, models

CHOSEN: pytest.StashKey[bool] = pytest.StashKey()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Any:
    """Notice whether the user chose how tests are distributed, before pytest-xdist fills in its default."""
    option = config.option
    config.stash[CHOSEN] = getattr(option, "dist", "no") != "no" or getattr(option, "distload", False)
    return (yield)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute by model where there are several; with one, or where the user chose, xdist does as ever.

    A worker that tests now one model and now another would load each again and again. With at least as many models
    as workers, one worker tests all of a model. With fewer, the workers share each model file by file; as the models
    are in order, a worker leaves one for good before it loads the next.
    """
    if config.stash.get(CHOSEN, True) or len(asked_for(config)) < 2:
        return None
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]
    from xdist.workermanage import parse_tx_spec_config  # type: ignore[import-untyped]

    names = sorted((identifier(config, name) for name in models(config)), key=len, reverse=True)
    one_model_each = len(names) >= len(parse_tx_spec_config(config))

    class ByModel(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit_of(nodeid, names, whole=one_model_each)

    config.option.loadscopereorder = False
    return ByModel(config, log)


def unit_of(nodeid: str, names: list[str], *, whole: bool) -> str:
    """What a worker takes on at once: all tests of a model, or those in one file; a file's tests without a model.

    Args:
        nodeid: of the test; the model stands first among its parameters.
        names: of the models, longer ones first.
        whole: whether one worker tests all of a model.
    """
    file, _, rest = nodeid.partition("::")
    parameters = rest.partition("[")[2].removesuffix("]")
    for name in names:
        if parameters == name or parameters.startswith(f"{name}-"):
            return name if whole else f"{name} {file}"
    return file
