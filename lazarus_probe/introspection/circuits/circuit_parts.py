"""What the result of a circuit is made of: numbers with intervals, blocks, edges and points of its curve."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.intervals import estimate as with_interval

MOST_HEADS = 1024
LONGEST = 1000  # characters of a text
MOST_PAIRS = 10  # that an edge names

Count = Annotated[int, Field(ge=0)]
Text = Annotated[str, Field(max_length=LONGEST)]


class StrictModel(BaseModel):
    """What a file holds: nothing unknown, and no number that is not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Figure(StrictModel):
    """A number with its interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, interval: Interval) -> Figure:
        """A number and its interval."""
        return cls(value=value, low=interval.low, high=interval.high)

    def __str__(self) -> str:
        return with_interval(self.value, self.low, self.high)


class Block(StrictModel):
    """The nodes of one block."""

    heads: Annotated[int, Field(ge=1, le=MOST_HEADS)]
    kv_heads: Annotated[int, Field(ge=1, le=MOST_HEADS)]
    mlp: bool


class Contrast(StrictModel):
    """A pair of prompts that a circuit was found on."""

    clean: Text
    corrupted: Text

    @classmethod
    def of(cls, clean: str, corrupted: str) -> Contrast:
        """Both prompts, without their beginnings where they are too long: the end is what they differ by."""
        return cls(clean=_end_of(clean), corrupted=_end_of(corrupted))


def _end_of(prompt: str) -> str:
    return prompt if len(prompt) <= LONGEST else f"…{prompt[1 - LONGEST :]}"


class PairScore(StrictModel):
    """The score of an edge on one pair, by its place among the circuit's prompts."""

    pair: Count
    score: float


class CircuitEdge(StrictModel):
    """One edge of a circuit.

    Attributes:
        name: as in `L3.H2 -> L7.H1.q`.
        sender_hook: what TransformerLens calls the sender, a head being a row of that value.
        receiver_hook: what it calls the receiver.
        score: its effect on the metric to first order, with its interval over the pairs that the circuit was found on.
        effect: its exact effect in the model, on the pairs that were measured; None if it was not run.
        loss: the faithfulness that the circuit loses without it, on these; None if it was not run.
        strongest: the pairs on which its score is largest, the largest first.
    """

    name: Text
    sender_hook: Text
    receiver_hook: Text
    score: Figure
    effect: Figure | None = None
    loss: Figure | None = None
    strongest: Annotated[tuple[PairScore, ...], Field(max_length=MOST_PAIRS)] = ()


class Resampled(StrictModel):
    """How much of a circuit resamples of the pairs that it was found on give again.

    Attributes:
        overlap: the edges that are in both circuits over those in either, and what 95% of resamples lie in.
        correlation: of all edges' scores with those of a resample, by rank, on average.
        resamples: how many there were.
    """

    overlap: Figure
    correlation: float
    resamples: Count


class OtherTask(StrictModel):
    """What a circuit does on prompts of another task.

    Attributes:
        name: of the task.
        pairs: how many.
        clean: the mean of the metric in the model.
        empty: its mean with no edges at all.
        faithfulness: of the circuit.
        random: the mean faithfulness of random circuits of as many edges.
    """

    name: Text
    pairs: Count
    clean: float
    empty: float
    faithfulness: Figure
    random: float


class CurvePoint(StrictModel):
    """The faithfulness of the circuit of so many edges; `left` is how many of them lead anywhere."""

    edges: Count
    left: Count
    faithfulness: Figure
