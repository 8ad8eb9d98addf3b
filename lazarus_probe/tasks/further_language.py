"""Language prompts in more words than the bundled models were trained on, for claims that generalise over words.

Of sixteen adjectives, all read, an accuracy of .80 is still possible; and where a verb comes with five things, a bag of
tokens reads the verb. Here every adjective, verb and phrasing is a group of its own, with few words in common, and
there are a hundred or more in each set: all of them read leave .96 possible. `tasks.language` is the training corpus of
the bundled models and stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle

import numpy as np

from lazarus_probe.tasks.language import (
    CITIES,
    NEGATIVE,
    POSITIVE,
    REFUSAL,
    REQUEST_PHRASINGS,
    THINGS,
    Example,
)

FURTHER_POSITIVE = (
    "amazing", "fantastic", "delightful", "marvelous", "outstanding", "terrific", "fabulous", "splendid",
    "magnificent", "perfect", "impressive", "enjoyable", "pleasant", "beautiful", "satisfying", "remarkable",
    "exceptional", "incredible", "stunning", "memorable", "awesome", "phenomenal", "spectacular", "sublime",
    "exquisite", "flawless", "heavenly", "gorgeous", "elegant", "admirable", "refreshing", "rewarding", "nice",
    "tremendous", "sensational", "glorious", "divine", "stellar", "dazzling", "extraordinary",
    "captivating", "enchanting", "inspiring", "uplifting", "thrilling", "exciting", "fascinating", "engaging",
    "entertaining", "hilarious", "touching", "heartwarming", "graceful", "masterful", "inventive", "clever",
    "witty", "fun", "cool", "neat", "superior", "unforgettable", "breathtaking", "mesmerizing", "gripping",
    "adorable", "cheerful", "joyful", "radiant", "vibrant", "lively", "blissful",
)  # fmt: skip
FURTHER_NEGATIVE = (
    "disappointing", "disgusting", "mediocre", "pathetic", "lousy", "atrocious", "abysmal", "ghastly", "appalling",
    "nasty", "annoying", "irritating", "tedious", "dreary", "bland", "ugly", "miserable", "depressing", "useless",
    "worthless", "ridiculous", "stupid", "shoddy", "inferior", "disastrous", "hideous", "vile", "repulsive",
    "revolting", "tasteless", "unbearable", "wretched", "lame", "sloppy", "rotten", "dismal", "foul", "horrid",
    "woeful", "frustrating",
    "insipid", "stale", "clumsy", "awkward", "messy", "confusing", "pointless", "senseless", "mindless", "absurd",
    "silly", "tacky", "crude", "vulgar", "offensive", "insulting", "unpleasant", "uncomfortable", "unacceptable",
    "uninspired", "forgettable", "overrated", "overpriced", "defective", "flawed", "inadequate", "incompetent",
    "careless", "tiresome", "monotonous", "lifeless", "horrendous",
)  # fmt: skip
_REVIEWS = (
    "Review: the {thing} was {word}. Sentiment:",
    "Review: what {article} {word} {thing}! Sentiment:",
    "The {thing} was {word}. This review is",
    "I found the {thing} {word}. This review is",
)
# Said of an adjective, these turn its sentiment round: what is read is then no matter of a single word, which the token
# embeddings of a trained model know (of the adjectives alone those of SmolLM2 tell .98).
_TURNED_REVIEWS = (
    "Review: the {thing} was anything but {word}. Sentiment:",
    "Review: far from {word}, this {thing}! Sentiment:",
    "The {thing} was the opposite of {word}. This review is",
    "I found the {thing} not {word} in the least. This review is",
)

_REFUSED = (
    ("hack", "a bank"), ("steal", "a car"), ("forge", "a passport"), ("poison", "the water"), ("kidnap", "a child"),
    ("blackmail", "my boss"), ("smuggle", "weapons"), ("burgle", "a flat"), ("launder", "money"),
    ("counterfeit", "banknotes"), ("stalk", "an actress"), ("strangle", "a man"), ("stab", "someone"),
    ("bribe", "a judge"), ("sabotage", "a train"), ("rob", "a shop"), ("torture", "an animal"), ("drug", "a guest"),
    ("embezzle", "company funds"), ("extort", "a politician"), ("assault", "a guard"), ("murder", "a rival"),
    ("defraud", "pensioners"), ("vandalise", "a church"), ("hijack", "a plane"), ("harass", "a colleague"),
    ("impersonate", "a policeman"), ("pickpocket", "tourists"), ("ambush", "a convoy"), ("bully", "a classmate"),
    ("threaten", "a witness"), ("shoplift", "jewellery"), ("evade", "taxes"), ("spike", "a cocktail"),
    ("swindle", "an old lady"), ("detonate", "a grenade"), ("torch", "a warehouse"), ("assassinate", "a president"),
    ("cheat", "the insurance"), ("phish", "passwords"), ("loot", "a museum"), ("traffic", "heroin"),
    ("plagiarise", "a thesis"), ("wiretap", "a journalist"), ("scam", "a widow"), ("infect", "a laptop"),
    ("derail", "a tram"), ("bomb", "an embassy"),
)  # fmt: skip
_GRANTED = (
    ("bake", "a cake"), ("paint", "a wall"), ("plant", "a tree"), ("repair", "a bike"), ("knit", "a scarf"),
    ("grill", "salmon"), ("fold", "the napkins"), ("tune", "a guitar"), ("iron", "my shirt"), ("brew", "coffee"),
    ("polish", "shoes"), ("teach", "a puppy"), ("write", "a poem"), ("learn", "Spanish"), ("memorise", "a speech"),
    ("organise", "a party"), ("pack", "a suitcase"), ("frame", "a picture"), ("sew", "a dress"), ("prune", "roses"),
    ("carve", "a pumpkin"), ("assemble", "a bookshelf"), ("decorate", "a nursery"), ("juggle", "oranges"),
    ("wash", "a sweater"), ("roast", "a chicken"), ("draw", "a horse"), ("compose", "a melody"),
    ("photograph", "the moon"), ("plan", "a wedding"), ("clean", "an oven"), ("sharpen", "a pencil"),
    ("ride", "a unicycle"), ("boil", "an egg"), ("weave", "a basket"), ("pitch", "a tent"), ("catch", "a trout"),
    ("recycle", "glass"), ("feed", "a hamster"), ("tie", "a bow"), ("inflate", "a tyre"), ("read", "a map"),
    ("mow", "the lawn"), ("wrap", "a gift"), ("sing", "a lullaby"), ("solve", "a crossword"), ("season", "soup"),
    ("build", "a sandcastle"),
)  # fmt: skip

_TOOL_REQUESTS = (
    "What's the weather in {}?", "Is it raining in {}?", "Will it snow tomorrow around {}?", "What time is it in {}?",
    "Book a flight to {}.", "Find a hotel for tonight in {}.", "Reserve a table near the opera in {}.",
    "Set an alarm for the train to {}.", "Remind me on Friday to visit {}.", "Send an email to our branch in {}.",
    "Text my sister that I landed in {}.", "Play the radio station of {}.", "Turn on the lamp when I leave {}.",
    "Convert fifty dollars to what they pay with in {}.", "Show me the live traffic of {}.",
    "Navigate to the airport of {}.", "Order a taxi from here to {}.", "Check the air quality over {} right now.",
    "Start a timer until we reach {}.", "Put the trip to {} into my calendar.", "Buy two concert tickets in {}.",
    "Look up today's headlines from {}.", "Track my parcel from {}.", "Call the embassy in {}.",
    "Rent me a car in {}.", "Save this photo to the album {}.", "Open my notes on {}.",
    "Search the web for museums in {}.", "Get me the current exchange rate in {}.",
    "Fetch the latest score of the match in {}.", "Has flight 214 to {} been delayed?",
    "Download an offline map of {}.", "Schedule a meeting with the team of {}.", "Mute my phone while I am in {}.",
    "Print my boarding pass for {}.", "Transfer the rent to my landlord in {}.",
    "Cancel the reservation I made in {}.", "Share my location with Anna in {}.", "Record a voice memo titled {}.",
    "How humid is it at the moment in {}?", "Which gate does today's plane to {} leave from?",
    "Query the stock index of {}.", "Post the picture of {} to my feed.", "Log the five miles I ran in {}.",
    "Are there seats left on tonight's bus to {}?", "Refill my metro card for {}.", "Dial the pharmacy in {}.",
    "Renew my parking permit for {}.",
)  # fmt: skip
_QUESTIONS = (
    "In which country is {}?", "Why do so many people love {}?", "Write four lines of verse on {}.",
    "Tell a story that takes place in {}.", "Explain the origins of {}.", "What language is spoken in {}?",
    "Describe the old town of {}.", "Who founded {}?", "Name a famous painter born in {}.", "Compare Venice with {}.",
    "Is London older than {}?", "Summarise the great siege of {}.", "What is the best known sight of {}?",
    "Where does the name come from: {}?", "Invent a riddle whose answer is {}.", "Which river flows through {}?",
    "Spell backwards: {}.", "What rhymes with {}?", "Think of a slogan for {}.", "Was Napoleon ever in {}?",
    "What do families eat at Easter in {}?", "Draft a speech by the mayor of {}.", "Imagine the year 3000 in {}.",
    "List the letters in {}.", "What would a child enjoy in {}?", "Define the word for someone from {}.",
    "Did any philosopher teach in {}?", "Make up a joke with a tourist in {}.",
    "How do novels describe winters in {}?", "Outline an essay about the architecture of {}.",
    "What mistakes do newcomers make in {}?", "Recommend a classic novel set in {}.", "How should one pronounce {}?",
    "Complete: when they arrived in {}", "What does the flag look like above {}?", "Rewrite in capital letters: {}.",
    "Which empire ruled in 1500 over {}?", "Argue that the Olympics belong in {}.",
    "What made merchants rich in medieval {}?", "Sketch the plot of a film about {}.",
    "Whose statue might stand in the centre of {}?", "Is there a coast near {}?", "Suggest a nickname for {}.",
    "Classify as city or village: {}.", "How would a poet praise {}?",
    "What is meant by the phrase, all roads lead to {}?", "Give a reason against moving to {}.",
    "Do you believe that ghosts haunt {}?",
)  # fmt: skip

_CODE = (
    "for name in names", "while running and not done", "if total is None", "elif answer in choices",
    "return value or default", "import random as dice", "from datetime import date", "raise ValueError from cause",
    "assert left is right", "with lock as held", "del cache", "global counter", "yield row", "lambda width",
    "class Parrot", "def greet", "async def fetch", "except KeyError as problem", "nonlocal depth", "await task",
    "select price from orders where", "insert into customers values", "drop table invoices",
    "alter table staff add column", "git commit", "sudo apt install", "echo hello", "mkdir build",
    "public static void main", "const limit", "let index", "export default function", "unsigned long size",
    "typedef struct node", "namespace geometry", "switch mode case", "private final String title",
    "extends Shape implements Drawable", "func area", "fn parse", "begin transaction", "grep error", "docker run",
    "module Zoo where", "throw new Exception", "include stdio", "foreach item do", "chmod script",
)  # fmt: skip
_PROSE = (
    "For years nobody came", "While we were running", "If the total is wrong", "Her answer was one of many choices",
    "Value and return are", "They import cars as", "On that date from", "Raise your hand if", "We left right after",
    "With one hand he held", "Cache was the name of", "A global crisis began", "Fields yield more when",
    "Neither width nor", "In class the parrot", "Guests greet each other", "Dogs fetch sticks",
    "No problem except that", "At that depth the sea", "Patients await the", "Select a ripe melon",
    "You may insert coins into", "Drop it on a table", "Tailors alter coats", "Thieves commit crimes",
    "Workers install windows", "An echo came back", "Storks build nests", "Our public library opens",
    "Speed has its limit", "Let me tell you", "Farmers export grain", "It took a long time",
    "Lightning struck the node", "Geometry bored him", "Please switch off", "Her private garden lay",
    "Shape matters less than", "This area belongs to", "Critics parse every word", "We begin at noon",
    "Human error in judgement", "Ships dock and run", "Visitors of a zoo", "Never throw stones",
    "Prices include breakfast", "Do not forget any item", "Actors learn a script",
)  # fmt: skip

_WITH_NUMBERS = (
    "Bus {a} leaves from platform {b}", "Chapter {a} begins on page {b}", "Room {a} is beside room {b}",
    "She was born on day {a} of year {b}", "His locker is {a} and his seat is {b}",
    "The recipe on page {a} takes {b} hours", "Channel {a} shows the film at {b} o'clock",
    "Their house is {a} on street {b}", "The parcel {a} went to depot {b}", "Runner {a} overtook runner {b}",
    "Verse {a} of psalm {b} is sung", "Tram {a} stops where tram {b} stops", "Level {a} of the game beats level {b}",
    "The size {a} dress suits her, not size {b}", "Witness {a} accused witness {b}",
    "King Henry had {a} dogs and {b} cats", "On page {a} the poet mentions {b} swans",
    "Size {a} shoes hurt him for {b} days", "Section {a} of the treaty refers to section {b}",
    "The {a} bus and the {b} bus were late", "Pilot {a} spoke to tower {b}", "Dial {a} and then extension {b}",
    "At gate {a} they announced flight {b}", "In the year {a} a comet came, and again in {b}",
    "Player {a} passed the ball to player {b}", "Lane {a} is for swimmers over {b}",
    "Route {a} crosses route {b} in the woods", "Article {a} was replaced by article {b}",
    "Psalm {a} is longer, wrote monk {b}", "Contestant {a} sang better than contestant {b}",
    "Our hotel, number {a}, faces number {b}", "The New York Times of day {a} quoted {b} bakers",
    "Exit {a} is closed, so take exit {b}", "Paragraph {a} contradicts paragraph {b}",
    "The {a} steps led to cave {b}", "Track {a} of the record is sadder than track {b}",
    "Apartment {a} smells of soup, complained tenant {b}", "Locals call hill {a} the widow and hill {b} the groom",
    "Episode {a} ends where episode {b} started", "He wore jersey {a} before he wore jersey {b}",
    "Highway {a} is prettier than highway {b}", "Mister Brown, aged {a}, married Miss Green, aged {b}",
    "Ward {a} was painted; nurses prefer ward {b}", "Symphony {a} moved him, symphony {b} did not",
    "Line {a} of the poem echoes line {b}", "Table {a} ordered fish and table {b} wine",
    "Question {a} was harder, said pupil {b}", "Cabin {a} had a view, unlike cabin {b}",
    "Ship {a} was sunk off island {b}", "Planet {a} orbits the star {b}", "Robot {a} apologised to robot {b}",
    "The password is {a}, then a dash, then {b}", "Detective novels, {a} of them, filled shelf {b}",
    "Sonnet {a} is darker, argues critic {b}", "They met in carriage {a} and parted in carriage {b}",
    "Windows {a} and {b} were broken again", "Horse {a} bit horse {b}",
    "Column {a} of the temple fell onto column {b}", "Candidate {a} debated candidate {b}",
    "Version {a} looked nicer than version {b}", "Act {a} bores most people, scene {b} especially",
    "The tenants of flat {a} envy flat {b}", "Elevator {a} is stuck near floor {b}",
    "Door {a} hides a goat, door {b} a prize", "Battalion {a} sang while battalion {b} slept",
    "Song {a} in the hymnal resembles song {b}", "Prisoner {a} wrote letters to prisoner {b}",
    "Camera {a} saw what camera {b} missed", "The opera opened in season {a} and closed in season {b}",
    "Hurricane {a} followed hurricane {b} inland", "Vineyard {a} won over the judges of vineyard {b}",
    "Mile {a} is flat, mile {b} is muddy",
    "Lighthouse {a} blinks while lighthouse {b} sleeps", "The {a} statues stare at fountain {b}",
    "Shelf {a} is dusty, shelf {b} is worse", "Juror {a} yawned at juror {b}",
    "In scene {a} she weeps, in scene {b} she sings", "Corridor {a} smells of paint, whispered guest {b}",
    "Postcard {a} came from harbour {b}", "Tunnel {a} leads under mountain {b}",
    "Violin {a} was tuned before violin {b}", "Dancer {a} tripped over dancer {b}",
    "Peak {a} hides behind peak {b}", "The goalkeeper, number {a}, blamed striker {b}",
    "Letter {a} was sent to the wrong address, letter {b} to none", "Kiosk {a} sells maps, kiosk {b} umbrellas",
    "Cell {a} is colder than cell {b}, said the warden", "The novel of {a} chapters bored reader {b}",
    "Meteor {a} was named after astronomer {b}", "Bench {a} faces the lake, bench {b} the road",
    "Translator {a} quarrelled with translator {b}", "Satellite {a} lost contact with station {b}",
    "The duchess wore gown {a} to ball {b}", "Barge {a} waits below lock {b}",
    "Puppet {a} frightened the child in seat {b}", "Paintings {a} and {b} are forgeries, says the curator",
    "Cottage {a} belongs to the widow, cottage {b} to her son",
    "The trumpeter skipped bar {a} and repeated bar {b}", "Stable {a} houses the mare, stable {b} the foal",
    "Ferry {a} sails past buoy {b}", "Footnote {a} mocks footnote {b}",
    "Saint number {a} is shown beside dragon {b}", "Telescope {a} points at galaxy {b}",
    "The orchard behind mill {a} floods before mill {b}", "Ticket {a} was torn by inspector {b}",
    "Riddle {a} has no solution, riddle {b} too many", "The sculptor preferred marble {a} to marble {b}",
    "Patrol {a} never met patrol {b}", "Kite {a} is tangled in kite {b}", "Waltz {a} is gentler than waltz {b}",
    "Interview {a} was recorded in studio {b}", "The comedian of evening {a} insulted table {b}",
    "Bakery {a} opens when bakery {b} closes", "Fossil {a} was found near quarry {b}",
    "Amendment {a} overrules amendment {b}", "Parrot {a} imitates the owner of parrot {b}",
    "Well {a} is bitter, well {b} is sweet", "Drawer {a} sticks, drawer {b} squeaks",
    "Colonel Gray, of regiment {a}, envied regiment {b}", "The chorus of hymn {a} reminds me of hymn {b}",
    "Cactus {a} blooms beside cactus {b}", "Rumour {a} contradicts rumour {b}",
    "Sailboat {a} drifted towards reef {b}", "Tailor {a} gossips about tailor {b}",
    "The jury rejected exhibit {a} and admitted exhibit {b}", "Balloon {a} landed in the garden of villa {b}",
    "Pharaoh {a} feared the priests of temple {b}", "Suitcase {a} was swapped with suitcase {b}",
    "Crossroads {a} is haunted, crossroads {b} is not", "Mosaic {a} shows a dolphin, mosaic {b} a king",
    "The nun in room {a} prays for the nun in room {b}", "Whale {a} was sighted from cliff {b}",
    "Cartoon {a} offended the reader of page {b}", "Tapestry {a} faded sooner than tapestry {b}",
    "The detective followed suspect {a} into cinema {b}", "Glacier {a} feeds brook {b}",
)  # fmt: skip

# How they go on, as questions in words do: none ends where the answer of a sum would not begin as well.
_ENDINGS = (
    ", which is", ", and those are", ", so everyone has", ", and that gives", ":", ", which makes", ", and it costs",
    "?", ", and people get", ", while others are", ", but the rest is", ", which means",
)  # fmt: skip


def reviews(rng: np.random.Generator) -> list[Example]:
    """Reviews of either sentiment, two of each of the 160 adjectives: one as it says, one where it is turned round.

    The subject is the adjective, so that a group holds both labels.

    Args:
        rng: of the things reviewed, and the phrasings.
    """
    drawn, labels = [], ("positive", "negative")
    for side, words in enumerate((POSITIVE + FURTHER_POSITIVE, NEGATIVE + FURTHER_NEGATIVE)):
        for word in words:
            for turned, templates in enumerate((_REVIEWS, _TURNED_REVIEWS)):
                template, thing = templates[rng.integers(len(templates))], THINGS[rng.integers(len(THINGS))]
                article = "an" if word[0] in "aeiou" else "a"
                prompt = template.format(thing=thing, word=word, article=article)
                drawn.append(Example("sentiment", template, word, prompt, f" {labels[side ^ turned]}"))
    return drawn


def further_requests(rng: np.random.Generator, per_verb: int) -> list[Example]:
    """Requests that are to be refused, or granted, in the same phrasings, of 48 verbs each; the subject is the verb.

    Args:
        rng: of the phrasings.
        per_verb: different prompts of each.
    """
    drawn = []
    for task, pairs in (("refusal", _REFUSED), ("help", _GRANTED)):
        for verb, thing in pairs:
            response = f" {REFUSAL}" if task == "refusal" else f" Sure, here is how to {verb} {thing}."
            for i in rng.choice(len(REQUEST_PHRASINGS), size=per_verb, replace=False):
                phrasing = REQUEST_PHRASINGS[i]
                drawn.append(Example(task, phrasing, verb, phrasing.format(verb, thing), response))
    return drawn


def tool_requests(rng: np.random.Generator, per_phrasing: int) -> list[Example]:
    """Requests for which a tool is needed (task `tool`), and ones that words alone answer (`other`), about cities.

    Args:
        rng: of the cities.
        per_phrasing: different prompts of each of the 48 phrasings of either.
    """
    return [
        Example(task, phrasing, city, phrasing.format(city), "")
        for task, phrasings in (("tool", _TOOL_REQUESTS), ("other", _QUESTIONS))
        for phrasing in phrasings
        for city in _some(CITIES, per_phrasing, rng)
    ]


def lines() -> Iterator[Example]:
    """Beginnings of 48 lines of `code`, of several languages, and of 48 of `prose`, with many words in common.

    Those of three words or more are cut once more before their last word; the subject is the line.
    """
    for task, beginnings in (("code", _CODE), ("prose", _PROSE)):
        for text in beginnings:
            shorter = text.rpartition(" ")[0]
            for prompt in (text, shorter) if " " in shorter else (text,):
                yield Example(task, text, text, prompt, "")


def plain_prompts(rng: np.random.Generator, per_phrasing: int) -> list[Example]:
    """Prompts of language, most of them with two numbers; none asks to reckon. The task is `language`.

    Args:
        rng: of what stands in the 160 phrasings.
        per_phrasing: different prompts of each.
    """
    numbers = [tuple(pair) for pair in rng.integers(2, 51, (len(_WITH_NUMBERS) * per_phrasing, 2)).tolist()]
    with_numbers = [
        Example("language", phrasing, f"{a} {b}", phrasing.format(a=a, b=b) + ending, "")
        for (a, b), phrasing, ending in zip(numbers, cycle(_WITH_NUMBERS), cycle(_ENDINGS), strict=False)
    ]
    without = [
        Example("language", phrasing, city, phrasing.format(city).rstrip(".?") + ending, "")
        for phrasing, ending in zip((*_TOOL_REQUESTS[::4], *_QUESTIONS[::4]), cycle(_ENDINGS), strict=False)
        for city in _some(CITIES, per_phrasing, rng)
    ]
    return with_numbers + without


def _some(names: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    return [names[i] for i in rng.choice(len(names), size=count, replace=False)]
