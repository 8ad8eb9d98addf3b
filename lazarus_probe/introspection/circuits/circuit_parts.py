"""What the result of a circuit is made of: numbers with intervals, blocks, edges and points of its curve."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.intervals import estimate as with_interval

MOST_HEADS = 1024

Count = Annotated[int, Field(ge=0)]
Text = Annotated[str, Field(max_length=1000)]


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


class CircuitEdge(StrictModel):
    """One edge of a circuit.

    Attributes:
        name: as in `L3.H2 -> L7.H1.q`.
        sender_hook: what TransformerLens calls the sender, a head being a row of that value.
        receiver_hook: what it calls the receiver.
        score: its effect on the metric to first order, with its interval over the pairs that the circuit was found on.
        effect: its exact effect in the model, on the pairs that were measured; None if it was not run.
        loss: the faithfulness that the circuit loses without it, on these; None if it was not run.
    """

    name: Text
    sender_hook: Text
    receiver_hook: Text
    score: Figure
    effect: Figure | None = None
    loss: Figure | None = None


class CurvePoint(StrictModel):
    """The faithfulness of the circuit of so many edges; `left` is how many of them lead anywhere."""

    edges: Count
    left: Count
    faithfulness: Figure
