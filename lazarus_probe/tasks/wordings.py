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
from lazarus_probe.tasks.arithmetic import OPERATIONS, Fact, facts
from lazarus_probe.tasks.prompts import Question

# The largest number of a worded question: quotients beyond it would be told by the length of their dividend.
LARGEST = 100
# The operations by how many families have such facts: divisions, with 195, must be drawn before others take theirs.
FEWEST_FIRST = ("divide", "add", "multiply", "subtract")

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
        "{a} taxis with room for {b} riders take",
        "Knitting {b} rows nightly, after {a} nights she has",
        "A baker fills {a} trays, {b} rolls to a tray: rolls",
        "If one brick weighs {b} pounds, {a} bricks weigh",
        "{a} dice having {b} faces show faces numbering",
        "A {a}-storey car park with {b} spaces per storey holds",
        "Each hive makes {b} jars, and {a} hives make",
        "Paying {b} coins monthly, over {a} months one pays",
        "A chessboard stretched to {a} by {b} has fields numbering",
        "{b}-legged creatures, {a} of them, stand on legs numbering",
        "Reading {b} pages an evening for {a} evenings covers",
        "A theatre of {a} balconies, {b} seats in each, admits",
        "{a} copies of the number {b}, heaped up, make",
        "Find {a} x {b}:",
        "A photocopier set to {b} prints {a} sheets; the prints are",
        "{a} hens laying {b} eggs per week lay weekly",
        "An orchard planted {a} deep, {b} wide, has trees numbering",
        "Every carton contains {b} bottles; {a} cartons contain",
        "{a} sailors drink {b} pints apiece, that is, in pints,",
        "A train of {a} coaches, each with {b} doors, has doors numbering",
        "How much is {a} multiplied with {b}?",
        "For {a} guests at {b} forks per guest, lay out",
        "The area of a sheet {a} by {b} is",
        "{a} candles burning {b} minutes apiece, one after another, last",
        "Jumping {b} feet a leap, {a} leaps carry a frog",
        "An {a}-by-{b} grid has cells numbering",
        "{a} albums, every one with {b} tracks, hold",
        "Earning {b} points a round, in {a} rounds he earns",
        "{a} quilts, sewn from {b} patches each, use up",
        "A ladder of {a} rungs, {b} inches between rungs, is tall",
        "{b} threads in a strand, {a} strands in a rope: threads",
        "A printer doing {b} pages hourly has, {a} hours on, done",
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
        "{a} ducks swim; {b} join them. Swimming are",
        "The tally stood at {a} and went up by {b}, so it stands at",
        "How much do {a} and {b} make in sum?",
        "{a} apples in one basket, {b} in another: in both are",
        "She climbed {a} stairs, rested, and climbed {b} beyond. She stands on stair",
        "Merge a queue of {a} and a queue of {b}; queueing are",
        "A baby of {a} pounds has put on {b} pounds and weighs",
        "The train was due in {a} minutes and is {b} minutes late. It comes in",
        "Income of {a} coins and a bonus of {b} coins amount to",
        "A wall {a} bricks high, built {b} bricks higher, is",
        "{a} stamps were in the album, {b} arrived by post. It now contains",
        "Tie a string of {a} inches to a string of {b} inches; its length is",
        "On Monday came {a} letters, on Tuesday {b}. Over both days came",
        "A tree {a} feet tall grew {b} feet. Its height became",
        "The score was {a}; we earned {b} points besides, which brings it to",
        "{a} + {b} is",
        "To {a} sheep the farmer brought {b} newly bought ones. His flock is",
        "He is {a}; in {b} years he will be",
        "One village has {a} wells, the next one {b}. The two have",
        "Pile {b} plates upon {a} plates. The pile counts",
        "The queue of {a} cars got longer by {b} cars, making it",
        "A bill of {a} euros and a tip of {b} euros come to",
        "Unite {a} red and {b} blue beads on a chain; the beads are",
        "The meeting lasted {a} minutes and overran by {b}; it took",
        "Starting from {a} and going {b} upward, you arrive at",
        "A recipe wants {a} spoons of flour, then {b} spoons of sugar. Spoons used:",
        "{a} pupils sat down, {b} latecomers sat down too. Sitting are",
        "The lake was {a} feet deep before the flood lifted it {b} feet, to",
        "A phone at {a} percent charged {b} percent, showing",
        "To a stock of {a} tins {b} tins were delivered; the stock is",
        "Sum up {a} and {b}:",
        "A necklace of {a} pearls, enlarged with {b} pearls, has",
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
        "{a} balloons flew and {b} burst. Flying are",
        "He baked {a} muffins, the dog got {b}. There remain",
        "Spending {b} out of {a} dollars leaves",
        "How much is {a} when {b} is taken off?",
        "A candle {a} inches tall burned down {b} inches, to",
        "The hotel has {a} rooms and {b} are occupied. Vacant are",
        "A choir of {a}, with {b} off sick, sings with",
        "{a} - {b} is",
        "The trip is {a} miles; having done {b}, we have to go",
        "A discount of {b} on a price of {a} makes",
        "She had {a} followers and {b} unfollowed. She has",
        "The battery fell {b} percent from {a} percent, showing",
        "The gap between {a} and {b} is",
        "A parachutist at {a} feet drops {b} feet, to a height of",
        "Of {a} eggs in the fridge, an omelette used {b}. It holds",
        "Crop {b} inches off a picture {a} inches wide, and its width is",
        "By what does {a} exceed {b}?",
        "The army of {a} tanks forfeited {b}; at its command are",
        "A class of {a} pupils, {b} of them absent, has present",
        "Weighing {a} pounds, he slimmed {b} pounds, to",
        "Anna has {a} rings and Beth {b} fewer. Beth has",
        "A barrel with {a} pints was tapped for {b} pints. Inside are",
        "Unpaid, when {b} of {a} bills are settled, are",
        "{a} leaves hung on the branch until {b} dropped; hanging are",
        "Shave {b} grams off {a} grams, and it weighs",
        "Finishing {b} tasks out of {a} leaves to do",
        "The well, {a} feet deep, silted up {b} feet. Its depth is",
        "A sale marked a lamp of {a} pounds down by {b} pounds, to",
        "Going {b} downward from {a}, you arrive at",
        "An owner of {a} acres gave up {b} acres and owns",
        "{b} of the {a} lifeboats sank; afloat are",
        "Discard {b} from a hand of {a} cards. The hand is",
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
        "How much is {a} split {b} ways?",
        "{a} / {b} is",
        "{a} apples packed {b} to a bag fill bags numbering",
        "A prize of {a} dollars among {b} winners gives a winner",
        "Per week, {a} miles in {b} weeks are miles",
        "{a} pupils form teams of {b}. The teams are",
        "A ribbon of {a} inches snipped every {b} inches yields pieces numbering",
        "Each of {b} heirs gets, out of {a} acres, an equal",
        "If {b} equal weights are {a} grams, one weight is",
        "Doing {a} miles on {b} gallons, a car does per gallon",
        "{a} tiles in rows of {b} lie in rows numbering",
        "A {a}-page book read in {b} days at a constant pace takes daily",
        "A quarter is by four; sharing {a} by {b}, a share is",
        "{a} buttons, {b} to a coat, suffice for coats numbering",
        "Averaging {a} goals through {b} games gives a game",
        "Fill {b} cups evenly from {a} spoons of tea. Spoons in a cup:",
        "{b} identical boxes weigh {a} pounds, hence one box",
        "Stack {a} books in piles of {b}; the piles are",
        "At {b} dollars apiece, {a} dollars buy",
        "By which number must {b} be multiplied to get {a}?",
        "{a} hours of work for {b} workers, fairly, is a worker",
        "Break {a} squares of chocolate into bars of {b}. The bars are",
        "A tank of {a} litres emptied at {b} litres a minute is empty after minutes",
        "The scale {a} to {b}, reduced, is",
        "{a} children, {b} to a boat, need boats numbering",
        "Allot {a} chores to {b} brothers equally; a brother does",
        "Walking {b} miles a day, {a} miles take days",
        "Group {a} stars into constellations of {b}: constellations",
        "Chop a log of {a} feet into {b} logs of one length. A log is",
        "A rent of {a} coins for {b} flatmates is for one",
        "{a} candies at {b} a child last for children numbering",
        "Dealing out {a} acorns over {b} squirrels evenly, a squirrel has",
    ),
}


