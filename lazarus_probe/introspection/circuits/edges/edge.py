"""The nodes and edges of a model: what writes into the residual stream, and what reads from it.

The residual stream is a sum, so what a component reads is the sum of what all earlier ones wrote, and each of these
terms is an edge (Elhage et al. 2021; Conmy et al. 2023, arXiv:2304.14997). A head reads three times: for its queries,
keys and values. Heads that share keys and values share those two inputs, which are named by the key-value head.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SENT = re.compile(r"embed|L(\d+)\.(?:H(\d+)|MLP)")
READ = re.compile(r"logits|L(\d+)\.(?:MLP|H(\d+)\.(q)|KV(\d+)\.([kv]))")
NAMED_SENDERS = "embed, L3.H2 or L3.MLP"
NAMED_RECEIVERS = "L7.H1.q, L7.KV1.k, L7.KV1.v, L7.MLP or logits"
ATTENTION, MLP = range(2)  # the order within a block


@dataclass(frozen=True)
class Sender:
    """What writes into the residual stream: `embed`, `L3.H2` or `L3.MLP`.

    Attributes:
        layer: its block; None for what enters the first one.
        head: None for an MLP.
    """

    layer: int | None = None
    head: int | None = None

    def __str__(self) -> str:
        if self.layer is None:
            return "embed"
        return f"L{self.layer}.MLP" if self.head is None else f"L{self.layer}.H{self.head}"

    @classmethod
    def parse(cls, text: str) -> Sender:
        """The sender of a name.

        Raises:
            ValueError: it names none.
        """
        match = SENT.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no sender; write {NAMED_SENDERS}")
        return cls(*(None if number is None else int(number) for number in match.groups()))

    @property
    def place(self) -> tuple[float, int]:
        """Its position in the order of computation."""
        if self.layer is None:
            return -1, MLP
        return self.layer, MLP if self.head is None else ATTENTION

    @property
    def hook(self) -> str:
        """What TransformerLens calls it; a head is a row of that value."""
        if self.layer is None:
            return "hook_embed"
        return f"blocks.{self.layer}." + ("hook_mlp_out" if self.head is None else "attn.hook_result")


@dataclass(frozen=True)
class Receiver:
    """What reads the residual stream: `L7.H1.q`, `L7.KV1.k`, `L7.KV1.v`, `L7.MLP` or `logits`.

    Attributes:
        reads: for what: "q", "k", "v", "mlp" or "logits".
        layer: its block; None for the logits.
        head: of the queries; the key-value head of keys and values; else None.
    """

    reads: str
    layer: int | None = None
    head: int | None = None

    def __str__(self) -> str:
        if self.layer is None:
            return "logits"
        if self.head is None:
            return f"L{self.layer}.MLP"
        return f"L{self.layer}.{'H' if self.reads == 'q' else 'KV'}{self.head}.{self.reads}"

    @classmethod
    def parse(cls, text: str) -> Receiver:
        """The receiver of a name.

        Raises:
            ValueError: it names none.
        """
        match = READ.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no receiver; write {NAMED_RECEIVERS}")
        layer, head, query, shared, step = match.groups()
        if layer is None:
            return cls("logits")
        number = head if query else shared
        return cls(query or step or "mlp", int(layer), None if number is None else int(number))

    @property
    def place(self) -> tuple[float, int]:
        """Its position in the order of computation."""
        if self.layer is None:
            return float("inf"), ATTENTION
        return self.layer, MLP if self.reads == "mlp" else ATTENTION

    def hook(self, layers: int) -> str:
        """What TransformerLens calls it in a model of so many layers; a head is a row of that value."""
        if self.layer is None:
            return f"blocks.{layers - 1}.hook_resid_post"
        return f"blocks.{self.layer}." + (
            "hook_mlp_in" if self.reads == "mlp" else f"hook_{self.reads}_input"
        )


@dataclass(frozen=True)
class Edge:
    """What one component writes, as another one reads it; written `L3.H2 -> L7.H1.q`.

    Raises:
        ValueError: the sender does not come before the receiver.
    """

    sender: Sender
    receiver: Receiver

    def __post_init__(self) -> None:
        if self.sender.place >= self.receiver.place:
            raise ValueError(
                f"{self} runs backwards: {self.sender} does not come before {self.receiver}; give a sender below it"
            )

    def __str__(self) -> str:
        return f"{self.sender} -> {self.receiver}"

    @classmethod
    def parse(cls, text: str | Edge) -> Edge:
        """The edge of a name; an Edge is returned as it is.

        Raises:
            ValueError: no arrow, a node that there is not, or an edge that runs backwards.
        """
        if isinstance(text, Edge):
            return text
        sender, arrow, receiver = text.partition("->")
        if not arrow:
            raise ValueError(f"{text!r} is no edge; write it as in 'L3.H2 -> L7.H1.q'")
        return cls(Sender.parse(sender.strip()), Receiver.parse(receiver.strip()))
