"""LoRA within a test, and a whole run on a model with an adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lazarus_probe.subject import Subject
from lazarus_probe.training.lora.adapter import save_adapter, save_lora_weights
from lazarus_probe.training.lora.lora import attached

pytest_plugins = ["pytester"]

CLAIM = """
    @claim("adapted")
    def test_adapted(subject, evidence):
        evidence.record(measured(0.95, details={"name": subject.name}))
    """


@pytest.fixture(scope="module")
def adapter(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained adapter of `tiny`, in a folder called `trained`, in both formats."""
    subject, folder = Subject.load(tiny), tmp_path_factory.mktemp("adapters") / "trained"
    with attached(subject, ["v_proj"], rank=2) as model:
        for layer in model.layers:
            layer.self_attn.v_proj.lora_b = layer.self_attn.v_proj.lora_b + 0.5
        save_adapter(subject, folder, base="tiny")
        save_lora_weights(subject, folder, {})
    return folder


def test_the_fixture_leaves_no_trace(project):
    """LoRA of every option is on within the `with` and gone after it, also after a failure within."""
    project.write(
        """
        import mlx.core as mx

        def state(subject):
            modules = [(type(module), module.training) for _, module in subject.model.named_modules()]
            return modules, subject.fingerprint, list(subject.model.trainable_parameters())

        before = []

        def test_first(subject, lora):
            before.append(state(subject))
            with lora(["v_proj", "down_proj"], {"v_proj": 2, "down_proj": 3}, scale=1.0, seed=1, layers=[-1],
                      dropout=0.1) as model:
                below, last = ((layer.self_attn.v_proj, layer.mlp.down_proj) for layer in model.layers)
                assert [part.get("lora_a") for part in below] == [None, None]
                assert [part.lora_a.shape[1] for part in last] == [2, 3]
                model.layers[1].self_attn.v_proj.lora_b = mx.ones((2, 32))
                assert state(subject) != before[0]
                model.train(False)
                raise RuntimeError("within")

        def test_second(subject, lora):
            assert state(subject) == before[0]
        """
    )
    result = project.run()
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*RuntimeError: within*"])


def test_a_run_on_an_adapted_model_is_one_of_that_model(project, adapter):
    """Name, fingerprint, test ids and baseline are those of model and adapter together."""
    project.write(CLAIM)
    project.run(f"--probe-adapter={adapter}", "--probe-update").assert_outcomes(passed=1)
    (run,) = project.reports()
    (claim,) = run["claims"]
    assert claim["measurement"]["details"]["name"] == claim["model"]["name"] == "tiny+trained"
    assert claim["model"]["fingerprint"] == Subject.load(project.model, adapter).fingerprint
    assert project.baseline("tiny+trained").is_file()
    result = project.run(f"--probe-adapter={adapter}", "-v")
    result.stdout.fnmatch_lines(["*models tiny+trained;*", "*::test_adapted?tiny+trained? PASSED*"])


def test_layers_are_those_of_the_model_beneath(project, adapter):
    """A test that asks for a layer runs once a layer of the adapted model."""
    project.write("def test_layer(subject, layer):\n    assert subject.num_layers == 2")
    project.run(f"--probe-adapter={adapter}").assert_outcomes(passed=2)


def test_the_model_beneath_is_the_base(project, adapter):
    """The tuned pair of an adapted model is the model without the adapter, where no other is given."""
    project.write(
        """
        @claim("pair")
        def test_pair(subject, base, evidence):
            evidence.record(measured(0.95, details={"base": base.name}))
        """
    )
    project.run(f"--probe-adapter={adapter}").assert_outcomes(passed=1)
    (run,) = project.reports()
    assert run["claims"][0]["measurement"]["details"]["base"] == "tiny"


def test_the_folder_is_found_from_wherever_a_test_goes(project, adapter, monkeypatch, tmp_path):
    """A relative folder is that of where pytest was started."""
    monkeypatch.chdir(adapter.parent)
    project.write(
        """
        @pytest.fixture(autouse=True, scope="session")
        def elsewhere(tmp_path_factory):
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(tmp_path_factory.mktemp("elsewhere"))
                yield
        """
        + CLAIM
    )
    project.run(
        "--probe-adapter=trained", f"--rootdir={project.pytester.path}", project.pytester.path
    ).assert_outcomes(passed=1)


def refused(project: Any, *arguments: str | Path, **changes: Any) -> str:
    project.write(CLAIM)
    result = project.run(*arguments, **changes)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    lines = [line for line in (*result.errlines, *result.outlines) if "--probe-" in line]
    assert len(lines) == 1
    return str(lines[0])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: (folder / "adapters.safetensors").write_bytes(b"short"),
            "adapters.safetensors is truncated",
        ),
        (
            lambda folder: (folder / "adapter_config.json").write_text("{,"),
            "adapter_config.json cannot be read",
        ),
        (
            lambda folder: (folder / "lora_weights.npz").write_bytes(b"no"),
            "lora_weights.npz is truncated or damaged",
        ),
        (
            lambda folder: [path.unlink() for path in folder.iterdir()],
            "has neither adapters.safetensors (mlx-lm) nor adapter_model",
        ),
    ],
)
def test_a_bad_adapter_ends_the_run_before_any_test(project, adapter, tmp_path, damage, message):
    """What is wrong with the files is one line at collection, with the exit code of an error of usage."""
    folder = tmp_path / "bad"
    folder.mkdir()
    for path in adapter.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    damage(folder)
    assert message in refused(project, f"--probe-adapter={folder}")


def test_no_such_folder_is_said(project):
    """A folder that is not there is named as it was given."""
    assert "--probe-adapter nosuch: " in refused(project, "--probe-adapter=nosuch")


def test_an_adapter_of_another_model_ends_the_run(project, adapter, make_model):
    """A model that the adapter was not trained on is refused in one line that names both."""
    other = make_model("other", seed=1, num_hidden_layers=2, num_key_value_heads=4, tie_word_embeddings=True)
    line = refused(project, f"--probe-adapter={adapter}", models=(other,))
    assert "with adapter" in line
    assert "was trained on other weights (tiny) than those of other" in line


def test_an_untrained_twin_takes_none(project, adapter):
    """An adapter on newly initialised weights means nothing, and is refused."""
    line = refused(project, f"--probe-adapter={adapter}", models=("organism-untrained",))
    assert "organism-untrained takes no adapter" in line
