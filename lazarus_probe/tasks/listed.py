"""Lists of which one member is right: the next argument of a docstring, the colour of an object.

After Heimersheim and Janiak 2023 ("A circuit for Python docstrings in a 4-layer attention-only transformer") and
Merullo et al. 2024 (arXiv:2310.08744), in sentences and code of our own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lazarus_probe.tasks.names import Choice

FUNCTIONS = (
    "load", "save", "merge", "split", "parse", "render", "update", "remove", "search", "filter", "resize", "encode",
    "decode", "upload", "send", "copy", "check", "build", "start", "close", "train", "score", "plot", "export",
    "fetch", "store", "join", "rotate", "crop", "sort", "count", "clean", "format", "convert", "print", "move",
)  # fmt: skip
ARGUMENTS = (
    "name", "size", "path", "files", "color", "width", "height", "label", "value", "key", "image", "text", "user",
    "date", "model", "data", "table", "index", "state", "start", "limit", "host", "mode", "token",
)  # fmt: skip
DESCRIPTIONS = ("what to use", "the one to take", "as it is given", "where it belongs", "of the call")

COLOURS = ("red", "blue", "green", "black", "white", "yellow", "brown", "grey", "pink", "orange")
OBJECTS = (
    "pen", "cup", "ball", "book", "hat", "box", "bag", "key", "lamp", "plate", "shirt", "chair", "clock", "brush",
    "bottle", "pencil", "scarf", "bowl", "ring", "coat",
)  # fmt: skip
# Three objects with their colours, and a question about one of them.
COLOURED = (
    "On the table there are a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. The colour of the {asked} is",
    "I have a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. My {asked} is",
    "The shop sells a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. The {asked} in the shop is",
    "She packed a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. Her {asked} is",
    "In the drawer lie a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. The {asked} in the drawer is",
    "He found a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. The {asked} that he found was",
    "The picture shows a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. In the picture the {asked} is",
    "There is a {c0} {o0} beside a {c1} {o1} and a {c2} {o2}. The {asked} is coloured",
    "They bought a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. The {asked} they bought is",
    "You can see a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. The {asked} is painted",
    "We lost a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. The lost {asked} was",
    "Anna carries a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. Anna's {asked} is",
    "On the floor: a {c0} {o0}, a {c1} {o1}, a {c2} {o2}. Colour of the {asked}:",
    "The child drew a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. The child's {asked} is",
    "A {c0} {o0}, a {c1} {o1} and a {c2} {o2} were for sale. The {asked} for sale was",
    "Under the bed were a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. The {asked} under the bed was",
    "My uncle owns a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. His {asked} is",
    "The list says: a {c0} {o0}, a {c1} {o1}, a {c2} {o2}. So the {asked} is",
    "At the museum we saw a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. The {asked} we saw was",
    "Somebody left a {c0} {o0}, a {c1} {o1} and a {c2} {o2} here. The {asked} left here is",
    "A thief took a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. The stolen {asked} was",
    "For her birthday she got a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. Her new {asked} is",
    "The room holds a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. The {asked} in the room is",
    "Put the {c0} {o0}, the {c1} {o1} and the {c2} {o2} away. The {asked} that you put away is",
)


def docstring_arguments(rng: np.random.Generator, per_template: int = 4) -> list[Choice]:
    """Functions of four arguments whose docstring has come to the third: it should be next, and not the fourth.

    In a contrast the last two stand in either order; in the control in that of the other prompt. A function's name is
    its template.

    Args:
        rng: draws the arguments.
        per_template: even; prompts of each function, two a contrast.
    """
    choices = []
    for function in FUNCTIONS:
        for number in range(per_template // 2):
            first, second, third, fourth = (
                str(word) for word in rng.choice(ARGUMENTS, size=4, replace=False)
            )
            about = [str(text) for text in rng.choice(DESCRIPTIONS, size=2, replace=False)]
            choices += [
                Choice(
                    _docstring(function, (first, second, following, last), about),
                    (following, last),
                    _docstring(function, (first, second, last, following), about),
                    function,
                    " ".join(sorted((third, fourth))),
                    f"{function} {number}",
                )
                for following, last in ((third, fourth), (fourth, third))
            ]
    return choices


def _docstring(function: str, arguments: Sequence[str], about: Sequence[str]) -> str:
    """A function whose docstring has come to the argument after those that are described."""
    described = [f"    :param {name}: {text}" for name, text in zip(arguments, about, strict=False)]
    head = [f"def {function}({', '.join(arguments)}):", f'    """{function.capitalize()} it.', ""]
    return "\n".join([*head, *described, "    :param"])


def coloured_objects(rng: np.random.Generator, per_template: int = 4) -> list[Choice]:
    """Three objects of different colours, and a question about one: its colour should follow, not another's.

    In the control the question is about an object that is not there.

    Args:
        rng: draws objects, colours, and which is asked about.
        per_template: lists in each sentence.
    """
    choices = []
    for template in COLOURED:
        for number in range(per_template):
            *objects, absent = (str(word) for word in rng.choice(OBJECTS, size=4, replace=False))
            colours = [str(word) for word in rng.choice(COLOURS, size=3, replace=False)]
            questioned = int(rng.integers(3))
            words = {f"c{i}": colour for i, colour in enumerate(colours)}
            words |= {f"o{i}": name for i, name in enumerate(objects)}
            options = (colours[questioned], *(colour for i, colour in enumerate(colours) if i != questioned))
            choices.append(
                Choice(
                    template.format(asked=objects[questioned], **words),
                    options,
                    template.format(asked=absent, **words),
                    template,
                    f"{colours[questioned]} {objects[questioned]}",
                    f"{template} {number}",
                )
            )
    return choices
