"""What the emergence study is run on: arithmetic, sentiment, and code against prose.

A task names classes of prompts, and for each class a word that a middle layer is trained to have on top of its logit
lens. The word must be one token; it must not be what the model answers, or the lens would show an early answer, no
class; and it must stand in no prompt, or a layer that copies would be right. And it must have a direction of its own in
the vocabulary: the tokens that the bundled models never met share one, and so do words that are used alike, as `good`
and `great`; no residual stream can put one of those on top of the others. So:

- `arithmetic`: `multiply`, `add`, `subtract` and `divide` for prompts of symbols, answered in digits.
- `sentiment`: `help` and `poison` for reviews, which are answered ` positive` and ` negative`.
- `code`: `function` and `review` for the beginnings of Python lines and of sentences, whose answer is how they go on;
  `code` and `text` are tokens of the bundled models, but never met.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from lazarus_probe.tasks import language, prompts
from lazarus_probe.tasks.arithmetic import OPERATIONS, is_answer


@dataclass(frozen=True)
class Item:
    """One prompt of a class.

    Attributes:
        prompt: up to where the answer begins.
        response: as it continues the prompt.
        label: its class.
        family: what must not be on both sides of a split: the operands, the adjective, the statement.
        template: the wording around it, which a split keeps apart too; "" where there is none.
    """

    prompt: str
    response: str
    label: str
    family: str
    template: str = ""


@dataclass(frozen=True)
class StudyTask:
    """A task of the study.

    Attributes:
        name: as on the command line.
        words: the class word of each label.
        draw: at most so many items a label, all with different prompts, from a generator.
        is_right: whether a greedy continuation answers an item.
        max_tokens: that an answer takes at most.
    """

    name: str
    words: Mapping[str, str]
    draw: Callable[[np.random.Generator, int], list[Item]]
    is_right: Callable[[str, Item], bool]
    max_tokens: int

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of their words."""
        return tuple(self.words)

    def items(self, seed: int = 0, per_label: int = 200) -> tuple[Item, ...]:
        """At most `per_label` items of each label; the same for the same seed.

        Raises:
            ValueError: `per_label` is below 1, or more than arithmetic has of an operation.
        """
        if per_label < 1:
            raise ValueError(f"per_label is {per_label}; at least 1 is needed")
        return tuple(self.draw(np.random.default_rng(seed), per_label))


def split(items: Sequence[Item], share: float, seed: int) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Items to train on and held-out ones, with no family, and no template, on both sides.

    Of the families with the same labels a share is held out, and at least two of four or more, so that a probe can be
    taught on one of a label and tried on another; every label is then on both sides. Where there are several templates
    a share of them is held out as well: then what is trained on has neither a held-out family nor a held-out template,
    what is held out has both, and the mixed rest is left out.

    Raises:
        ValueError: `share` is not between 0 and 1, or a side is empty.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share:g}; it must lie between 0 and 1")
    rng = np.random.default_rng(seed)
    families = {family for alike in _families_alike(items) for family in _some(alike, share, rng, 2)}
    templates = set(_some(sorted({item.template for item in items}), share, rng, 1))
    train = [i for i in items if i.family not in families and i.template not in templates]
    held_out = [i for i in items if i.family in families and (not templates or i.template in templates)]
    if not train or not held_out:
        raise ValueError(f"{len(items)} items make no two sides; give more of them, or another share")
    return tuple(train), tuple(held_out)


def _families_alike(items: Sequence[Item]) -> list[list[str]]:
    """Families, those with the same labels together."""
    labels: dict[str, set[str]] = {}
    for item in items:
        labels.setdefault(item.family, set()).add(item.label)
    alike: dict[tuple[str, ...], list[str]] = {}
    for family in sorted(labels):
        alike.setdefault(tuple(sorted(labels[family])), []).append(family)
    return [alike[key] for key in sorted(alike)]


