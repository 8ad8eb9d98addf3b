"""Prompts whose answers can be marked, with worked examples that no tested fact or family is among."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from zlib import crc32

from lazarus_probe.asking.forms import Shots
from lazarus_probe.tasks import arithmetic
from lazarus_probe.tasks.arithmetic import Fact, facts
from lazarus_probe.tasks.prompts import Question

SHOTS = 3


@dataclass(frozen=True, eq=False)
class Exam:
    """N prompts, and how their answers are marked.

    Attributes:
        prompts: (N,) plain texts.
        answers: (N,) the right answers, as each continues its prompt.
        families: (N,) what must not be on both sides of a split.
        is_right: whether a completion answers prompt i.
        shots: (N,) the worked examples for each prompt, alike for all of one form; () where there are none.
        classes: (N,) a share is to be reached in each of them; () for one class.
        together: this many consecutive prompts are marked as one, which is right if all of them are.
        at_once: whether the answer must come first, as where a claim reads the state before it.
        max_tokens: of a completion, where answers do not tell; 0 for as many as the longest answer needs.
        shots_by_name: the worked examples by phrasing, for further prompts of a claim.
        shown: families of the worked examples, which further prompts must not have.
    """

    prompts: Sequence[str]
    answers: Sequence[str]
    families: Sequence[str]
    is_right: Callable[[int, str], bool]
    shots: Sequence[Shots] = ()
    classes: Sequence[str] = ()
    together: int = 1
    at_once: bool = False
    max_tokens: int = 0
    shots_by_name: Mapping[str, Shots] = field(default_factory=dict)
    shown: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Refuse columns that do not belong together."""
        count = len(self.prompts)
        for name in ("answers", "families", "shots", "classes"):
            column = getattr(self, name)
            if len(column) != count and (column or name in ("answers", "families")):
                raise ValueError(f"{len(column)} {name} for {count} prompts; give one for each")
        if not count or self.together < 1 or count % self.together:
            raise ValueError(f"{count} prompts cannot be marked {self.together} at a time")

    def shots_of(self, row: int) -> Shots:
        """The worked examples for a prompt; () where there are none."""
        return self.shots[row] if self.shots else ()


def question_exam(
    questions: Sequence[Question],
    *,
    at_once: bool = False,
    together: int = 1,
    classes: Sequence[str] = (),
    among: Collection[str] = (),
) -> Exam:
    """Arithmetic questions, marked by their number.

    Worked examples are in the phrasing of their question, of all operations that are tested in it, and of families that
    no question is of.

    Args:
        questions: N questions; fewer forms are tried where a phrasing leaves no facts for examples.
        at_once: whether the number must come first.
        together: consecutive questions that are marked as one.
        classes: (N,) a share is to be reached in each.
        among: families that are not in any example either, as those of other questions of the claim.
    """
    tested = {question.family for question in questions} | set(among)
    largest = max(max(question.fact.family) for question in questions)
    phrasings = dict.fromkeys(question.phrasing for question in questions)
    chosen = {
        phrasing: worked_facts(
            dict.fromkeys(q.fact.operation for q in questions if q.phrasing == phrasing), tested, largest
        )
        for phrasing in phrasings
    }
    shots = {name: shots_of(facts_shown, name) for name, facts_shown in chosen.items()}

    def is_right(index: int, text: str) -> bool:
        question = questions[index]
        if at_once:
            return arithmetic.answers_at_once(text, question.fact.answer)
        return arithmetic.is_answer(text, question.fact.answer, question.text)

    return Exam(
        [question.text for question in questions],
        [question.fact.response(question.phrasing) for question in questions],
        [question.family for question in questions],
        is_right,
        [shots[question.phrasing] for question in questions] if all(shots.values()) else (),
        classes,
        together,
        at_once,
        shots_by_name=shots,
        shown=frozenset("{},{}".format(*fact.family) for of_one in chosen.values() for fact in of_one),
    )


def in_form(questions: Sequence[Question], prompts: Sequence[str]) -> list[Question]:
    """The questions with the text of their prompts in a form that a model is asked in."""
    return [replace(question, text=prompt) for question, prompt in zip(questions, prompts, strict=True)]


def worked_facts(
    operations: Iterable[str], tested: Collection[str], largest: int = 50, count: int = SHOTS
) -> tuple[Fact, ...]:
    """Facts of other families for worked examples, in an order that no draw changes.

    They are at most about as large as what is tested, and never of a family in `tested`. At least one is of each
    operation. Nothing is returned where there are not so many.

    Args:
        operations: of the questions.
        tested: families, as `7,8`.
        largest: number in those families.
        count: of examples.
    """
    names = list(operations)
    pools = {name: _pool(name, tested, largest) for name in names}
    chosen: list[Fact] = []
    for turn in range(max(count, len(names))):
        pool = pools[names[turn % len(names)]]
        families = {fact.family for fact in chosen}
        fact = next((fact for fact in pool if fact.family not in families), None)
        if fact is None:
            return ()
        chosen.append(fact)
    return tuple(chosen)


def shots_of(shown: Iterable[Fact], phrasing: str) -> Shots:
    """Facts with their answers, in one phrasing."""
    return tuple((fact.prompt(phrasing), fact.response(phrasing)) for fact in shown)


def _pool(operation: str, tested: Collection[str], largest: int) -> list[Fact]:
    """Facts without trivial operands, those in range first, in an order of their own."""
    limit = largest + 3
    rest = [
        fact for fact in facts(operation) if "{},{}".format(*fact.family) not in tested and fact.family[0] > 1
    ]
    return sorted(
        rest, key=lambda fact: (fact.family[1] > limit, crc32(f"{operation} {fact.family}".encode()))
    )
