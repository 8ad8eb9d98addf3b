"""Where the bundled models lie.

`organism`, `organism-early`, an early checkpoint of the same run, and `organism-rlvf`, trained on from the early one on
verifiable rewards.
"""

from __future__ import annotations

from pathlib import Path

from lazarus_probe.spelling import one_of

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The bundled models' names; each also has an untrained twin, `NAME-untrained`."""
    return sorted(path.parent.name for path in FOLDER.glob("*/config.json"))


def path(name: str) -> Path:
    """The checkpoint folder of a bundled model.

    Raises:
        KeyError: no model of that name is bundled.
    """
    if name not in names():
        raise KeyError(f"no bundled model is named {name!r}; {one_of(name, names())}")
    return FOLDER / name
