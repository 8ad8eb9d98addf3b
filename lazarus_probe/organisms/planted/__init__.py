"""Models whose circuit is known because it was put there: there is one place to find and nothing elsewhere."""

from lazarus_probe.organisms.planted.circuits import (
    Planted,
    announcer,
    decodable,
    distractor,
    gates,
    prompt,
    router,
)
from lazarus_probe.organisms.planted.weights import NUMBERS

__all__ = ["NUMBERS", "Planted", "announcer", "decodable", "distractor", "gates", "prompt", "router"]
