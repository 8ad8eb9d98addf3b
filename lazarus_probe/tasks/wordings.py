"""Arithmetic in words: every wording asks for one operation, and few share a word that tells which.

A phrasing that all operations are asked in, such as `What is {a} {infix} {b}?`, leaves the operation to one word, and
that word recurs in the next phrasing: a bag of tokens then reads a held-out phrasing as well as any model. Here a
held-out wording mostly names its operation in words of its own, so that what is read there is a meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

from lazarus_probe.spelling import one_of
from lazarus_probe.tasks.arithmetic import OPERATIONS, Fact
from lazarus_probe.tasks.prompts import Question, sample_facts

# The largest number of a worded question: quotients beyond it would be told by the length of their dividend.
LARGEST = 100

WORDINGS = {
    "multiply": (
        "What is {a} times {b}?",
        "Multiply {a} by {b}:",
        "The product of {a} and {b} is",
        "{a} rows hold {b} chairs each, so the hall seats",
        "A box holds {b} pens. In {a} such boxes there are",
        "At {b} euros a ticket, {a} tickets cost",
        "A car drives {b} miles an hour. Within {a} hours it drives",
        "A field {a} metres long and {b} metres wide has an area of",
        "Every one of {a} children gets {b} sweets. Handed out are",
        "{a} lots of {b} make",
        "Scale {a} by a factor of {b}:",
        "A spider climbs {b} steps daily; in {a} days it climbs",
        "Each of {a} teams brings {b} players, a crowd of",
        "{a} packs containing {b} cards apiece contain",
        "A wage of {b} pounds per day for {a} days earns",
        "The tiles lie {a} deep and {b} across. The floor took",
        "A rectangle of {a} by {b} squares consists of",
        "With {a} shirts and {b} hats, the outfits to choose from are",
        "{b} copies of a booklet of {a} pages have, in pages,",
        "Typing {b} words a minute, in {a} minutes one types",
        "A choir stands in {a} lines of {b}. The singers are",
        "A pump moves {b} litres a second; in {a} seconds it moves",
        "In the multiplication table, row {a}, column {b}, stands",
        "{a} grown to {b}-fold its size is",
        "If one stamp costs {b} cents, a sheet with {a} of them costs",
        "{a} weeks at {b} lessons weekly are",
        "A tower with {a} floors and {b} windows on every floor has",
        "All of {a} trees bear {b} plums. The harvest is",
        "A wheel turns {b} degrees a step, and after {a} steps has turned",
        "{a} bundles with {b} twigs in a bundle come to",
        "Folding doubles; stamping {b} marks at each of {a} stops leaves marks numbering",
        "{a} nests with {b} eggs in every nest mean eggs numbering",
    ),
    "add": (
        "What is {a} plus {b}?",
        "Add {a} and {b}:",
        "The sum of {a} and {b} is",
        "Tom has {a} marbles and finds {b} more. Now he has",
        "{a} increased by {b} gives",
        "The pot has {a} beans; pour in another {b}, and it has",
        "{a} boys and {b} girls went. Altogether went",
        "The price was {a} pounds and rose {b}, to",
        "Combine {a} with {b}:",
        "A bus with {a} aboard picks up {b} passengers and carries",
        "{b} years after turning {a}, she turns",
        "The total of {a} and {b} equals",
        "Walk {a} yards, then a further {b}. The way was",
        "Put {a} coins beside {b} coins and count",
        "The library owned {a} books and bought {b}; it owns",
        "{b} above {a} lies",
        "A rope of {a} feet, lengthened with {b} feet, measures",
        "Ann saved {a} dollars, her aunt gave her {b}, so she can spend",
        "Two jars weigh {a} and {b} grams; together they weigh",
        "Count on {b} from {a}:",
        "The club of {a} members gained {b}. Its members are",
        "It is {a} degrees and warms up {b} degrees, reaching",
        "A plank of {a} inches joined to one of {b} inches reaches",
        "Snow lay {a} inches deep and {b} fell on top. The depth is",
        "After {a} wins came {b} extra wins, making",
        "A herd of {a} cows got {b} calves, growing to",
        "Extend a list of {a} names with {b} new ones. It has",
        "Mixing {a} litres of red into {b} litres of blue paint yields",
        "{a} and also {b}, all in all:",
        "Raise {a} by {b}:",
        "The elder sister of a boy of {a}, older by {b}, is",
        "Deposit {b} where {a} lay; the account shows",
    ),
    "subtract": (
        "What is {a} minus {b}?",
        "Subtract {b} from {a}:",
        "The difference of {a} and {b} is",
        "Sue had {a} pears and ate {b}. Left are",
        "{a} decreased by {b} gives",
        "Take {b} away from {a}:",
        "Of {a} guests {b} went home. Still here are",
        "The coat was {a} pounds and is {b} cheaper, so it is",
        "Remove {b} of {a} bricks and count what stays:",
        "{a} less {b} is",
        "A bus with {a} aboard drops off {b} passengers and carries",
        "{b} years before turning {a}, she turned",
        "A pole of {a} feet, shortened by {b} feet, measures",
        "From {a} coins he lost {b}. He keeps",
        "It is {a} degrees and cools {b} degrees, falling to",
        "{b} below {a} lies",
        "The remaining pages of a novel of {a}, when {b} are read, are",
        "Deduct {b} from {a}:",
        "A tank of {a} litres leaks {b} litres and holds",
        "{a} without {b} is",
        "Count back {b} from {a}:",
        "Of {a} candles {b} burned out. Burning are",
        "How much further is {a} miles than {b} miles? By",
        "She owes {a} dollars and repays {b}; her debt is",
        "The younger brother of a girl of {a}, junior by {b}, is",
        "A shop with {a} loaves sold {b}. The unsold loaves are",
        "Reduce {a} by {b}:",
        "Out of {a} players {b} are injured, and fit are",
        "Withdraw {b} where {a} lay; the account shows",
        "{a} soldiers marched out and {b} deserted, so there returned",
        "Ice {a} inches thick melts {b} inches, down to",
        "Cross {b} names off a list of {a}. It has",
    ),
    "divide": (
        "What is {a} divided by {b}?",
        "Divide {a} by {b}:",
        "The quotient of {a} and {b} is",
        "{a} sweets are shared equally among {b} children. A child gets",
        "{a} over {b} is",
        "Cut a cord of {a} feet in {b} equal pieces. A piece measures",
        "{b} goes into {a} this often:",
        "Split {a} evenly in {b}:",
        "The ratio of {a} to {b} is",
        "{a} cards are dealt to {b} players. A hand is",
        "If {b} pens cost {a} cents, a single pen is",
        "With {a} wheels on carts of {b} wheels, the carts are",
        "An average over {b} days that sum up to {a} is",
        "Ordering {a} soldiers in {b} ranks of one size puts in a rank",
        "A journey of {a} miles in {b} hours means a speed of",
        "How many times does {b} fit in {a}?",
        "Halving is by two; parting {a} by {b} is",
        "{a} eggs fill cartons of {b}. The cartons filled are",
        "Pouring {a} litres in jugs of {b} litres fills jugs numbering",
        "One {b}th of {a} is",
        "A bill of {a} pounds, settled by {b} friends alike, is a head",
        "The fraction {a} on {b}, simplified, is",
        "Distribute {a} stamps onto {b} pages alike. A page has",
        "A loan of {a} coins, repaid in {b} equal rates, has rates of",
        "{a} minutes allow for songs of {b} minutes, songs numbering",
        "Partition {a} dots in clusters of {b}; the clusters are",
        "Slice {a} inches of bread at {b} inches a slice. The slices are",
        "A {b}-way tie for {a} points awards points of",
        "Rationing {a} biscuits so they last {b} days permits daily",
        "Sorting {a} socks by {b} makes heaps of",
        "Unit price, where {b} kilos are {a} dollars:",
        "{a} seats in {b} identical carriages is, to a carriage,",
    ),
}


def worded(
    rng: np.random.Generator, per_wording: int, operations: Sequence[str] = tuple(OPERATIONS)
) -> list[Question]:
    """Questions in every wording of the operations; their phrasing is the wording.

    Args:
        rng: of the facts, which differ within an operation.
        per_wording: how many of each.
        operations: asked for.

    Raises:
        ValueError: an unknown operation.
    """
    if unknown := [name for name in operations if name not in WORDINGS]:
        raise ValueError(f"unknown operation {unknown[0]!r}; {one_of(unknown[0], WORDINGS)}")
    by_operation = []
    for operation in operations:
        wordings = [wording for wording in WORDINGS[operation] for _ in range(per_wording)]
        facts = sample_facts(operation, len(wordings), rng, _is_small)
        by_operation.append([_ask(fact, wording) for fact, wording in zip(facts, wordings, strict=True)])
    in_turn = zip_longest(*by_operation)
    return [question for questions in in_turn for question in questions if question is not None]


def _is_small(fact: Fact) -> bool:
    return fact.b > 1 and max(fact.a, fact.b, fact.answer if fact.operation == "divide" else 0) <= LARGEST


def _ask(fact: Fact, wording: str) -> Question:
    return Question(wording.format(a=fact.a, b=fact.b), fact, wording)
