"""The probe sets, and those that users write."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from lazarus_probe.circuit.sets import BUILT_IN, as_set, built_in, read_sets, write_sets

CLASSES = {"tool_type": 4, "tool_confidence": 3, "intent": 3, "domain": 5}
GOOD: dict[str, Any] = {
    "words": {"x": ["u", "v"]},
    "groups": {"g": {"a": ["{x} one"], "b": ["{x} two"]}, "h": {"a": ["one {x} {group}"], "b": ["two"]}},
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in(name: str):
    """Each of the ten has its classes, six groups and more a class, forty prompts and more, none twice."""
    found = built_in(name)
    assert len(found.classes) == CLASSES.get(name, 2)
    assert len(set(found.texts)) == len(found.texts) >= 40
    groups = defaultdict(set)
    for label, group in zip(found.labels, found.groups, strict=True):
        groups[label].add(group)
    assert min(len(each) for each in groups.values()) >= 6
    assert found.description
    assert found.category


@pytest.mark.parametrize("name", ["sets.yaml", "sets.json", "folder"])
def test_round_trip(tmp_path: Path, name: str):
    """What is written is read back as the same sets."""
    sets = [built_in("question"), as_set("mine", GOOD)]
    files = write_sets(tmp_path / name, sets)
    assert all(file.is_file() for file in files)
    assert {each.name: each.texts for each in read_sets(tmp_path / name)} == {
        each.name: each.texts for each in sets
    }


def test_templates():
    """A template is filled with each of its words, and with the name of its group."""
    assert as_set("mine", GOOD).texts == ("u one", "v one", "u two", "v two", "one u h", "one v h", "two")


@pytest.mark.parametrize(
    ("source", "named"),
    [
        (None, "needs groups"),
        ({"groups": []}, "needs groups"),
        ({"groups": {"g": ["a"]}}, "group g"),
        ({"groups": {"g": {"a": []}}}, "must be a list of templates"),
        ({"groups": {"g": {"a": [3]}}}, "must be a list of templates"),
        ({**GOOD, "words": {"y": ["u"]}}, "asks for words named 'x'"),
        ({**GOOD, "words": ["x"]}, "words must be lists by name"),
        ({"groups": {"g": {"a": ["x"]}, "h": {"a": ["y"]}}}, "one class only"),
        ({"groups": {"g": {"a": ["x"]}, "h": {"b": ["y"]}}}, "class a is in one group only"),
        ({"groups": {"g": {"a": ["x"], "b": ["x"]}}}, "'x' twice"),
        ({**GOOD, "words": {"x": ["u"] * 6000}}, "has 6000 texts"),
    ],
)
def test_refused(source: Any, named: str):
    """A set that cannot be probed is refused with what is wrong."""
    with pytest.raises(ValueError, match=re.escape(named)):
        as_set("mine", source)


@pytest.mark.parametrize("text", ["{", "a: [", "[]", "a: 3", "!!python/object/apply:os.getcwd []", "\x00"])
def test_files_from_elsewhere(tmp_path: Path, text: str):
    """A file of another form is refused, whatever is in it."""
    for name in ("s.yaml", "s.json"):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=r"s\."):
            read_sets(tmp_path / name)
