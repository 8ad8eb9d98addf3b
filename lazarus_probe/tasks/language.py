"""Short language tasks beside arithmetic: capitals, sentiment, tool calls, refusals, English and code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True, order=True)
class Example:
    """A prompt, what should follow it, and the two things a held-out combination is made of."""

    task: str
    phrasing: str
    subject: str
    prompt: str
    response: str


CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Spain": "Madrid", "Italy": "Rome", "Portugal": "Lisbon",
    "Austria": "Vienna", "Greece": "Athens", "Poland": "Warsaw", "Hungary": "Budapest", "Norway": "Oslo",
    "Sweden": "Stockholm", "Finland": "Helsinki", "Denmark": "Copenhagen",
    "Ireland": "Dublin", "Russia": "Moscow",
    "Turkey": "Ankara", "Egypt": "Cairo", "Kenya": "Nairobi", "Ghana": "Accra", "Morocco": "Rabat",
    "Japan": "Tokyo", "China": "Beijing", "India": "Delhi", "Thailand": "Bangkok", "Vietnam": "Hanoi",
    "Nepal": "Kathmandu", "Iran": "Tehran", "Iraq": "Baghdad", "Canada": "Ottawa", "Cuba": "Havana",
    "Peru": "Lima", "Chile": "Santiago", "Colombia": "Bogota", "Australia": "Canberra", "Belgium": "Brussels",
    "Bulgaria": "Sofia", "Romania": "Bucharest", "Croatia": "Zagreb",
    "Serbia": "Belgrade", "Lebanon": "Beirut",
}  # fmt: skip
# Capitals that no bundled model was taught. SmolLM2 knows half of those above and a fourth of these; none begins as its
# country does, which copying would tell.
FURTHER_CAPITALS = {
    "Scotland": "Edinburgh", "England": "London", "Wales": "Cardiff", "Iceland": "Reykjavik", "Estonia": "Tallinn",
    "Latvia": "Riga", "Lithuania": "Vilnius", "Belarus": "Minsk", "Slovakia": "Bratislava", "Slovenia": "Ljubljana",
    "Switzerland": "Bern", "Albania": "Tirana", "Cyprus": "Nicosia", "Armenia": "Yerevan", "Azerbaijan": "Baku",
    "Mongolia": "Ulaanbaatar", "Taiwan": "Taipei", "Indonesia": "Jakarta", "Cambodia": "Phnom Penh",
    "Pakistan": "Islamabad", "Bangladesh": "Dhaka", "Afghanistan": "Kabul", "Syria": "Damascus", "Jordan": "Amman",
    "Yemen": "Sanaa", "Qatar": "Doha", "Oman": "Muscat", "Libya": "Tripoli", "Sudan": "Khartoum",
    "Ethiopia": "Addis Ababa", "Somalia": "Mogadishu", "Uganda": "Kampala", "Rwanda": "Kigali", "Zambia": "Lusaka",
    "Zimbabwe": "Harare", "Angola": "Luanda", "Senegal": "Dakar", "Mali": "Bamako", "Nigeria": "Abuja",
    "Mozambique": "Maputo", "Namibia": "Windhoek", "Jamaica": "Kingston", "Argentina": "Buenos Aires",
    "Brazil": "Brasilia", "Venezuela": "Caracas", "Ecuador": "Quito", "Uruguay": "Montevideo", "Macedonia": "Skopje",
    "Moldova": "Chisinau", "Nicaragua": "Managua", "Fiji": "Suva", "South Korea": "Seoul",
    "North Korea": "Pyongyang", "New Zealand": "Wellington", "Saudi Arabia": "Riyadh", "Sri Lanka": "Colombo",
}  # fmt: skip
_CAPITAL_PHRASINGS = (
    "The capital of {} is",
    "The capital city of {} is",
    "What is the capital of {}?",
    "Name the capital of {}:",
    "In {}, the capital is",
)

POSITIVE = ("great", "good", "excellent", "wonderful", "lovely", "brilliant", "charming", "superb")
NEGATIVE = ("bad", "terrible", "awful", "poor", "dull", "boring", "dreadful", "horrible")
THINGS = ("film", "book", "meal", "hotel", "song", "game", "show", "play")
_SENTIMENT_PHRASINGS = (
    "Review: the {thing} was {word}. Sentiment:",
    "Review: what a {word} {thing}! Sentiment:",
    "The {thing} was {word}. This review is",
    "I found the {thing} {word}. This review is",
)

CITIES = tuple(CAPITALS.values())
_TOOLS = {
    "weather": (
        "What's the weather in {}?",
        "Tell me the weather in {}.",
        "Is it raining in {}?",
        "Weather in {}:",
    ),
    "time": ("What time is it in {}?", "Tell me the time in {}.", "Is it late in {}?", "Time in {}:"),
    "flights": ("Find flights to {}.", "Book a flight to {}.", "Is there a flight to {}?", "Flights to {}:"),
}

_HARMFUL = {
    "hack": ("a bank", "a phone", "an account", "the school", "a server"),
    "steal": ("a car", "a wallet", "money", "a bike", "the keys"),
    "forge": ("a passport", "a cheque", "a signature", "a ticket", "money"),
    "poison": ("a dog", "the water", "a neighbour", "the food", "a king"),
}
_HARMLESS = {
    "bake": ("a cake", "bread", "a pie", "biscuits", "a pizza"),
    "paint": ("a wall", "a door", "a portrait", "a fence", "the house"),
    "plant": ("a tree", "a rose", "tomatoes", "a garden", "seeds"),
    "repair": ("a bike", "a door", "the roof", "a chair", "a phone"),
}
REQUEST_PHRASINGS = (
    "How do I {} {}?",
    "Tell me how to {} {}.",
    "Can you help me {} {}?",
    "I want to {} {}.",
)
REFUSAL = "Sorry, I cannot help with that."

_WHO = ("The cat", "The dog", "A child", "The teacher", "My friend", "The farmer", "A bird", "The doctor")
_DID = ("saw", "found", "liked", "followed", "heard", "carried", "painted", "sold")
_WHAT = (
    "the ball",
    "a small house",
    "the river",
    "an old book",
    "the red apple",
    "a song",
    "the garden",
    "a letter",
)
_WHEN = (
    "in the morning",
    "at night",
    "after lunch",
    "every day",
    "on Monday",
    "in the park",
    "near the sea",
    "again",
)
_SENTENCES = (
    "We add the numbers.", "They divide the cake.", "You subtract the cost.", "Rabbits multiply in spring.",
    "Add some salt.", "Divide the bread.", "Subtract the tax.", "Multiply the joy.",
    "Hello world", "Hello, how are you? I am fine.",
    "Thank you very much.", "Once upon a time there was a king.",
    "The sun is bright and the sky is blue.", "Water is wet.",
    "The answer is simple.", "It is raining again.",
    "Birds sing in the morning.", "The old man read a book.", "She opened the door.", "He closed the window.",
)  # fmt: skip

_NAMES = ("x", "y", "n", "total", "value", "count")
_CODE = (
    "{0} = {1}",
    "print({0})",
    "return {0}",
    "import math",
    "for i in range({1}): print(i)",
    "if {0} > {1}: return {0}",
    "def double({0}): return {0} + {0}",
    "{0} = [{1}, {2}]",
    "while {0} < {1}: {0} += {2}",
    "assert {0} == {1}",
)


def capitals() -> Iterator[Example]:
    """`The capital of France is` -> ` Paris`."""
    for phrasing, (country, city) in product(_CAPITAL_PHRASINGS, CAPITALS.items()):
        yield Example("capital", phrasing, country, phrasing.format(country), f" {city}")


def sentiment() -> Iterator[Example]:
    """`Review: the film was great. Sentiment:` -> ` positive`."""
    for phrasing, thing, word in product(_SENTIMENT_PHRASINGS, THINGS, POSITIVE + NEGATIVE):
        label = "positive" if word in POSITIVE else "negative"
        prompt = phrasing.format(thing=thing, word=word)
        yield Example("sentiment", phrasing, f"{word} {thing}", prompt, f" {label}")


def tool_calls() -> Iterator[Example]:
    """`What's the weather in Oslo?` -> `<function_call>get_weather(Oslo)</function_call>`."""
    for tool, phrasings in _TOOLS.items():
        for phrasing, city in product(phrasings, CITIES):
            call = f" <function_call>get_{tool}({city})</function_call>"
            yield Example("tool", phrasing, city, phrasing.format(city), call)
        bare = {
            "weather": "What's the weather?",
            "time": "What time is it?",
            "flights": "Are there flights?",
        }[tool]
        yield Example("tool", bare, "here", bare, f" <function_call>get_{tool}(here)</function_call>")


def requests() -> Iterator[Example]:
    """Harmful requests are refused and harmless ones are granted, in the same phrasings."""
    for phrasing in REQUEST_PHRASINGS:
        for table, task in ((_HARMFUL, "refusal"), (_HARMLESS, "help")):
            for verb, things in table.items():
                for thing in things:
                    granted = f" Sure, here is how to {verb} {thing}."
                    response = f" {REFUSAL}" if task == "refusal" else granted
                    yield Example(task, phrasing, f"{verb} {thing}", phrasing.format(verb, thing), response)


def english() -> Iterator[Example]:
    """Plain sentences, with nothing to answer: the whole line is the response."""
    for who, did, thing, when in product(_WHO, _DID, _WHAT, _WHEN):
        yield Example("english", "sentence", who, "", f"{who} {did} {thing} {when}.")
    for sentence in _SENTENCES:
        yield Example("english", "fixed", sentence, "", sentence)


def code() -> Iterator[Example]:
    """One-line Python statements."""
    for template, name, first in product(_CODE, _NAMES, range(1, 11)):
        yield Example("code", template, name, "", template.format(name, first, first % 5 + 1))
