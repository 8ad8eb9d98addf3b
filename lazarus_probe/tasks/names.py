"""Sentences about people: the indirect object among two names, and the pronoun of a name.

After Wang et al. 2023 (arXiv:2211.00593) and Mathwin et al. 2023; the sentences are our own, for models remember the
published ones. Names of the two genders are equally many, and so are the orders of two names.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FEMALE = (
    "Mary", "Sarah", "Emma", "Anna", "Laura", "Alice", "Julia", "Rachel", "Lucy", "Helen",
    "Maria", "Kate", "Jane", "Susan", "Linda", "Karen", "Elizabeth", "Margaret", "Barbara", "Jessica",
    "Emily", "Claire", "Sophie", "Diana", "Nancy", "Lisa",
)  # fmt: skip
MALE = (
    "John", "David", "Michael", "James", "Peter", "Robert", "Paul", "Mark", "Daniel", "Thomas",
    "George", "Henry", "Simon", "Kevin", "Brian", "Steve", "William", "Richard", "Charles", "Andrew",
    "Matthew", "Edward", "Frank", "Jack", "Philip", "Ben",
)  # fmt: skip
# Without a name the pronoun is open: what a template prefers by itself.
NEUTRAL = "the person"

# {a} and {b} are the two names, {s} the one that acts: the other is the indirect object.
TWO_NAMES = (
    "When {a} and {b} went to the store, {s} gave a drink to",
    "After {a} and {b} had finished lunch, {s} handed the bill to",
    "While {a} and {b} were waiting for the train, {s} offered a sweet to",
    "Then {a} and {b} met at the station, and {s} passed the ticket to",
    "As {a} and {b} walked through the park, {s} threw the ball to",
    "Because {a} and {b} were both hungry, {s} made a sandwich for",
    "Once {a} and {b} had moved in, {s} lent the ladder to",
    "At the office {a} and {b} share, {s} sent a long letter to",
    "Last week {a} and {b} went fishing, and {s} gave the best hook to",
    "The teacher praised {a} and {b}, so {s} told a joke to",
    "Since {a} and {b} are neighbours, {s} brought some apples to",
    "Before {a} and {b} left the museum, {s} bought a postcard for",
    "In the kitchen {a} and {b} cooked, and {s} gave the spoon to",
    "On Sunday {a} and {b} played chess, and {s} showed the trick to",
    "Both {a} and {b} came to the party, where {s} gave the present to",
    "Although {a} and {b} had argued, {s} wrote a kind note to",
    "Every summer {a} and {b} meet by the lake, and {s} reads a story to",
    "During the storm {a} and {b} stayed inside, and {s} gave a blanket to",
    "At the market {a} and {b} chose a melon, and {s} gave the money to",
    "When the bell rang, {a} and {b} stood up, and {s} gave the book to",
    "Yesterday {a} and {b} worked in the garden, and {s} handed the rake to",
    "As soon as {a} and {b} arrived, {s} gave the keys to",
    "Friends since school, {a} and {b} still talk; today {s} sent flowers to",
    "There were {a} and {b} at the counter, and {s} gave a coin to",
    "On the ferry {a} and {b} sat outside, and {s} lent a scarf to",
    "For years {a} and {b} sang together; at the end {s} left the piano to",
    "In the evening {a} and {b} looked at photos, and {s} sent the best one to",
    "Whenever {a} and {b} go shopping, {s} buys an ice cream for",
    "Outside the cinema {a} and {b} waited, and {s} handed a ticket to",
    "With the tent ready, {a} and {b} made tea, and {s} passed the sugar to",
    "Early that morning {a} and {b} set out, and {s} gave the map to",
    "Through the fence {a} and {b} could talk, and {s} threw an apple to",
    "At the airport {a} and {b} said goodbye, and {s} gave a ring to",
    "Between lessons {a} and {b} share a bench, and {s} often reads poems to",
    "Down by the river {a} and {b} built a raft, and {s} threw the rope to",
    "Of all people {a} and {b} won, so {s} gave half of the prize to",
)

PRONOUNS = ("she", "he")
# What follows is a pronoun of {name}.
PRONOUN_TEMPLATES = (
    "So {name} is a really great friend, isn't",
    "I think {name} would be on time, wouldn't",
    "As far as I know, {name} was at home, wasn't",
    "Well, {name} can swim, can't",
    "So {name} will be late again, won't",
    "Everyone says {name} has a good voice, hasn't",
    "They told {name} to wait, because",
    "The doctor asked {name} to sit down, and then",
    "When {name} opened the letter,",
    "After {name} had left the room,",
    "Because {name} was tired,",
    "Although {name} knew the answer,",
    "By the time {name} came home,",
    "Before {name} could speak,",
    "Since {name} had no money,",
    "As {name} walked down the road,",
    "Once {name} had eaten,",
    "While {name} was asleep,",
    "If {name} wins the race,",
    "Until {name} found the key,",
    "Whenever {name} is in town,",
    "The day that {name} was born,",
    "Nobody saw {name} that night, because",
    "It was raining when {name} arrived, so",
    "Where is {name}? I hope",
    "Here comes {name}, and I think",
    "Nobody helped {name}, although",
    "We waited for {name} until",
    "The letter from {name} says that",
    "Ask {name} whether",
    "It is a secret, but {name} told me that",
    "The neighbours like {name}, for",
    "The police followed {name} wherever",
    "The crowd cheered for {name} when",
    "The dog ran to {name} as soon as",
    "The truth about {name} is that",
)


@dataclass(frozen=True)
class Choice:
    """A prompt with words to choose from, and one that differs from it in what the choice should rest on.

    Attributes:
        prompt: the text.
        options: the right continuation, then wrong ones.
        control: a prompt of the same form in which nothing makes the first option right.
        template: which form it has.
        subject: what it is about, such as the pair of names: an independent unit.
        contrast: prompts of one contrast are alike but for what makes another option right; they count together, so
            that a preference that holds either way is none.
    """

    prompt: str
    options: tuple[str, ...]
    control: str
    template: str
    subject: str
    contrast: str


def indirect_objects(rng: np.random.Generator, per_template: int = 4) -> list[Choice]:
    """Sentences with two names, of which one acts: the other should follow.

    In a contrast either of the two acts, so that the one that should follow comes first once. In the control a third
    name acts, so that both of the pair are possible.

    Args:
        rng: draws the names.
        per_template: even; sentences of each, two a contrast.
    """
    choices = []
    for template in TWO_NAMES:
        for number in range(per_template // 2):
            first, second, third = (str(name) for name in rng.choice((*FEMALE, *MALE), size=3, replace=False))
            choices += [
                Choice(
                    template.format(a=first, b=second, s=acting),
                    (io, acting),
                    template.format(a=first, b=second, s=third),
                    template,
                    " and ".join(sorted((first, second))),
                    f"{template} {number}",
                )
                for io, acting in ((first, second), (second, first))
            ]
    return choices


def pronouns(rng: np.random.Generator, per_template: int = 4) -> list[Choice]:
    """Sentences about a name, after which its pronoun should follow; a contrast is of a woman's and a man's name.

    In the control nobody is named.

    Args:
        rng: draws the names.
        per_template: even; sentences of each, two a contrast.
    """
    return [
        Choice(
            template.format(name=name),
            options,
            template.format(name=NEUTRAL),
            template,
            f"{female} and {male}",
            f"{template} {female}",
        )
        for template in PRONOUN_TEMPLATES
        for female, male in zip(
            *(rng.choice(names, size=per_template // 2, replace=False) for names in (FEMALE, MALE)),
            strict=True,
        )
        for name, options in ((female, PRONOUNS), (male, PRONOUNS[::-1]))
    ]
