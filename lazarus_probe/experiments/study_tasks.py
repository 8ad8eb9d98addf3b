"""Tasks of the emergence study: arithmetic, sentiment, and code versus prose.

A task defines classes of prompts, and for each class a word that a middle layer is trained to rank first in its logit
lens. The word must be a single token. It must not be the model's answer, or the lens would show an early answer instead
of a class, and it must not occur in a prompt, or a layer that copies would be right. It also needs an unembedding
direction of its own: tokens that the bundled models never saw in training share one, and so do words used alike, such
as `good` and `great`; no residual stream can rank one of those above the others. So:

- `arithmetic`: `multiply`, `add`, `subtract` and `divide` for symbolic prompts, answered in digits.
- `sentiment`: `help` and `poison` for reviews, which are answered ` positive` and ` negative`.
- `code`: `function` and `review` for the beginnings of Python lines and of sentences, answered by their continuation;
  `code` and `text` are tokens of the bundled models, but do not occur in their training data.
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
        prompt: text up to the answer.
        response: the answer, as it continues the prompt.
        label: its class.
        family: what must not be on both sides of a split: the operands, the adjective, the statement.
        template: the phrasing around it, never on both sides either; "" where there is none.
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
        draw: draws at most the given number of items per label, all with different prompts.
        is_right: whether a greedy continuation answers an item.
        max_tokens: of an answer.
        choices: the answers to choose from, where the likelier of them is the model's answer; () for free ones.
    """

    name: str
    words: Mapping[str, str]
    draw: Callable[[np.random.Generator, int], list[Item]]
    is_right: Callable[[str, Item], bool]
    max_tokens: int
    choices: tuple[str, ...] = ()

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
    """Training items and held-out items, with no family and no template on both sides.

    Among the families with the same labels a share is held out, and at least two of four or more, so that a probe can
    be fitted on one family of a label and tested on another; every label is then on both sides. Where there are several
    templates, a share of them is held out as well: training items then have neither a held-out family nor a held-out
    template, held-out items have both, and the mixed rest is dropped.

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
        raise ValueError(f"{len(items)} items cannot be split in two; give more of them, or another share")
    return tuple(train), tuple(held_out)


def _families_alike(items: Sequence[Item]) -> list[list[str]]:
    """Families, grouped by their labels."""
    labels: dict[str, set[str]] = {}
    for item in items:
        labels.setdefault(item.family, set()).add(item.label)
    alike: dict[tuple[str, ...], list[str]] = {}
    for family in sorted(labels):
        alike.setdefault(tuple(sorted(labels[family])), []).append(family)
    return [alike[key] for key in sorted(alike)]


def _some(names: Sequence[str], share: float, rng: np.random.Generator, least: int) -> list[str]:
    """A share of the names, and at least `least` of them if that leaves half."""
    count = max(min(least, len(names) // 2), round(share * len(names)))
    return [names[i] for i in rng.permutation(len(names))[:count]]


def _draw_arithmetic(rng: np.random.Generator, per_label: int) -> list[Item]:
    questions = prompts.questions(rng, per_label, phrasings=["spaced"])
    return [
        Item(q.text, q.fact.response(q.phrasing), q.fact.operation, q.family, q.phrasing) for q in questions
    ]


def _answers_sum(text: str, item: Item) -> bool:
    return is_answer(text, float(item.response))


def _draw_sentiment(rng: np.random.Generator, per_label: int) -> list[Item]:
    items = [
        Item(e.prompt, e.response, e.response.strip(), e.subject.partition(" ")[0], e.phrasing)
        for e in language.sentiment()
    ]
    return _at_most(items, per_label, rng)


def _names_sentiment(text: str, item: Item) -> bool:
    """Whether the first sentiment that the text names is the answer."""
    named = re.search(rf"\b({'|'.join(SENTIMENT_WORDS)})\b", text.lower())
    return named is not None and named[1] == item.response.strip()


def _draw_lines(rng: np.random.Generator, per_label: int) -> list[Item]:
    """Beginnings of lines, without duplicate prompts; the family is the statement, or the subject of the sentence."""
    lines = [("code", _statement(example.phrasing), example.response) for example in language.code()]
    lines += [("prose", example.subject, example.response) for example in language.english()]
    items: dict[str, Item] = {}
    for i in rng.permutation(len(lines)):
        label, family, line = lines[i]
        for prompt, rest in _beginnings(line):
            items.setdefault(prompt, Item(prompt, rest, label, family))
    complete = [
        item for item in items.values() if _goes_on(item.response, item)
    ]  # `Hello world` has no full stop
    return [item for label in CODE_WORDS for item in _in_turns(complete, label)[:per_label]]


def _statement(template: str) -> str:
    """The kind of statement that a line of code is: by its keyword, an assignment, or a simple statement."""
    first = template.partition(" ")[0]
    if first in ("for", "if", "while", "def"):
        return first
    return "assignment" if first == "{0}" else "simple"


def _beginnings(line: str) -> Iterator[tuple[str, str]]:
    """The line split at each space into a beginning and the rest.

    A capitalised word alone, such as `Divide`, might begin a command, so a sentence is cut after two words or more.
    """
    for space in list(re.finditer(" ", line))[line[0].isupper() :]:
        yield line[: space.start()], line[space.start() :]


def _in_turns(items: Sequence[Item], label: str) -> list[Item]:
    """The items of a label, taking one of each family in turn, so that the first ones cover all families."""
    families: dict[str, list[Item]] = {}
    for item in items:
        if item.label == label:
            families.setdefault(item.family, []).append(item)
    rounds = zip_longest(*families.values())
    return [item for members in rounds for item in members if item is not None]


def _goes_on(text: str, item: Item) -> bool:
    """Whether the completed line is of its kind: Python that parses, or words up to the end of a sentence.

    No line has a single right continuation (`The cat saw` can go on in many ways), so none is required.
    """
    line = (item.prompt + text).partition("\n")[0].rstrip()
    if item.label == "code":
        return len(line) > len(item.prompt) and _parses(line)
    sentence = re.match(r"[A-Z][A-Za-z']*([,.!?]? [A-Za-z']+)+[.!?]", line)
    return sentence is not None and sentence.end() > len(item.prompt)


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
        StudyTask("arithmetic", {name: name for name in OPERATIONS}, _draw_arithmetic, _answers_sum, 6),
        StudyTask("sentiment", SENTIMENT_WORDS, _draw_sentiment, _names_sentiment, 2, tuple(SENTIMENT_WORDS)),
        StudyTask("code", CODE_WORDS, _draw_lines, _goes_on, 12),
    )
}