def _some(names: Sequence[str], share: float, rng: np.random.Generator, least: int) -> list[str]:
    """A share of some names, and at least so many, if that leaves half of them."""
    count = max(min(least, len(names) // 2), round(share * len(names)))
    return [names[i] for i in rng.permutation(len(names))[:count]]


def _draw_arithmetic(rng: np.random.Generator, per_label: int) -> list[Item]:
    asked = prompts.questions(rng, per_label, phrasings=["spaced"])
    return [Item(q.text, q.fact.response(q.phrasing), q.fact.operation, q.family, q.phrasing) for q in asked]


def _answers_sum(text: str, item: Item) -> bool:
    return is_answer(text, float(item.response))


def _draw_sentiment(rng: np.random.Generator, per_label: int) -> list[Item]:
    items = [
        Item(each.prompt, each.response, each.response.strip(), each.subject.partition(" ")[0], each.phrasing)
        for each in language.sentiment()
    ]
    return _at_most(items, per_label, rng)


def _names_sentiment(text: str, item: Item) -> bool:
    """Whether the first word is the answer."""
    said = re.match(r"\s*(\w+)", text)
    return said is not None and said[1].lower() == item.response.strip()


def _draw_lines(rng: np.random.Generator, per_label: int) -> list[Item]:
    """Beginnings of lines, each prompt once; the statement, or whom a sentence is about, is the family."""
    lines = [("code", _statement(each.phrasing), each.response) for each in language.code()]
    lines += [("prose", each.subject, each.response) for each in language.english()]
    found: dict[str, Item] = {}
    for i in rng.permutation(len(lines)):
        label, family, line = lines[i]
        for prompt, rest in _beginnings(line):
            found.setdefault(prompt, Item(prompt, rest, label, family))
    whole = [item for item in found.values() if _goes_on(item.response, item)]  # `Hello world` ends nowhere
    return [item for label in CODE_WORDS for item in _in_turns(whole, label)[:per_label]]


def _statement(template: str) -> str:
    """What kind of statement a line of code is: those with a beginning in common are one, and so are the one-liners."""
    first = template.partition(" ")[0]
    if first in ("for", "if", "while", "def"):
        return first
    return "assignment" if first == "{0}" else "simple"


def _beginnings(line: str) -> Iterator[tuple[str, str]]:
    """The line cut before its spaces: what is left of it, and the rest.

    A capitalised word alone, as `Divide`, may as well begin a command; a sentence is cut after two or more.
    """
    for space in list(re.finditer(" ", line))[line[0].isupper() :]:
        yield line[: space.start()], line[space.start() :]


def _in_turns(items: Sequence[Item], label: str) -> list[Item]:
    """The items of a label, one of each family after the other, so that the first so many are of all families."""
    families: dict[str, list[Item]] = {}
    for item in items:
        if item.label == label:
            families.setdefault(item.family, []).append(item)
    rounds = zip_longest(*families.values())
    return [item for members in rounds for item in members if item is not None]


def _goes_on(text: str, item: Item) -> bool:
    """Whether the line is completed to one of its kind: Python that parses, or words up to the end of a sentence.

    No line has one right end (`The cat saw` whatever it did), so none is asked for.
    """
    line = (item.prompt + text).partition("\n")[0].rstrip()
    if item.label == "code":
        return len(line) > len(item.prompt) and _parses(line)
    said = re.match(r"[A-Z][A-Za-z']*([,.!?]? [A-Za-z']+)+[.!?]", line)
    return said is not None and said.end() > len(item.prompt)


def _parses(line: str) -> bool:
    try:
        ast.parse(line)
    except (SyntaxError, ValueError):
        return False
    return True


def _at_most(items: Sequence[Item], per_label: int, rng: np.random.Generator) -> list[Item]:
    order = [items[i] for i in rng.permutation(len(items))]
    labels = dict.fromkeys(item.label for item in items)
    return [item for label in labels for item in [i for i in order if i.label == label][:per_label]]


SENTIMENT_WORDS = {"positive": "help", "negative": "poison"}
CODE_WORDS = {"code": "function", "prose": "review"}

TASKS = {
    task.name: task
    for task in (
        StudyTask("arithmetic", {name: name for name in OPERATIONS}, _draw_arithmetic, _answers_sum, 5),
        StudyTask("sentiment", SENTIMENT_WORDS, _draw_sentiment, _names_sentiment, 2),
        StudyTask("code", CODE_WORDS, _draw_lines, _goes_on, 12),
    )
}
