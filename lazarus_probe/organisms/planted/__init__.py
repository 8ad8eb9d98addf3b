"""Models whose circuit is known because it was put there: there is one place to find and nothing elsewhere."""

from lazarus_probe.organisms.planted.circuits import (
    REMEMBERED,
    Planted,
    announcer,
    backup,
    decodable,
    distractor,
    gates,
    memory,
    number_tokens,
    planted_tokenizer,
    prompt,
    router,
    stored,
)
from lazarus_probe.organisms.planted.functions import PlantedFunction, function_vector
from lazarus_probe.organisms.planted.heads import (
    PlantedHeads,
    entropy_neurons,
    growing,
    induction,
    sink,
    successor,
)
from lazarus_probe.organisms.planted.hidden import PlantedEdges, hidden, hidden_mover, hidden_sum
from lazarus_probe.organisms.planted.weights import NUMBERS

__all__ = [
    "NUMBERS",
    "REMEMBERED",
    "Planted",
    "PlantedEdges",
    "PlantedFunction",
    "PlantedHeads",
    "announcer",
    "backup",
    "decodable",
    "distractor",
    "entropy_neurons",
    "function_vector",
    "gates",
    "growing",
    "hidden",
    "hidden_mover",
    "hidden_sum",
    "induction",
    "memory",
    "number_tokens",
    "planted_tokenizer",
    "prompt",
    "router",
    "sink",
    "stored",
    "successor",
]
