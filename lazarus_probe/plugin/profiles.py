"""How `falsify` searches: Hypothesis's profiles `probe-ci`, the same in every run, and `probe-hunt`, new each time.

Without an option nothing is imported here: `falsify` takes `probe-ci` by itself unless the user chose a profile.
"""

from __future__ import annotations

import pytest

CI, HUNT = "probe-ci", "probe-hunt"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--probe-hunt`."""
    group = parser.getgroup("lazarus_probe", "claims about what happens inside a language model")
    group.addoption(
        "--probe-hunt",
        action="store_true",
        help=f"search for counterexamples anew in each run and remember them in .hypothesis: {HUNT} as Hypothesis's "
        f"profile, in place of {CI}, which depends on the seed alone",
    )


@pytest.hookimpl(tryfirst=True)  # before Hypothesis loads the profile that it was given
def pytest_configure(config: pytest.Config) -> None:
    """Register the profiles where one of them is requested, and load `probe-hunt` for `--probe-hunt`.

    Raises:
        pytest.UsageError: two profiles were requested.
    """
    hunts, named = config.getoption("probe_hunt"), config.getoption("--hypothesis-profile", default=None)
    if hunts and named not in (None, HUNT):
        raise pytest.UsageError(
            f"--probe-hunt and --hypothesis-profile {named} each choose a profile: give one"
        )
    if hunts or named in (CI, HUNT):
        _register(config)
    if hunts:
        from hypothesis import settings

        settings.load_profile(HUNT)


def _register(config: pytest.Config) -> None:
    from hypothesis import settings
    from hypothesis.database import DirectoryBasedExampleDatabase

    from lazarus_probe.claims.falsify import REPEATABLE

    settings.register_profile(CI, REPEATABLE)
    database = DirectoryBasedExampleDatabase(config.rootpath / ".hypothesis" / "examples")
    settings.register_profile(HUNT, settings(derandomize=False, database=database, deadline=None))
