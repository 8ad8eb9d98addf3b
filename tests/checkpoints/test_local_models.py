"""What is on this machine, and Ollama's models by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lazarus_probe.checkpoints.local_models import local_models
from lazarus_probe.cli import lazarus
from lazarus_probe.subject import LoadError, Subject, num_layers_of
from tests.checkpoints.gguf.families import FAMILIES
from tests.checkpoints.gguf.writing import write_model

HASH = "a" * 64
MODEL = "application/vnd.ollama.image.model"


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home with a model in every program's folder."""
    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "OLLAMA_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    family = FAMILIES["qwen2"]
    blobs = tmp_path / ".ollama" / "models" / "blobs"
    blobs.mkdir(parents=True)
    file = write_model(blobs / f"sha256-{HASH}", family, family.build())
    manifest(tmp_path, "registry.ollama.ai/library/tiny/1b")
    manifest(tmp_path, "hf.co/org/repo/Q4")
    studio = tmp_path / ".lmstudio" / "models" / "org" / "repo"
    studio.mkdir(parents=True)
    for name in ("a-00001-of-00002.gguf", "a-00002-of-00002.gguf", "mmproj-a.gguf"):
        (studio / name).write_bytes(file.read_bytes()[:1000])
    hub = tmp_path / ".cache" / "huggingface" / "hub" / "models--org--small" / "snapshots" / "abc"
    hub.mkdir(parents=True)
    (hub / "config.json").write_text('{"model_type": "gemma2"}')
    (hub / "model.safetensors").write_bytes(bytes(2_000_000))
    return tmp_path


def manifest(home: Path, place: str, **layer: object) -> Path:
    """One of Ollama's manifests."""
    path = home / ".ollama" / "models" / "manifests" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    layers = [{"mediaType": "x"}, {"mediaType": MODEL, "digest": f"sha256:{HASH}", **layer}]
    path.write_text(json.dumps({"layers": layers}))
    return path


def test_all_of_them_are_listed(home, capsys):
    """Each by the name to give as the model, with its source, architecture and size."""
    rows = {model.name: (model.source, model.architecture) for model in local_models()}
    studio = str(home / ".lmstudio" / "models" / "org" / "repo" / "a-00001-of-00002.gguf")
    assert rows["organism"] == ("bundled", "llama")
    assert {name: row for name, row in rows.items() if row[0] not in ("bundled", "package")} == {
        "org/small": ("hub", "gemma2"),
        studio: ("lmstudio", "qwen2"),
        "tiny:1b": ("ollama", "qwen2"),
        "hf.co/org/repo:Q4": ("ollama", "qwen2"),
    }
    assert next(model.size for model in local_models() if model.name == studio) == 2000
    assert lazarus.main(["models"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["org/small", "hub", "gemma2", "2.0", "MB"] in [words[:5] for words in lines]
    assert lazarus.main(["models", "list", "--json"]) == 0
    assert "tiny:1b" in [model["name"] for model in json.loads(capsys.readouterr().out)["models"]]


@pytest.mark.parametrize("name", ["tiny:1b", "hf.co/org/repo:Q4", "registry.ollama.ai/library/tiny:1b"])
def test_ollamas_models_are_loaded_by_name(home, name):
    """As by the path of the blob."""
    assert num_layers_of(name) == 2
    subject = Subject.load(name)
    assert subject.name == name
    assert (
        subject.fingerprint
        == Subject.load(home / ".ollama" / "models" / "blobs" / f"sha256-{HASH}").fingerprint
    )


def test_a_model_that_ollama_lacks_is_unknown(home):
    """Nothing outside its folders is looked at, whatever the name."""
    for name in ("tiny:2b", "../../etc:passwd", "tiny:..", "a/b/c/d:e"):
        with pytest.raises(LoadError, match="no model named"):
            Subject.load(name)


WRONG = {
    "digest": ({"digest": "sha256:../../../etc/passwd"}, "digest is 'sha256:../../../etc/passwd'"),
    "blob": ({"digest": f"sha256:{'b' * 64}"}, "which is missing; pull the model again"),
    "kind": ({"mediaType": "y"}, "names no model"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_damaged_manifest_is_named(home, case):
    """And is left out of the list."""
    layer, message = WRONG[case]
    path = manifest(home, "registry.ollama.ai/library/tiny/1b", **layer)
    with pytest.raises(LoadError, match=message) as error:
        Subject.load("tiny:1b")
    assert str(path) in str(error.value)
    assert "tiny:1b" not in {model.name for model in local_models()}
    path.write_text("[" * 1000)
    with pytest.raises(LoadError, match=r"tiny/1b cannot be read|layers is no list"):
        Subject.load("tiny:1b")
