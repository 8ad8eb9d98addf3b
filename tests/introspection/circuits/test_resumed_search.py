"""A search for a circuit that was interrupted resumes where it stopped, and never on another model's runs."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.introspection import CircuitSearch, PromptPair, find_circuit
from lazarus_probe.introspection.circuits import circuit_runs, edge_attribution

SEARCH = CircuitSearch(steps=1, edges=60, exact=2)
PAIRS = [
    PromptPair(f"{a}+{b}=", f"{a}*{b}=", str(a + b), str(a * b)) for a, b in [(7, 8), (6, 9), (8, 9), (7, 6)]
]


@pytest.fixture
def runs(monkeypatch):
    """The runs that were computed: how many pairs and circuits, or "scores"."""
    computed = []
    values, scores = circuit_runs._values, edge_attribution._scores
    monkeypatch.setattr(
        circuit_runs,
        "_values",
        lambda pairs, matrix, *rest: (
            computed.append((len(pairs), len(matrix))) or values(pairs, matrix, *rest)
        ),
    )
    monkeypatch.setattr(
        edge_attribution, "_scores", lambda *given: computed.append("scores") or scores(*given)
    )
    return computed


def test_a_finished_search_runs_nothing_again(organism, runs, tmp_path):
    """The same circuit comes from the file, equal to that of a search without one."""
    plain = find_circuit(organism, PAIRS, SEARCH)
    first = find_circuit(organism, PAIRS, SEARCH, resume=tmp_path / "runs.npz")
    count = len(runs)
    assert find_circuit(organism, PAIRS, SEARCH, resume=tmp_path / "runs.npz") == first == plain
    assert len(runs) == count


def test_an_interrupted_search_goes_on(organism, runs, monkeypatch, tmp_path):
    """Scores that were computed before the interruption are not computed again."""
    path = tmp_path / "runs.npz"
    with monkeypatch.context() as broken:
        broken.setattr(circuit_runs, "_values", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            find_circuit(organism, PAIRS, SEARCH, resume=path)
    assert runs == ["scores"]
    assert find_circuit(organism, PAIRS, SEARCH, resume=path) == find_circuit(organism, PAIRS, SEARCH)
    assert runs.count("scores") == 2  # the second is that of the search without a file


def test_another_search_on_the_same_pairs_takes_what_is_there(organism, runs, tmp_path):
    """Other circuits need no new scores, and other steps do."""
    path = tmp_path / "runs.npz"
    find_circuit(organism, PAIRS, SEARCH, resume=path)
    find_circuit(organism, PAIRS, CircuitSearch(steps=1, edges=30, exact=0), resume=path)
    assert runs.count("scores") == 1
    find_circuit(organism, PAIRS, CircuitSearch(steps=2, edges=30, exact=0), resume=path)
    assert runs.count("scores") == 2


def test_files_of_others_are_refused(organism, tmp_path):
    """Another model, other pairs, no archive, and numbers of another shape."""
    path = tmp_path / "runs.npz"
    find_circuit(organism, PAIRS, SEARCH, resume=path)
    for model, pairs in ((organism.untrained(0), PAIRS), (organism, PAIRS[::-1])):
        with pytest.raises(ValueError, match="is of another model, other prompts or another version"):
            find_circuit(model, pairs, SEARCH, resume=path)
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(path, **{name: array if name == "of" else array[:1] for name, array in arrays.items()})
    with pytest.raises(ValueError, match="is damaged; delete it, and the search starts anew"):
        find_circuit(organism, PAIRS, SEARCH, resume=path)
    path.write_text("no archive")
    with pytest.raises(ValueError, match="is not the file of an interrupted search; name another"):
        find_circuit(organism, PAIRS, SEARCH, resume=path)
