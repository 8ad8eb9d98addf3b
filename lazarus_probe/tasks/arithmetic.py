"""Arithmetic over 1..50: facts, the phrasings they are asked in, and the parsing that scores an answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

from lazarus_probe.spelling import one_of
from lazarus_probe.tasks.numbers import answer_number, first_number

LARGEST_OPERAND = 50
LARGEST_MINUEND = 100


@dataclass(frozen=True)
class Operation:
    """One of the four operations: its name is also its class word, as in `Multiply 7 by 8:`."""

    name: str
    symbol: str
    infix: str
    command: str
    noun: str
    gerund: str
    passive: str
    deed: str


OPERATIONS = {
    "multiply": Operation(
        "multiply", "*", "times", "Multiply {a} by {b}:", "product",
        "multiplying {a} by {b}", "{a} is multiplied by {b}", "multiplication",
    ),
    "add": Operation(
        "add", "+", "plus", "Add {a} and {b}:", "sum",
        "adding {b} to {a}", "{b} is added to {a}", "addition",
    ),
    "subtract": Operation(
        "subtract", "-", "minus", "Subtract {b} from {a}:", "difference",
        "subtracting {b} from {a}", "{b} is subtracted from {a}", "subtraction",
    ),
    "divide": Operation(
        "divide", "/", "divided by", "Divide {a} by {b}:", "quotient",
        "dividing {a} by {b}", "{a} is divided by {b}", "division",
    ),
}  # fmt: skip

PHRASINGS = {
    "spaced": "{a} {symbol} {b} = ",
    "compact": "{a}{symbol}{b}=",
    "what_is": "What is {A} {infix} {B}?",
    "what_is_digits": "What is {a} {infix} {b}?",
    "how_much": "How much is {A} {infix} {B}?",
    "is": "{A} {infix} {B} is",
    "noun": "The {noun} of {a} and {b} is",
    "command": "{command}",
    "command_lower": "{lower_command}",
}
SYMBOLIC = ("spaced", "compact")
VERBAL = tuple(name for name in PHRASINGS if name not in SYMBOLIC)

# Phrasings that the bundled models were not trained on, for claims that generalise over phrasings. With those above
# they are 40, of which a perfect probe has an accuracy of at least 0.91; of nine it would be 0.66.
FURTHER_PHRASINGS = {
    "equals": "{a} {symbol} {b} equals ",
    "question_answer": "Q: {a} {symbol} {b} A: ",
    "solve": "Solve {a}{symbol}{b}: ",
    "result_symbolic": "The result of {a} {symbol} {b} is ",
    "makes": "{a} {infix} {b} makes",
    "gives": "{A} {infix} {B} gives",
    "calculate": "Calculate {a} {infix} {b}:",
    "work_out": "Work out {A} {infix} {B}:",
    "result": "The result of {a} {infix} {b} is",
    "someone_asks": "Someone asks for {A} {infix} {B}. It is",
    "do_you_know": "Do you know what {a} {infix} {b} is? Yes, it is",
    "tell_me_noun": "Tell me the {noun} of {a} and {b}:",
    "find_noun": "Find the {noun} of {A} and {B}:",
    "noun_equals": "The {noun} of {A} and {B} equals",
    "whose_noun": "{a} and {b} have a {noun} of",
    "noun_question": "Question: what is the {noun} of {a} and {b}? Answer:",
    "need_noun": "I need the {noun} of {A} and {B}, which is",
    "gerund_gives": "{Gerund} gives",
    "gerund_we_get": "By {gerund} we get",
    "gerund_answer": "The answer of {gerund} is",
    "gerund_how": "What comes out of {gerund}?",
    "passive_if": "If {passive}, the result is",
    "passive_when": "When {passive} one gets",
    "passive_suppose": "Suppose {passive}. That makes",
    "can_you": "Can you {lower_order}? The answer is",
    "please": "Please {lower_order} and say the answer:",
    "if_you": "If you {lower_order} you get",
    "to": "To {lower_order} is to get",
    "deed_of": "The {deed} of {a} and {b} gives",
    "deed_exercise": "{Deed} exercise: {A} and {B}. Solution:",
    "deed_do": "Do the {deed} with {a} and {b}:",
}
ALL_PHRASINGS = PHRASINGS | FURTHER_PHRASINGS

_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen",
    "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


@dataclass(frozen=True, order=True)
class Fact:
    """`a` and `b` under an operation; every fact here has a whole, positive answer.

    Example:
        >>> from lazarus_probe.tasks import Fact
        >>> fact = Fact("multiply", 7, 8)
        >>> fact.answer, fact.family
        (56, (7, 8))
        >>> fact.prompt("what_is"), fact.response("what_is")
        ('What is seven times eight?', ' 56')
    """

    operation: str
    a: int
    b: int

    @property
    def answer(self) -> int:
        """The exact result."""
        match self.operation:
            case "multiply":
                return self.a * self.b
            case "add":
                return self.a + self.b
            case "subtract":
                return self.a - self.b
            case "divide":
                return self.a // self.b
        raise ValueError(f"unknown operation {self.operation!r}; {one_of(self.operation, OPERATIONS)}")

    @property
    def family(self) -> tuple[int, int]:
        """The unordered pair of parts: 7+8, 8+7, 15-7 and 15-8 share (7, 8) and stay together in a split."""
        parts = (self.a, self.b) if self.operation in ("multiply", "add") else (self.answer, self.b)
        return min(parts), max(parts)

    def prompt(self, phrasing: str = "spaced") -> str:
        """The question, up to where the answer begins; a trailing space belongs to it."""
        if phrasing not in ALL_PHRASINGS:
            raise ValueError(f"unknown phrasing {phrasing!r}; {one_of(phrasing, ALL_PHRASINGS)}")
        return ALL_PHRASINGS[phrasing].format_map(_fields(self))

    def response(self, phrasing: str = "spaced") -> str:
        """The answer as it continues the prompt."""
        return str(self.answer) if self.prompt(phrasing)[-1] in " =" else f" {self.answer}"


@lru_cache(maxsize=64)  # a corpus asks a fact in every phrasing, one after the other
def _fields(fact: Fact) -> dict[str, object]:
    """What the phrasings' templates name."""
    operation, a, b = OPERATIONS[fact.operation], fact.a, fact.b
    command, gerund, passive = (
        form.format(a=a, b=b) for form in (operation.command, operation.gerund, operation.passive)
    )
    lower_command = command[0].lower() + command[1:]
    return {
        "a": a,
        "b": b,
        "A": number_words(a),
        "B": number_words(b),
        "symbol": operation.symbol,
        "infix": operation.infix,
        "noun": operation.noun,
        "command": command,
        "lower_command": lower_command,
        "lower_order": lower_command.rstrip(":"),
        "gerund": gerund,
        "Gerund": gerund[0].upper() + gerund[1:],
        "passive": passive,
        "deed": operation.deed,
        "Deed": operation.deed.capitalize(),
    }


