"""The claims that come with the package: which there are, how they are chosen, and copies of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lazarus_probe.claims.claim import ClaimError
from lazarus_probe.claims.expectations import read_claims
from lazarus_probe.claims.library import (
    chosen_claims,
    copy_files,
    library,
    library_folder,
    measured_costs,
    topics,
)

HYPOTHESES = Path(__file__).parents[2] / "hypotheses"
CLAIM = """
- id: {id}
  statement: {statement}
  source: a paper
  threshold: 0.5
  controls: [untrained]
  kind: causal_necessity
"""
TEST = """
import pytest
{whole}
@pytest.mark.claim("{id}")
{mark}
def test_it(evidence): ...
"""


def write_topic(
    folder: Path, topic: str, name: str, statement: str = "it holds", mark: str = "", whole: str = ""
):
    """A topic with one claim."""
    (folder / topic / "expectations").mkdir(parents=True)
    (folder / topic / "README.md").write_text(f"# {topic}\n\nWhat {topic} do.\n")
    (folder / topic / f"test_{topic}.py").write_text(TEST.format(id=name, mark=mark, whole=whole))
    (folder / topic / "expectations" / f"{topic}.yaml").write_text(CLAIM.format(id=name, statement=statement))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two topics of a claim each."""
    write_topic(tmp_path, "heads", "induction", "Heads copy")
    write_topic(tmp_path, "facts", "capitals", "Capitals are recalled", mark="@pytest.mark.training")
    (tmp_path / "conftest.py").write_text("")
    return tmp_path


def test_every_claim_of_the_hypotheses_is_in_the_library():
    """Each declared claim has its test, and an id stands once."""
    declared = [name for path in HYPOTHESES.rglob("expectations") for name in read_claims(path)]
    assert sorted(item.claim.id for item in library()) == sorted(declared)
    assert library_folder() == HYPOTHESES


def test_every_topic_says_what_it_holds():
    """The claims lie in topics, and each of these has a line."""
    assert {item.topic for item in library()} == set(topics())
    assert all(topics().values())


def test_costs_are_of_claims_that_there_are():
    """What a claim took is kept under its id."""
    assert set(measured_costs()) <= {item.claim.id for item in library()}
    assert all(seconds >= 0 for seconds in measured_costs().values())


def test_costs_are_of_a_model_or_the_longest_of_all(tmp_path: Path):
    """A claim that was measured on two models is long if it is long on one of them."""
    (tmp_path / "costs.json").write_text('{"a": {"x": 1.0, "y": 5.0}, "b": {"x": 2.0}}')
    assert measured_costs("a", tmp_path) == {"x": 1.0, "y": 5.0}
    assert measured_costs("c", tmp_path) == {}
    assert measured_costs(folder=tmp_path) == {"x": 2.0, "y": 5.0}


def test_marks_say_what_trains(folder: Path):
    """A test that is marked `training`, by itself or with its whole file, trains."""
    write_topic(folder, "pairs", "twins", whole="pytestmark = [pytest.mark.training]")
    assert {item.claim.id: item.trains for item in library(folder)} == {
        "induction": False,
        "capitals": True,
        "twins": True,
    }


def test_claims_are_chosen_by_all_of_some_words_and_by_topic(folder: Path):
    """Words are looked for in id, statement, source and topic, whatever their case."""
    assert topics(folder) == {"heads": "What heads do.", "facts": "What facts do."}
    assert [item.claim.id for item in chosen_claims(["HEADS", "copy"], folder=folder)] == ["induction"]
    assert [item.claim.id for item in chosen_claims([], ["facts"], folder)] == ["capitals"]
    assert len(chosen_claims(["paper"], folder=folder)) == 2


def test_what_nothing_holds_is_refused(folder: Path):
    """Unknown topics and words are errors that say what there is."""
    with pytest.raises(ClaimError, match=r"no topic 'head'; did you mean 'heads'|no topic 'head'; .*heads"):
        chosen_claims([], ["head"], folder)
    with pytest.raises(ClaimError, match="no claim holds 'copy' and 'capital'; `lazarus claims` lists all"):
        chosen_claims(["copy", "capital"], folder=folder)


def test_an_id_of_two_topics_is_refused(folder: Path):
    """One id has one meaning."""
    write_topic(folder, "again", "induction")
    with pytest.raises(ClaimError, match=r"claim 'induction' is decided by test_again.py and test_heads.py"):
        library(folder)


def test_a_copy_runs_by_itself(folder: Path, tmp_path: Path):
    """The test file, the declarations it needs and the fixtures are copied, and nothing else."""
    copied = copy_files(chosen_claims(["induction"], folder=folder), tmp_path / "mine", folder)
    names = {str(path.relative_to(tmp_path / "mine")) for path in copied}
    assert names == {"test_heads.py", "expectations/heads.yaml", "conftest.py"}
    assert all(path.read_bytes() == origin.read_bytes() for path, origin in copied.items())


def test_a_copy_overwrites_nothing(folder: Path, tmp_path: Path):
    """Where one of the files is there, none is copied."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "conftest.py").write_text("mine")
    with pytest.raises(FileExistsError, match=r"conftest.py is there already: give another folder"):
        copy_files(chosen_claims(["induction"], folder=folder), tmp_path / "mine", folder)
    assert not (tmp_path / "mine" / "test_heads.py").exists()


def test_a_package_without_its_claims_says_what_to_do(tmp_path: Path):
    """Where neither place has them, the error names it."""
    with pytest.raises(ClaimError, match="install lazarus_probe again"):
        library_folder(tmp_path / "site" / "lazarus_probe")
