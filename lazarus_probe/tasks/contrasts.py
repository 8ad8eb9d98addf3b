"""Contrasts: two prompts of one sentence, equal in words, in which the same two options are right in turn.

The colour of an object after Merullo et al. 2024 (arXiv:2310.08744), the later year of a span after Hanna et al. 2023
(arXiv:2305.00586), and capitals; the sentences are our own, for models remember the published ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lazarus_probe.tasks.language import CAPITALS
from lazarus_probe.tasks.listed import COLOURED, COLOURS, OBJECTS
from lazarus_probe.tasks.names import Choice
from lazarus_probe.tasks.years import CENTURIES, SPANS

# As in `COLOURED`, from which other claims draw.
FURTHER_COLOURED = (
    "The box contains a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. The {asked} in the box is",
    "On the shelf stand a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. The {asked} on the shelf is",
    "Tom painted a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. The {asked} that Tom painted is",
    "In the window I see a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. The {asked} in the window is",
    "Her grandmother kept a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. The old {asked} was",
    "The guests brought a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. The {asked} they brought was",
    "After the storm we found a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. The {asked} we found was",
    "Next to the door are a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. The {asked} next to the door is",
    "The game comes with a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. The {asked} in the game is",
    "Ben dreamt of a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. In his dream the {asked} was",
    "The teacher shows us a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. The teacher's {asked} is",
    "Please bring the {c0} {o0}, the {c1} {o1} and the {c2} {o2}. The {asked} that you bring is",
)
# As in `SPANS`.
FURTHER_SPANS = (
    "The monks copied books from {start} to {century}",
    "The city was under siege from {start} until {century}",
    "He served as a judge from {start} to {century}",
    "The old law was in force from {start} to {century}",
    "The feud between the families went on from {start} to {century}",
    "The theatre was closed from {start} until {century}",
    "The peace held from the year {start} to the year {century}",
    "The canal was dug between {start} and {century}",
    "The revolt broke out in {start} and was put down in {century}",
    "The poet lived abroad from {start} to {century}",
    "The cathedral was rebuilt from {start} to {century}",
    "The trade in furs grew from {start} until {century}",
)
OPEN_YEAR = "??"

CAPITAL_SENTENCES = (
    "The capital of {country} is",
    "The capital city of {country} is",
    "The capital of {country} is called",
    "In {country}, the capital is",
    "In {country} the government sits in",
    "The name of the capital of {country} is",
    "Everyone knows that the capital of {country} is",
    "If you fly to the capital of {country}, you land in",
    "The largest embassy in {country} is in its capital,",
    "The president of {country} lives in the capital,",
    "The parliament of {country} meets in",
    "She moved to {country} and found a flat in the capital,",
    "He was born in the capital of {country}, which is",
    "Question: what is the capital of {country}? Answer:",
    "On the map, the capital of {country} is marked as",
    "A tourist in {country} should first see the capital,",
    "The train to the capital of {country} goes to",
    "We spent a week in {country}, mostly in the capital,",
    "The national museum of {country} stands in",
    "The central bank of {country} has its seat in",
    "They come from {country}, from the capital city of",
    "Children in {country} learn that their capital is",
    "The supreme court of {country} is in",
    "The quiz asked for the capital of {country}, and I said",
    "My uncle works in {country}, in the city of",
    "The biggest airport of {country} is near",
    "Of all cities in {country}, the capital is",
    "The king visited {country} and stayed in the capital,",
    "All main roads of {country} lead to the capital,",
    "The ambassador left {country} and its capital,",
    "Country: {country}. Capital:",
    "The seat of government of {country} is",
    "The best known city of {country} is its capital,",
    "To see the capital of {country}, go to",
    "The protest in {country} began in the capital,",
    "News from {country}: in the capital city of",
)
# Capitals that common vocabularies split.
SPLIT = (
    "Ankara", "Accra", "Rabat", "Bangkok", "Hanoi", "Kathmandu", "Bogota", "Bucharest", "Zagreb", "Belgrade", "Beirut",
)  # fmt: skip


def coloured_contrasts(rng: np.random.Generator, per_template: int = 4) -> list[Choice]:
    """Three objects of different colours, and a question about one of two of them; their colours are the options.

    In the control the question is about an object that is not there.

    Args:
        rng: draws objects, colours, and which two are asked about.
        per_template: even; prompts of each sentence, two a contrast.
    """
    choices = []
    for template in (*COLOURED, *FURTHER_COLOURED):
        for number in range(per_template // 2):
            *objects, absent = (str(word) for word in rng.choice(OBJECTS, size=4, replace=False))
            colours = [str(word) for word in rng.choice(COLOURS, size=3, replace=False)]
            first, second = (int(place) for place in rng.choice(3, size=2, replace=False))
            words = {f"c{i}": colour for i, colour in enumerate(colours)}
            words |= {f"o{i}": name for i, name in enumerate(objects)}
            both = sorted(f"{colours[place]} {objects[place]}" for place in (first, second))
            choices += contrast(
                [template.format(asked=objects[place], **words) for place in (first, second)],
                (colours[first], colours[second]),
                template.format(asked=absent, **words),
                template,
                " and ".join(both),
                number,
            )
    return choices


def year_contrasts(rng: np.random.Generator, per_template: int = 4) -> list[Choice]:
    """Spans of years whose second year starts with the century: what follows are two digits, without a space.

    Of four rising decades the first and the third are those of the first year, the others the options: after the
    earlier year the nearer option, after the later one only the other is later. No two are of one decade, so that the
    tens alone tell them (`tens_alone`). In the control the first year's last digits are open.

    Args:
        rng: draws centuries and years.
        per_template: even; prompts of each sentence, two a contrast.
    """
    choices = []
    for template in (*SPANS, *FURTHER_SPANS):
        for number in range(per_template // 2):
            century = int(rng.choice(CENTURIES))
            tens = np.sort(rng.choice(np.arange(1, 10), size=4, replace=False))
            early, near, late, far = (str(year) for year in (10 * tens + rng.integers(10, size=4)).tolist())
            choices += contrast(
                [template.format(start=f"{century}{start}", century=century) for start in (early, late)],
                (near, far),
                template.format(start=f"{century}{OPEN_YEAR}", century=century),
                template,
                f"{century}{early} and {century}{late}",
                number,
            )
    return choices


def tens_alone(choices: Sequence[Choice]) -> list[Choice]:
    """The same with the first digit of each option alone: for a tokenizer that splits numbers into digits."""
    return [replace(choice, options=tuple(option[0] for option in choice.options)) for choice in choices]


def capital_contrasts(rng: np.random.Generator, per_template: int = 4) -> list[Choice]:
    """Sentences that ask for a country's capital; a contrast is of two countries, their capitals the options.

    In the control a third country stands.

    Args:
        rng: draws the countries.
        per_template: even; prompts of each sentence, two a contrast.
    """
    order = rng.permutation([country for country, city in CAPITALS.items() if city not in SPLIT]).tolist()
    count, pair = len(order), 0
    choices = []
    for template in CAPITAL_SENTENCES:
        for number in range(per_template // 2):
            # Neighbours first, then every other country and so on: no pair twice until all were there.
            farthest = count // 2
            places = (pair, pair + 1 + pair // count % farthest, pair + 1 + farthest)
            first, second, third = (order[place % count] for place in places)
            choices += contrast(
                [template.format(country=country) for country in (first, second)],
                (CAPITALS[first], CAPITALS[second]),
                template.format(country=third),
                template,
                " and ".join(sorted((first, second))),
                number,
            )
            pair += 1
    return choices


def contrast(
    prompts: Sequence[str],
    options: tuple[str, str],
    control: str,
    template: str,
    subject: str,
    number: int,
) -> list[Choice]:
    """Two prompts of a template: the first option is right in the first, the second in the second."""
    return [
        Choice(prompt, right, control, template, subject, f"{template} {number}")
        for prompt, right in zip(prompts, (options, options[::-1]), strict=True)
    ]
