"""Contrasts in the words themselves: what followed the same words before, and the number of a subject and its verb.

Repeated words after Olsson et al. 2022 (arXiv:2209.11895), agreement after Linzen et al. 2016 (arXiv:1611.01368), in
lists and sentences of our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, product

import numpy as np

from lazarus_probe.tasks.contrasts import contrast
from lazarus_probe.tasks.names import Choice

WORDS = (
    "apple", "bread", "chair", "river", "stone", "cloud", "horse", "table", "garden", "window", "bridge", "forest",
    "mountain", "letter", "music", "winter", "summer", "doctor", "teacher", "silver", "gold", "paper", "water", "fire",
    "glass", "ship", "train", "street", "school", "church", "market", "island", "flower", "animal", "king", "queen",
    "sugar", "milk", "coffee", "piano", "guitar", "ocean", "desert", "valley", "village", "castle", "tower", "engine",
    "wheel", "shoe", "coat", "knife", "candle", "mirror", "basket", "dragon", "lion", "tiger", "wolf", "bear",
    "rabbit", "snake", "eagle", "fish", "bird", "tree", "leaf", "fruit", "grape", "lemon", "onion", "potato", "rice",
    "butter", "cheese", "salt", "pepper", "soap", "rope", "nail", "hammer", "wood", "iron", "steel", "cotton", "silk",
    "leather", "clock", "radio", "camera",
)  # fmt: skip
# What a list begins with, and what stands between its words: each word has a space before it.
LISTS = (
    ("List: ", ", "),
    ("Words: ", " "),
    ("In this order: ", "; "),
    ("They said ", " and "),
    ("Things to buy:\n- ", "\n- "),
    ("Signs on the way: ", " / "),
)
# How many words stand before the first of two places, between them and after; and which place is asked about. What
# stands before that place comes again at the end.
LAYOUTS = (
    (4, 1, 1, 0),
    (3, 2, 1, 0),
    (5, 1, 2, 0),
    (2, 4, 1, 1),
    (1, 3, 2, 1),
    (1, 5, 1, 1),
)

# Persons whose plural ends in s.
PERSONS = (
    "teacher", "doctor", "farmer", "driver", "singer", "lawyer", "writer", "painter", "sailor", "soldier", "student",
    "pilot", "nurse", "actor", "hunter", "worker", "guard", "boy", "girl", "king", "queen", "prince", "judge",
    "player", "dancer", "engineer", "manager", "tourist", "artist", "officer", "captain", "professor", "scientist",
    "reporter", "visitor", "customer", "stranger", "cousin", "friend", "brother",
)  # fmt: skip
THINGS = (
    "table", "chair", "tree", "car", "house", "boat", "window", "door", "bridge", "tower", "wall", "fence", "gate",
    "lamp", "statue", "truck", "train", "shop", "tent", "garden", "river", "hill",
)  # fmt: skip
# One or many: what a template prefers by itself.
OPEN_NUMBER = "sheep"
# {noun} is the subject, {other} of either number: the verb in the number of the subject follows.
AGREEMENT = {
    ("is", "are"): (
        "The {noun} near the {other}",
        "I think that the {noun} behind the {other}",
        "Right now the {noun} next to the {other}",
        "Nobody knows why the {noun} by the {other}",
        "We believe the {noun} in front of the {other}",
        "It seems that the {noun} beside the {other}",
        "At this moment the {noun} close to the {other}",
        "They told me that the {noun} across from the {other}",
        "Today the {noun} in the picture of the {other}",
        "Look, the {noun} in the shadow of the {other}",
        "As you can see, the {noun} opposite the {other}",
        "The new {noun} from the story about the {other}",
    ),
    ("was", "were"): (
        "Yesterday the {noun} near the {other}",
        "Last night the {noun} behind the {other}",
        "An hour ago the {noun} next to the {other}",
        "When we arrived, the {noun} by the {other}",
        "She saw that the {noun} in front of the {other}",
        "In those days the {noun} beside the {other}",
        "Until last year the {noun} from across the {other}",
        "He noticed that the {noun} on the other side of the {other}",
        "Long ago the {noun} in the tale of the {other}",
        "Before the war the {noun} with the plan for the {other}",
        "On Monday the {noun} at the end of the {other}",
        "The old {noun} in the photograph of the {other}",
    ),
    ("has", "have"): (
        "Since this morning the {noun} near the {other}",
        "So far the {noun} behind the {other}",
        "Once again the {noun} next to the {other}",
        "For many years the {noun} by the {other}",
        "I hear that the {noun} in front of the {other}",
        "Over the past week the {noun} beside the {other}",
        "Up to now the {noun} in charge of the {other}",
        "The paper says that the {noun} without the {other}",
        "Ever since then the {noun} with the key to the {other}",
        "It is true that the {noun} from beyond the {other}",
        "Recently the {noun} from the house behind the {other}",
        "The young {noun} on the way to the {other}",
    ),
}


def repeated_words(rng: np.random.Generator, per_template: int = 4) -> list[Choice]:
    """Lists that begin to repeat themselves: `a b c d X e Y f a b c d` should go on with X.

    In a contrast two words have changed places. In the control the words at the end are new. A template is a
    separator, and the places of the two words.

    Args:
        rng: draws the words.
        per_template: even; prompts of each list, two a contrast.
    """
    choices = []
    for (start, separator), (before, between, after, second_asked) in product(LISTS, LAYOUTS):
        first, second = before, before + 1 + between
        place_asked = "second" if second_asked else "first"
        template = f"{start}{before} words, a place, {between}, a place, {after}; {place_asked} place"
        for number in range(per_template // 2):
            drawn = rng.choice(WORDS, size=second + 1 + after + max(before, between), replace=False).tolist()
            row, new = drawn[: second + 1 + after], drawn[second + 1 + after :]
            swapped = [*row]
            swapped[first], swapped[second] = row[second], row[first]
            again = row[first + 1 : second] if second_asked else row[:first]
            place = (first, second)[second_asked]
            choices += contrast(
                [_listed(start, separator, [*order, *again]) for order in (row, swapped)],
                (row[place], swapped[place]),
                _listed(start, separator, [*row, *new[: len(again)]]),
                template,
                " and ".join(sorted((row[first], row[second]))),
                number,
            )
    return choices


def _listed(start: str, separator: str, words: Sequence[str]) -> str:
    """Words in a list that goes on."""
    return f"{start}{separator.join(words)}{separator.rstrip()}"


def agreement(rng: np.random.Generator, per_template: int = 4) -> list[Choice]:
    """Sentences up to their verb, with a noun between it and its subject; a contrast is of one subject and of several.

    The noun between is of either number, the same in a contrast. In the control the subject's number is open.

    Args:
        rng: draws the nouns, and the number of the one between.
        per_template: even; prompts of each sentence, two a contrast.
    """
    persons = cycle(rng.permutation(PERSONS).tolist())
    choices = []
    for options, templates in AGREEMENT.items():
        for template in templates:
            for number in range(per_template // 2):
                noun, other = next(persons), f"{rng.choice(THINGS)}{('', 's')[int(rng.integers(2))]}"
                choices += contrast(
                    [template.format(noun=subject, other=other) for subject in (noun, f"{noun}s")],
                    options,
                    template.format(noun=OPEN_NUMBER, other=other),
                    template,
                    noun,
                    number,
                )
    return choices
