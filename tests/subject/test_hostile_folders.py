"""Loading where the folder, its name or the machine is odd, and where a folder brings code."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from lazarus_probe.checkpoints.differences import CheckpointWarning
from lazarus_probe.subject import LoadError, Subject
from tests.cases import slow_except

LOAD = (
    "import sys; from lazarus_probe.subject import Subject; print(len(Subject.load(sys.argv[1]).encode('a')))"
)


@pytest.fixture
def folder(tmp_path, make_llama, save_checkpoint):
    return save_checkpoint(tmp_path / "tiny", make_llama())


def with_settings(folder: Path, name: str = "tokenizer_config.json", **changes) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def loads(folder: Path | str, typed: str = "", **options) -> subprocess.CompletedProcess[str]:
    """What loading a folder in a process of its own says."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", **options.pop("environment", {})}
    command = [sys.executable, "-c", LOAD, str(folder)]
    return subprocess.run(
        command,
        input=typed,
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
        **options,
    )


@pytest.mark.parametrize("name", ["a[1]b", "a*b?", "spaces and [brackets]", "x" * 200])
def test_a_folder_of_any_name_loads(name, tmp_path, make_llama, save_checkpoint):
    """What stands for a pattern elsewhere stands for itself in a folder's name."""
    assert Subject.load(save_checkpoint(tmp_path / name, make_llama())).name == name


CODE = {
    "tokenizer_config.json": {
        "auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]},
        "tokenizer_class": "Own",
    },
    "config.json": {"auto_map": {"AutoConfig": "own.Own", "AutoTokenizer": ["own.Own", None]}},
}


@pytest.mark.parametrize("name", slow_except(CODE, "config.json"))
def test_code_in_a_folder_is_never_run_whatever_is_typed(name, folder, tmp_path):
    """Nothing is asked for on the terminal, and a yes there runs nothing."""
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Own: pass\n")
    with_settings(folder, name, **CODE[name])
    found = loads(folder, typed="y\n" * 20)
    assert not (tmp_path / "ran").exists()
    assert "y/N" not in found.stdout + found.stderr
    assert found.returncode == 0 or "own code ('own.Own'), which is never run" in found.stderr


def test_code_that_a_tokenizer_can_do_without_is_said_to_be_left_out(folder):
    """Where the files alone make a tokenizer it is used, with a warning that names the code."""
    with_settings(folder, auto_map={"AutoTokenizer": ["own.Own", None]})
    with pytest.warns(CheckpointWarning, match=r"the tokenizer's own code \('own.Own'\) is not run"):
        assert Subject.load(folder).decode([5])


def test_an_architecture_of_its_own_is_refused(folder):
    """A Python file that a configuration names as its model is not opened."""
    with_settings(folder, "config.json", model_file="own.py")
    with pytest.raises(LoadError, match="cannot be built"):
        Subject.load(folder)


def few_files() -> None:
    """At most 64 open files, and no right to more."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(
            24, 24, 0, 0, 0
        )  # PR_CAPBSET_DROP, CAP_SYS_RESOURCE: root could raise the limit again
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def test_sixty_four_open_files_are_enough():
    """mlx-lm asks for thousands when it is imported; without a right to them it loads all the same."""
    found = loads("organism", preexec_fn=few_files)
    assert (found.returncode, found.stdout) == (0, "2\n"), found.stderr[-2000:]


@pytest.mark.slow
def test_a_temporary_folder_that_is_not_there_is_not_needed(folder):
    """Nothing of loading lies in TMPDIR."""
    found = loads(folder, environment={"TMPDIR": "/nope"})
    assert found.returncode == 0, found.stderr[-2000:]


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "model.safetensors", "generation_config.json"]
)
def test_a_pipe_in_a_files_place_is_refused(name, folder):
    """Nobody waits for what would be written to it."""
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(LoadError, match=f"{name} cannot be read: it is a pipe"):
        Subject.load(folder)


GROWING = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"normalizer": {"type": "Sequence", "normalizers": [GROWING] * 12}},
            "normalizer makes texts 1e\\+12 times",
        ),
        (
            {"normalizer": {"type": "Prepend", "prepend": "x" * 20_000}},
            "normalizer puts 20000 characters before",
        ),
        ({"padding": {"strategy": {"Fixed": 10**10}}}, "padding is to 10000000000 tokens"),
    ],
)
def test_a_tokenizer_that_grows_a_text_without_bound_is_refused(change, message, folder):
    """How long a text can become is known from the file, before any is given to it."""
    with_settings(folder, "tokenizer.json", **change)
    with pytest.raises(LoadError, match=f"tokenizer.json: {message}"):
        Subject.load(folder)


def test_a_tokenizer_of_another_model_is_refused(tmp_path, make_llama, save_checkpoint):
    """A piece of it that no row of the embedding stands for would be read from anywhere in memory."""
    small = save_checkpoint(tmp_path / "small", make_llama(vocab_size=20))
    with pytest.raises(LoadError, match=r"has a token \d+, and the model embeds 20"):
        Subject.load(small)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"])
def test_a_folder_in_place_of_a_file_is_refused(folder, name):
    """A folder under the name of a file that would be read is said to be one: its settings would be lost unsaid."""
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir()
    with pytest.raises(LoadError, match=rf"{name} cannot be read: Is a directory"):
        Subject.load(folder)


@pytest.mark.parametrize(
    "templates", [[{"nome": "default"}], ["a"], [{"name": ["x"], "template": "a"}], {"default": 3}]
)
def test_templates_that_have_no_names_or_texts_are_shown(folder, templates):
    """A list of templates of another kind is shown as it stands, once."""
    with_settings(folder, chat_template=templates)
    with pytest.raises(LoadError) as raised:
        Subject.load(folder)
    message = str(raised.value)
    assert f"chat_template is {templates!r}; a text, or texts by name, are needed" in message
    assert message.count("tokenizer_config.json") == 1