@cache
def facts(operation: str) -> tuple[Fact, ...]:
    """Every fact of one operation.

    `+` and `*` take both operands from 1..50, `/` every product of two such numbers by one of them, `-` a
    minuend up to 100 and a smaller subtrahend up to 50.

    Example:
        >>> from lazarus_probe.tasks import facts
        >>> len(facts("multiply"))
        2500
        >>> facts("multiply")[:2]
        (Fact(operation='multiply', a=1, b=1), Fact(operation='multiply', a=1, b=2))
    """
    operands = range(1, LARGEST_OPERAND + 1)
    if operation in ("multiply", "add"):
        return tuple(Fact(operation, a, b) for a in operands for b in operands)
    if operation == "divide":
        return tuple(Fact(operation, a * b, b) for a in operands for b in operands)
    if operation == "subtract":
        return tuple(Fact(operation, a, b) for a in range(2, LARGEST_MINUEND + 1) for b in operands if a > b)
    raise ValueError(f"unknown operation {operation!r}; {one_of(operation, OPERATIONS)}")


def number_words(number: int) -> str:
    """`fifty-six` for 56; numbers above 100 stay digits.

    Example:
        >>> from lazarus_probe.tasks import number_words
        >>> number_words(56), number_words(100)
        ('fifty-six', 'one hundred')
    """
    if number < 20:
        return _SMALL[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens] + (f"-{_SMALL[ones]}" if ones else "")
    return "one hundred" if number == 100 else str(number)


def parse_number(text: str) -> float | None:
    """The number that a completion begins with, or None.

    A thousands separator is part of the number and digits are read to their end: `2,209` is 2209 and `1000`
    is not 100. Text before the number is not skipped: a completion that begins with words has not answered at once.
    Nor is one a number that the limit of tokens may have cut off (`greedy` marks such completions).

    Example:
        >>> from lazarus_probe.tasks import parse_number
        >>> parse_number(" 56."), parse_number("fifty-six")
        (56.0, None)
    """
    return first_number(text)


def is_answer(text: str, expected: float, question: str = "") -> bool:
    """Whether a completion answers with the expected number, wherever that comes and in any usual writing.

    The first number counts that is no operand of a calculation; one that the limit of tokens may have cut off is none.

    Args:
        text: the completion.
        expected: the right number.
        question: the prompt; two of its numbers that the completion repeats, as in `the sum of 7 and 8 is 15`, are
            not its answer.

    Example:
        >>> from lazarus_probe.tasks import is_answer
        >>> is_answer("2,209 apples", 2209), is_answer("47 * 47 is 2209.", 2209), is_answer("22090", 2209)
        (True, True, False)
    """
    return answer_number(text, question) == expected


def answers_at_once(text: str, expected: float) -> bool:
    """Whether a completion begins with the expected number: the state before it is then where its answer begins."""
    return parse_number(text) == expected