def worded(
    rng: np.random.Generator, per_wording: int, operations: Sequence[str] = tuple(OPERATIONS)
) -> list[Question]:
    """Questions in every wording of the operations; their phrasing is the wording.

    No two are of one operand family, so that rows of different wordings are independent.

    Args:
        rng: of the facts.
        per_wording: how many of each.
        operations: requested.

    Raises:
        ValueError: an unknown operation, or more questions than there are families.
    """
    if unknown := [name for name in operations if name not in WORDINGS]:
        raise ValueError(f"unknown operation {unknown[0]!r}; {one_of(unknown[0], WORDINGS)}")
    by_operation: dict[str, list[Question]] = {}
    families: set[tuple[int, int]] = set()
    for operation in sorted(operations, key=FEWEST_FIRST.index):
        wordings = [wording for wording in WORDINGS[operation] for _ in range(per_wording)]
        facts = _of_new_families(operation, len(wordings), rng, families)
        by_operation[operation] = [_ask(fact, wording) for fact, wording in zip(facts, wordings, strict=True)]
    in_turn = zip_longest(*(by_operation[operation] for operation in operations))
    return [question for questions in in_turn for question in questions if question is not None]


def _of_new_families(
    operation: str, count: int, rng: np.random.Generator, taken: set[tuple[int, int]]
) -> list[Fact]:
    """Small facts of different families, none of which is taken; they are then."""
    pool: dict[tuple[int, int], list[Fact]] = {}
    for fact in facts(operation):
        if _is_small(fact) and fact.family not in taken:
            pool.setdefault(fact.family, []).append(fact)
    if len(pool) < count:
        raise ValueError(f"{operation} has {len(pool)} such families left, {count} were requested")
    families = list(pool)
    chosen = [families[i] for i in rng.choice(len(families), size=count, replace=False)]
    taken.update(chosen)
    return [pool[family][rng.integers(len(pool[family]))] for family in chosen]


def _is_small(fact: Fact) -> bool:
    return fact.b > 1 and max(fact.a, fact.b, fact.answer if fact.operation == "divide" else 0) <= LARGEST


def _ask(fact: Fact, wording: str) -> Question:
    return Question(wording.format(a=fact.a, b=fact.b), fact, wording)
