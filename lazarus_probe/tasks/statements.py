"""True and false statements on several topics; the pairs and their wordings are our own.

After Marks & Tegmark 2024 (arXiv:2310.06824): what tells true from false on one topic should tell it on another. Every
topic is a list of pairs. A false statement gives a pair's second word to another pair of its topic, so that each word
is as often in a true statement as in a false one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Topic:
    """Pairs that a statement of a topic is true of.

    Attributes:
        wording: with `{a}` and `{b}`.
        denied: the statement that is false where `wording` is true.
        pairs: of `{a}` and `{b}`; no two share a word.
    """

    wording: str
    denied: str
    pairs: Pairs


@dataclass(frozen=True)
class Statement:
    """A text, whether it is true, its topic, and the pair of words that it is about."""

    text: str
    true: bool
    topic: str
    words: str


TOPICS: Mapping[str, Topic] = {
    "capitals": Topic(
        "The city of {a} is the capital of {b}.",
        "The city of {a} is not the capital of {b}.",
        (
            ("Paris", "France"), ("Berlin", "Germany"), ("Rome", "Italy"), ("Madrid", "Spain"),
            ("Tokyo", "Japan"), ("Cairo", "Egypt"), ("Moscow", "Russia"), ("Athens", "Greece"),
        ),
    ),
    "opposites": Topic(
        "The opposite of {a} is {b}.",
        "The opposite of {a} is not {b}.",
        (
            ("hot", "cold"), ("big", "small"), ("fast", "slow"), ("old", "young"),
            ("rich", "poor"), ("light", "dark"), ("open", "closed"), ("wet", "dry"),
        ),
    ),
    "young animals": Topic(
        "A young {a} is called a {b}.",
        "A young {a} is not called a {b}.",
        (
            ("dog", "puppy"), ("cat", "kitten"), ("cow", "calf"), ("horse", "foal"),
            ("sheep", "lamb"), ("bear", "cub"), ("frog", "tadpole"), ("duck", "duckling"),
        ),
    ),
    "plurals": Topic(
        "The plural of {a} is {b}.",
        "The plural of {a} is not {b}.",
        (
            ("man", "men"), ("mouse", "mice"), ("foot", "feet"), ("child", "children"),
            ("tooth", "teeth"), ("goose", "geese"), ("wife", "wives"), ("leaf", "leaves"),
        ),
    ),
    "past tense": Topic(
        "The past tense of {a} is {b}.",
        "The past tense of {a} is not {b}.",
        (
            ("go", "went"), ("see", "saw"), ("eat", "ate"), ("write", "wrote"),
            ("run", "ran"), ("buy", "bought"), ("speak", "spoke"), ("swim", "swam"),
        ),
    ),
    "colours": Topic(
        "The usual colour of {a} is {b}.",
        "The usual colour of {a} is not {b}.",
        (
            ("snow", "white"), ("coal", "black"), ("grass", "green"), ("blood", "red"),
            ("a lemon", "yellow"), ("the clear sky", "blue"), ("chocolate", "brown"), ("an elephant", "grey"),
        ),
    ),
    "tools": Topic(
        "One uses {a} to {b}.",
        "One does not use {a} to {b}.",
        (
            ("a knife", "cut"), ("a pen", "write"), ("a broom", "sweep"), ("a shovel", "dig"),
            ("an oven", "bake"), ("a needle", "sew"), ("a telescope", "look at stars"), ("a phone", "call"),
        ),
    ),
    "counting": Topic(
        "The number after {a} is {b}.",
        "The number after {a} is not {b}.",
        (
            ("one", "two"), ("three", "four"), ("five", "six"), ("seven", "eight"),
            ("nine", "ten"), ("eleven", "twelve"), ("thirteen", "fourteen"), ("fifteen", "sixteen"),
        ),
    ),
    "homes": Topic(
        "The place where {a} lives is called {b}.",
        "The place where {a} lives is not called {b}.",
        (
            ("a bird", "a nest"), ("a bee", "a hive"), ("a spider", "a web"), ("a king", "a palace"),
            ("a monk", "a monastery"), ("a prisoner", "a cell"), ("a pig", "a sty"), ("a nomad", "a tent"),
        ),
    ),
    "kinds": Topic(
        "Of all things, {a} is a kind of {b}.",
        "Of all things, {a} is not a kind of {b}.",
        (
            ("gold", "metal"), ("an oak", "tree"), ("a rose", "flower"), ("a salmon", "fish"),
            ("an ant", "insect"), ("a violin", "instrument"), ("a shirt", "clothing"), ("an apple", "fruit"),
        ),
    ),
    "workers": Topic(
        "Somebody who works as a {a} is often at {b}.",
        "Somebody who works as a {a} is hardly ever at {b}.",
        (
            ("teacher", "a school"), ("nurse", "a hospital"), ("pilot", "an airport"), ("judge", "a court"),
            ("priest", "a church"), ("actor", "a theatre"), ("sailor", "a harbour"), ("farmer", "a barn"),
        ),
    ),
    "materials": Topic(
        "To make {a} one needs {b}.",
        "To make {a} one does not need {b}.",
        (
            ("bread", "flour"), ("wine", "grapes"), ("cheese", "milk"), ("paper", "wood"),
            ("glass", "sand"), ("jam", "fruit"), ("a pullover", "wool"), ("a brick", "clay"),
        ),
    ),
    "languages": Topic(
        "Most people in {b} speak {a}.",
        "Hardly anybody in {b} speaks {a}.",
        (
            ("Portuguese", "Brazil"), ("German", "Austria"), ("Spanish", "Mexico"), ("Arabic", "Morocco"),
            ("English", "Australia"), ("French", "France"), ("Polish", "Poland"), ("Swedish", "Sweden"),
        ),
    ),
    "money": Topic(
        "The currency of {a} is the {b}.",
        "The currency of {a} is not the {b}.",
        (
            ("Japan", "yen"), ("India", "rupee"), ("Russia", "rouble"), ("Britain", "pound"),
            ("Canada", "dollar"), ("Mexico", "peso"), ("Turkey", "lira"), ("Poland", "zloty"),
        ),
    ),
    "women and men": Topic(
        "What a {a} is among men, a {b} is among women.",
        "What a {a} is among men, a {b} is not among women.",
        (
            ("king", "queen"), ("father", "mother"), ("brother", "sister"), ("husband", "wife"),
            ("prince", "princess"), ("waiter", "waitress"), ("nephew", "niece"), ("wizard", "witch"),
        ),
    ),
    "symbols": Topic(
        "The chemical symbol of {a} is {b}.",
        "The chemical symbol of {a} is not {b}.",
        (
            ("iron", "Fe"), ("gold", "Au"), ("silver", "Ag"), ("oxygen", "O"),
            ("hydrogen", "H"), ("carbon", "C"), ("sodium", "Na"), ("lead", "Pb"),
        ),
    ),
    "senses": Topic(
        "The part of the body for {a} is the {b}.",
        "The part of the body for {a} is not the {b}.",
        (
            ("seeing", "eye"), ("hearing", "ear"), ("smelling", "nose"), ("chewing", "jaw"),
            ("thinking", "brain"), ("walking", "leg"), ("breathing", "lung"), ("pointing", "finger"),
        ),
    ),
    "sports": Topic(
        "For a game of {a} one needs {b}.",
        "For a game of {a} one does not need {b}.",
        (
            ("tennis", "rackets"), ("chess", "a king and a queen"), ("ice hockey", "skates"), ("golf", "clubs"),
            ("poker", "cards"), ("basketball", "a basket"), ("darts", "a target"), ("bowling", "ten pins"),
        ),
    ),
    "sounds": Topic(
        "A {a} is an animal that can {b}.",
        "A {a} is not an animal that can {b}.",
        (
            ("dog", "bark"), ("cat", "meow"), ("lion", "roar"), ("snake", "hiss"),
            ("horse", "neigh"), ("wolf", "howl"), ("cow", "moo"), ("duck", "quack"),
        ),
    ),
    "next months": Topic(
        "The month after {a} is {b}.",
        "The month after {a} is not {b}.",
        (
            ("January", "February"), ("March", "April"), ("May", "June"), ("July", "August"),
            ("September", "October"), ("November", "December"),
        ),
    ),
    "shops": Topic(
        "The place to buy {a} is the {b}.",
        "The place to buy {a} is not the {b}.",
        (
            ("bread", "bakery"), ("meat", "butcher's"), ("medicine", "pharmacy"), ("novels", "bookshop"),
            ("roses", "florist's"), ("a hammer", "hardware store"), ("stamps", "post office"), ("petrol", "garage"),
        ),
    ),
    "works": Topic(
        "The one who made {a} is {b}.",
        "The one who made {a} is not {b}.",
        (
            ("Hamlet", "Shakespeare"), ("the Mona Lisa", "Leonardo"), ("the Ninth Symphony", "Beethoven"),
            ("the Odyssey", "Homer"), ("Faust", "Goethe"), ("War and Peace", "Tolstoy"),
            ("Oliver Twist", "Dickens"), ("The Magic Flute", "Mozart"),
        ),
    ),
    "instruments": Topic(
        "What measures {a} is a {b}.",
        "What measures {a} is not a {b}.",
        (
            ("time", "clock"), ("temperature", "thermometer"), ("weight", "scale"), ("length", "ruler"),
            ("speed", "speedometer"), ("air pressure", "barometer"), ("direction", "compass"), ("voltage", "voltmeter"),
        ),
    ),
    "shapes": Topic(
        "The number of sides of a {a} is {b}.",
        "The number of sides of a {a} is not {b}.",
        (
            ("triangle", "three"), ("square", "four"), ("pentagon", "five"), ("hexagon", "six"),
            ("octagon", "eight"), ("decagon", "ten"),
        ),
    ),
}  # fmt: skip


def statements(rng: np.random.Generator, *, denied: bool = False) -> list[Statement]:
    """Of each pair of each topic one true and one false statement.

    Args:
        rng: pairs up the words of false statements.
        denied: whether every second pair is in a denied wording, in which the other words make it true.
    """
    made = []
    for name, topic in TOPICS.items():
        turned = int(rng.integers(1, len(topic.pairs)))
        for number, (a, right) in enumerate(topic.pairs):
            wrong = topic.pairs[(number + turned) % len(topic.pairs)][1]
            deny = denied and number % 2 == 1
            wording = topic.denied if deny else topic.wording
            for b in (right, wrong):
                true = (b == right) != deny
                made.append(Statement(wording.format(a=a, b=b), true, name, f"{a}, {right}"))
    return made
