"""Tasks on single words, to be shown by worked examples: antonyms, capitals, plurals, past tenses.

After Todd et al. 2024 (arXiv:2310.15213), with lists of our own: models remember the published ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lazarus_probe.files.plain_json import parse_json
from lazarus_probe.files.reading import read_text
from lazarus_probe.tasks.language import CAPITALS

PAIRS = 'give a JSON list, or a line each, of {"input": ..., "output": ...}'
INPUT, OUTPUT = "{input}", "{output}"
# How an example is written. None begins with the input: a model without a beginning-of-sequence token makes its first
# token a sink, and reads little of it.
FORMS = (
    "Q: {input}\nA: {output}\n\n",
    "Input: {input}\nOutput: {output}\n",
    "Word: {input} -> {output}\n",
    "The word {input} becomes {output}.\n",
)

_ANTONYMS = (
    "hot cold|big small|up down|good bad|old young|fast slow|happy sad|rich poor|strong weak|high low|open closed|"
    "light dark|wet dry|hard soft|early late|full empty|left right|long short|near far|clean dirty|true false|"
    "win lose|day night|love hate|black white|buy sell|push pull|front back|inside outside|begin end|thick thin|"
    "loud quiet|guilty innocent|first last|more less|above below|before after|always never|wide narrow|deep shallow|"
    "sharp dull|safe dangerous|cheap expensive|easy difficult|brave afraid|sweet bitter|smooth rough|male female|"
    "north south|east west|import export|accept reject|arrive leave|remember forget|private public|ancient modern"
)
_PLURALS = (
    "cat cats|dog dogs|house houses|tree trees|car cars|book books|child children|man men|woman women|foot feet|"
    "tooth teeth|mouse mice|river rivers|city cities|country countries|baby babies|story stories|party parties|"
    "leaf leaves|knife knives|wife wives|life lives|wolf wolves|box boxes|church churches|bus buses|glass glasses|"
    "dish dishes|hero heroes|potato potatoes|boy boys|girl girls|friend friends|school schools|game games|"
    "computer computers|teacher teachers|flower flowers|mountain mountains|window windows|letter letters|"
    "person people|goose geese|bird birds|star stars|stone stones|family families|student students"
)
_PASTS = (
    "go went|see saw|take took|make made|come came|give gave|find found|think thought|tell told|write wrote|"
    "run ran|eat ate|sing sang|drink drank|swim swam|begin began|break broke|speak spoke|drive drove|ride rode|"
    "fall fell|know knew|grow grew|throw threw|fly flew|draw drew|buy bought|bring brought|catch caught|"
    "teach taught|sell sold|hold held|feel felt|keep kept|sleep slept|leave left|meet met|pay paid|say said|"
    "stand stood|win won|lose lost|sit sat|send sent|build built|walk walked|play played|look looked|call called|"
    "help helped"
)


@dataclass(frozen=True)
class WordTask:
    """What is to be made of a word, by examples.

    Attributes:
        name: of the task.
        pairs: an input and its output, each input once.

    Raises:
        ValueError: an input that stands twice, or an empty word.

    Example:
        >>> from lazarus_probe.tasks import WordTask
        >>> task = WordTask("plural", (("cat", "cats"), ("mouse", "mice")))
        >>> task.pairs[1]
        ('mouse', 'mice')
    """

    name: str
    pairs: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        inputs = [word for word, _ in self.pairs]
        if twice := [word for word in inputs if inputs.count(word) > 1]:
            raise ValueError(f"task {self.name!r} has the input {twice[0]!r} twice; give each once")
        if any(not word.strip() for pair in self.pairs for word in pair):
            raise ValueError(
                f"task {self.name!r} has an empty word; give an input and an output in each pair"
            )


def prompt_and_answer(
    shown: Sequence[tuple[str, str]], query: tuple[str, str], form: str = FORMS[0]
) -> tuple[str, str]:
    """A prompt that shows examples and ends where an output belongs, and that output with the space before it.

    Args:
        shown: pairs; none for a prompt without examples.
        query: the pair whose output is left out.
        form: of an example, with `{input}` before `{output}`.

    Raises:
        ValueError: a form without both, once each and in this order.

    Example:
        >>> from lazarus_probe.tasks.in_context import prompt_and_answer
        >>> prompt_and_answer([("up", "down")], ("hot", "cold"), "{input} -> {output}; ")
        ('up -> down; hot ->', ' cold')
    """
    if form.count(INPUT) != 1 or form.count(OUTPUT) != 1 or form.index(INPUT) > form.index(OUTPUT):
        raise ValueError(f"form {form!r} shows no example; give one with {INPUT} before {OUTPUT}")
    before = form[: form.index(OUTPUT)]
    start = before.rstrip(" ")
    examples = "".join(form.replace(INPUT, word).replace(OUTPUT, made) for word, made in shown)
    return examples + start.replace(INPUT, query[0]), before[len(start) :] + query[1]


def read_pairs(path: Path) -> WordTask:
    """The task in a file of JSON or of JSON lines, under the file's name.

    Raises:
        OSError: the file cannot be read.
        ValueError: it has another form, or as `WordTask`; the message names the wrong pair.
    """
    try:
        text = read_text(path)
        lines = [line for line in text.split("\n") if line.strip()]
        items: Any = [parse_json(line) for line in lines] if path.suffix == ".jsonl" else parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({str(error).splitlines()[0]}); {PAIRS}") from None
    if not isinstance(items, list) or not items:
        raise ValueError(f"{path} holds no pairs; {PAIRS}")
    for number, item in enumerate(items):
        texts = isinstance(item, dict) and all(isinstance(value, str) for value in item.values())
        if not texts or item.keys() != {"input", "output"}:
            raise ValueError(f"{path}: pair {number} is {str(item)[:60]!r}; {PAIRS}")
    return WordTask(path.stem, tuple((item["input"], item["output"]) for item in items))


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    split = (pair.split() for pair in text.split("|"))
    return tuple((word, made) for word, made in split)


WORD_TASKS: Mapping[str, WordTask] = MappingProxyType(
    {
        name: WordTask(name, pairs)
        for name, pairs in {
            "antonym": _pairs(_ANTONYMS),
            "capital": tuple(CAPITALS.items()),
            "plural": _pairs(_PLURALS),
            "past": _pairs(_PASTS),
        }.items()
    }
)
