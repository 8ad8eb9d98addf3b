"""Probe sets: classes of prompts in groups, so that a probe is scored on held-out groups.

A set is written as groups of templates. A group holds the templates of one class or of several; each template is
filled with every combination of the words it asks for, and with the name of its group where it asks for {group}:

    question:
      category: grammar
      words: {place: [in the garden, at home]}
      groups:
        cat: {question: ["so is the cat {place}"], statement: ["so the cat is {place}"]}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from lazarus_probe.files.plain_json import read_json
from lazarus_probe.files.whole_files import write_whole
from lazarus_probe.spelling import one_of

FOLDER = Path(__file__).parent / "probe_sets"
# The order in which they are run: properties of the words first, what is done with them last.
BUILT_IN = (
    "tool_decision",
    "tool_type",
    "tool_confidence",
    "entity_presence",
    "has_slots",
    "intent",
    "domain",
    "imperative",
    "question",
    "verb_type",
)
SLOT = re.compile(r"\{(\w+)\}")
MOST = 5_000
FORM = "a set needs groups: {GROUP: {CLASS: [TEMPLATE, ...]}}; write one with `circuit probes init`"


@dataclass(frozen=True)
class ProbeSet:
    """Prompts of some classes, in groups.

    Attributes:
        name: of the set.
        category: what kind of property it is, as in `grammar`.
        description: in words.
        texts: (N,) prompts.
        labels: (N,) classes.
        groups: (N,) groups.
        source: what it was made of, to be written again.
    """

    name: str
    category: str
    description: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    source: Mapping[str, Any]

    @property
    def classes(self) -> list[str]:
        """The classes, in order of name."""
        return sorted(set(self.labels))


@cache
def built_in(name: str) -> ProbeSet:
    """A set of the package.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in BUILT_IN:
        raise ValueError(f"there is no probe set {name!r}; {one_of(name, BUILT_IN)}")
    from lazarus_probe.files.plain_yaml import read_yaml  # PyYAML takes 20 ms to import

    return as_set(name, read_yaml(FOLDER / f"{name}.yaml").value)


def read_sets(path: Path) -> list[ProbeSet]:
    """The sets of a YAML or JSON file {NAME: SET}, or of all such files in a folder.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such file, or a set in it cannot be probed.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in (".yaml", ".yml", ".json"))
        if not files:
            raise ValueError(f"{path} holds no .yaml or .json file; write some with `circuit probes init`")
        return [probe_set for file in files for probe_set in read_sets(file)]
    document = _document(path)
    if not isinstance(document, dict) or not document:
        raise ValueError(f"{path} holds no sets by name; {FORM}")
    try:
        return [as_set(str(name), source) for name, source in document.items()]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def write_sets(path: Path, sets: Sequence[ProbeSet]) -> list[Path]:
    """Write sets to one .yaml or .json file, or each to a .yaml file in a folder.

    Returns:
        The files written.

    Raises:
        OSError: a file cannot be written.
    """
    if path.suffix not in (".yaml", ".yml", ".json"):
        path.mkdir(parents=True, exist_ok=True)
        return [file for item in sets for file in write_sets(path / f"{item.name}.yaml", [item])]
    import yaml

    data = {item.name: dict(item.source) for item in sets}
    if path.suffix == ".json":
        text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    else:
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110)
    write_whole(path, text)
    return [path]


def as_set(name: str, source: Any) -> ProbeSet:
    """A set from its plain data, its templates filled.

    Raises:
        ValueError: it is not of that form, a template asks for words that are not given, a text stands twice with
            different classes, or there are too few groups or too many prompts.
    """
    groups = source.get("groups") if isinstance(source, dict) else None
    if not isinstance(groups, dict) or not groups:
        raise ValueError(f"set {name}: {FORM}")
    words = _words(name, source.get("words") or {})
    rows = [
        (text, str(label), str(group))
        for group, classes in groups.items()
        for label, templates in _classes(name, str(group), classes).items()
        for template in templates
        for text in filled(name, template, {**words, "group": [str(group)]})
    ]
    if len(rows) > MOST:
        raise ValueError(f"set {name} has {len(rows)} prompts; give at most {MOST}")
    texts, labels, names = zip(*rows, strict=True)
    if len(set(texts)) < len(texts):
        twice = next(text for text in texts if texts.count(text) > 1)
        raise ValueError(f"set {name} has the prompt {twice!r} twice; give each once")
    if len(set(labels)) < 2:
        raise ValueError(f"set {name} has one class only; give at least 2")
    for label in sorted(set(labels)):
        if len({group for group, of in zip(names, labels, strict=True) if of == label}) < 2:
            raise ValueError(f"set {name}: class {label} is in one group only; give each at least 2")
    category, description = (str(source.get(key, "")) for key in ("category", "description"))
    return ProbeSet(name, category, description, texts, labels, names, source)


def filled(name: str, template: str, words: Mapping[str, Sequence[str]]) -> list[str]:
    """The texts of a template: one for every combination of the words that it asks for."""
    slots = list(dict.fromkeys(SLOT.findall(template)))
    missing = [slot for slot in slots if slot not in words]
    if missing:
        raise ValueError(
            f"set {name}: the template {template!r} asks for words named {missing[0]!r}; add them"
        )
    size = prod(len(words[slot]) for slot in slots)
    if size > MOST:
        raise ValueError(f"set {name}: the template {template!r} has {size} texts; give at most {MOST}")
    fillings = product(*(words[slot] for slot in slots))
    return [_filled(template, dict(zip(slots, filling, strict=True))) for filling in fillings]


def _filled(template: str, word_of_slot: Mapping[str, str]) -> str:
    return SLOT.sub(lambda match: word_of_slot[match[1]], template)


def _document(path: Path) -> Any:
    from lazarus_probe.files.plain_yaml import read_yaml

    try:
        return read_json(path) if path.suffix == ".json" else read_yaml(path).value
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is neither YAML nor JSON ({reason[:120]}); {FORM}") from None


def _words(name: str, words: Any) -> dict[str, list[str]]:
    if not isinstance(words, dict) or not all(
        isinstance(fillers, list) and fillers for fillers in words.values()
    ):
        raise ValueError(f"set {name}: words must be lists by name, as in {{city: [Oslo, Rome]}}")
    return {str(slot): [str(word) for word in fillers] for slot, fillers in words.items()}


def _classes(name: str, group: str, classes: Any) -> dict[str, list[str]]:
    if not isinstance(classes, dict) or not classes:
        raise ValueError(f"set {name}, group {group}: {FORM}")
    for label, templates in classes.items():
        right = isinstance(templates, list) and templates
        if not right or not all(isinstance(template, str) and template for template in templates):
            raise ValueError(f"set {name}, group {group}: {label} must be a list of templates, none empty")
    return {str(label): templates for label, templates in classes.items()}
