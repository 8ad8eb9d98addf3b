"""A project with claims in it, run by pytest itself on tiny random models."""

from __future__ import annotations

import gc
import json
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

import pytest

from lazarus_probe.subject import Subject

BEGINNING = """
import pytest
from lazarus_probe import Control, Measurement

FIELDS = {
    "statement": "It is so.", "source": "a paper", "family": "all", "kind": "decodability",
    "threshold": 0.9, "margin": 0.1, "controls": ["majority"],
}

def claim(id, **changes):
    return pytest.mark.claim(**{"id": id, **FIELDS, **changes})

def measured(score, gain=0.5, groups=20, **changes):
    controls = (Control("majority", score - gain, gain, gain - 0.03, gain + 0.03),)
    fields = {"score": score, "low": score - 0.02, "high": score + 0.02, "n": 100, "groups": groups}
    return Measurement(**{**fields, "unit": "accuracy", "controls": controls, **changes})
"""

# A model under study that is four fields: what a plugin or a worker does to a session depends on no weights.
STUB = """
from types import SimpleNamespace
import pytest

@pytest.fixture(scope="session")
def subject():
    return SimpleNamespace(name="stub", fingerprint="f" * 64, num_layers=2, dtype="float32")
"""


@dataclass(frozen=True)
class Project:
    """A folder with test files, and the means to run them."""

    pytester: pytest.Pytester
    model: Path

    def write(self, body: str, name: str = "test_claims", **files: str) -> None:
        """Write a test file that knows `claim` and `measured`, and YAML files into `expectations/`."""
        self.pytester.makepyfile(**{name: BEGINNING + textwrap.dedent(body)})
        for stem, text in files.items():
            path = self.pytester.path / "expectations" / f"{stem}.yaml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(textwrap.dedent(text))

    def run(self, *arguments: str | Path, models: tuple[str | Path, ...] | None = None) -> pytest.RunResult:
        """Run pytest on the tiny model, or on other models."""
        asked = (self.model,) if models is None else models
        options = [f"--probe-model={name}" for name in asked]
        # Where the plugin is installed it is imported already, too early for pytest to rewrite its assertions.
        quiet = ("-p", "lazarus_probe.plugin", "-W", "ignore::pytest.PytestAssertRewriteWarning")
        return self.pytester.runpytest_inprocess(*quiet, *options, *arguments, no_reraise_ctrlc=True)

    def use_stub(self, more: str = "") -> None:
        """Test a stub of a model in place of the tiny one; `more` is for its conftest.py."""
        self.pytester.makeconftest(STUB + more)

    def run_apart(self, *arguments: str | Path) -> pytest.RunResult:
        """Run pytest in a process of its own, on the stub."""
        options = ("-plazarus_probe.plugin", "-pno:cacheprovider", *arguments)
        return self.pytester.runpytest_subprocess(*options, timeout=300)

    def reports(self) -> list[dict[str, Any]]:
        """Every run.json that was written, the first first."""
        found = (self.pytester.path / "reports").glob("*/run.json")
        return [
            json.loads(path.read_text()) for path in sorted(found, key=lambda path: path.stat().st_mtime_ns)
        ]

    def baseline(self, model: str = "tiny") -> Path:
        """Where a model's baseline is kept."""
        return self.pytester.path / "reports" / "baselines" / f"{model}.json"


@pytest.fixture(scope="session")
def make_model(
    tmp_path_factory: pytest.TempPathFactory, make_llama: Any, save_checkpoint: Any
) -> Callable[..., Path]:
    """Saves a random Llama of that name; keyword arguments override its configuration."""

    def make(name: str, **changes: Any) -> Path:
        return Path(save_checkpoint(tmp_path_factory.mktemp("models") / name, make_llama(**changes)))

    return make


@pytest.fixture(scope="session")
def tiny(make_model: Callable[..., Path]) -> Path:
    """A checkpoint called `tiny`, of 2 layers."""
    folder = make_model("tiny", num_hidden_layers=2, num_key_value_heads=4, tie_word_embeddings=True)
    # pytester forgets what is imported within it: import here what takes long, or cannot be imported twice. Of the half
    # second of a run that writes a report, these imports are four fifths.
    import lazarus_probe.claims.attempts
    import lazarus_probe.claims.baseline
    import lazarus_probe.claims.evidence
    import lazarus_probe.claims.falsify
    import lazarus_probe.claims.pooling
    import lazarus_probe.claims.seed_runs
    import lazarus_probe.hooks.activations
    import lazarus_probe.hooks.trace
    import lazarus_probe.reports.baselines
    import lazarus_probe.reports.claims_text
    import lazarus_probe.reports.closing
    import lazarus_probe.reports.page
    import lazarus_probe.reports.run
    import lazarus_probe.reports.run_log
    import lazarus_probe.reports.write
    import lazarus_probe.statistics.sequential.until_known  # noqa: F401

    Subject.load(folder)
    # Each session within this one ends with full collections: let them be of what it made, and not of all that is
    # imported.
    gc.collect()
    gc.freeze()
    return folder


@pytest.fixture(scope="session")
def with_plugins() -> list[Distribution]:
    """The installed distributions that have plugins of pytest."""
    return [one for one in distributions() if any(entry.group == "pytest11" for entry in one.entry_points)]


@pytest.fixture
def project(
    pytester: pytest.Pytester, tiny: Path, with_plugins: list[Distribution], monkeypatch: pytest.MonkeyPatch
) -> Project:
    """An empty project; no other plugin is loaded, and nothing reaches the summary of a surrounding CI job."""
    # For each `-p` pytest reads what every installed distribution has to offer: a sixth of a session of one claim.
    monkeypatch.setattr("importlib.metadata.distributions", lambda: with_plugins)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    return Project(pytester, tiny)
