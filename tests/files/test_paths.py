"""A path is never what breaks: not a user who is not there, not a circle of links."""

from __future__ import annotations

from pathlib import Path

import pytest

from lazarus_probe.cli import lazarus
from lazarus_probe.files.paths import real_path, user_path

NOBODY = "~no-such-user/model"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text('{"prompt": "7*8=", "response": "56"}\n' * 4)
    return path


@pytest.fixture
def circle(tmp_path: Path) -> Path:
    path = tmp_path / "circle"
    path.symlink_to(path)
    return path


def test_home_is_put_in_as_a_shell_does(monkeypatch, tmp_path):
    """`~` is the home folder; a user who is not there leaves the text as it is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/model") == tmp_path / "model"
    assert user_path(NOBODY) == Path(NOBODY)


def test_links_are_followed(tmp_path, circle):
    """The real path is that of the file behind a link, and a circle of links has one too."""
    (tmp_path / "model").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "model")
    assert real_path(tmp_path / "link") == (tmp_path / "model").resolve()
    assert real_path(circle).name == "circle"


@pytest.mark.parametrize(
    "line",
    [
        "anatomy -m {path}",
        "anatomy -m organism --adapter {path}",
        "introspect weight-diff -b organism -f {path}",
        "introspect tuned-lens read -m organism -p 7*8= --lens {path}",
        "train sft --model organism --data {data} --output out --adapter {path}",
        "train sft --model organism --data {path} --output out",
        "train grpo --model organism --reward {path} --output out",
        "train grpo --model organism --prompts {path} --output out",
    ],
)
@pytest.mark.parametrize("kind", ["nobody", "circle"])
def test_such_a_path_is_one_line(line, kind, circle, data, tmp_path, monkeypatch, capsys):
    """Wherever a path is typed, one that leads nowhere ends in one line and exit code 2."""
    monkeypatch.chdir(tmp_path)
    path = NOBODY if kind == "nobody" else str(circle)
    check_one_line([word.format(path=path, data=data) for word in line.split()], capsys)


def test_output_in_a_circle_is_one_line(circle, data, capsys):
    """Nothing can be written under a circle of links, which is said before any training."""
    line = ["train", "sft", "--model", "organism", "--data", str(data), "--output", str(circle)]
    check_one_line(line, capsys)


def check_one_line(words: list[str], capsys: pytest.CaptureFixture[str], part: str = "") -> None:
    assert lazarus.main(words) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert part in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    "line",
    [
        "anatomy -m {path}",
        "train sft --model organism --data {data} --output {path}",
        "train grpo --model organism --output {path}",
        "organism train --output {path}",
        "introspect dual-reward -m organism --output {path}",
        "introspect tuned-lens train -m organism --output {path}",
    ],
)
def test_mlx_is_given_no_path_that_it_cannot_open(line, data, tmp_path, capsys):
    """A path of bytes that are not UTF-8 is refused before any work, where weights go to it or come from it."""
    path = tmp_path / "weights\udcff"
    if "output" not in line:
        path.mkdir()
    check_one_line(
        [word.format(path=path, data=data) for word in line.split()], capsys, "\\udcff is not UTF-8"
    )
    assert "output" not in line or not path.exists()


def test_other_files_may_have_any_name(tmp_path, capsys):
    """A result is kept under a name that is not UTF-8, and the name is shown with the byte spelled out."""
    path = tmp_path / "lens\udcff.json"
    line = ["introspect", "logit-lens", "-m", "organism", "--prompts", "7*8=", "-l", "3", "-o", str(path)]
    assert lazarus.main(line) == 0
    assert path.exists()
    assert "lens\\udcff.json" in capsys.readouterr().out
