"""What one of several processes does to count what models split over them hold and exchange.

Called as `python -m tests.hooks.counted_exchanges FOLDER PARALLEL NAME...`; writes a file of this process.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

from tests.architectures import zoo

import mlx.core as mx  # isort: skip

from mlx.utils import tree_flatten

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.anatomy.pipeline_parallel import held_weights
from lazarus_probe.anatomy.site_kinds import PER_LAYER
from lazarus_probe.hooks import hooked
from lazarus_probe.hooks.check import layers_of_kinds
from lazarus_probe.subject import Subject
from lazarus_probe.subject.one_run import Parallel

LENGTH = 6


class Counted:
    """Real exchanges, and how many bytes of them a ring sends from each process."""

    def __init__(self) -> None:
        self.sent = 0.0
        self.all_sum, self.all_gather = mx.distributed.all_sum, mx.distributed.all_gather
        distributed: Any = mx.distributed
        distributed.all_sum, distributed.all_gather = self.summed, self.gathered

    def summed(self, value: mx.array, **options: Any) -> mx.array:
        """A sum goes around the ring twice, in as many parts as there are processes."""
        size = mx.distributed.init().size()
        self.sent += 2 * value.nbytes * (size - 1) / size
        return self.all_sum(value, **options)

    def gathered(self, value: mx.array, **options: Any) -> mx.array:
        """Each part goes once around the ring, but for the last step."""
        self.sent += value.nbytes * (mx.distributed.init().size() - 1)
        return self.all_gather(value, **options)

    def during(self, subject: Subject, sites: list[str]) -> float:
        """Bytes sent in one forward."""
        self.sent = 0.0
        with hooked(subject, sites) as captured:
            logits = forward(subject.model, mx.zeros((1, LENGTH), dtype=mx.int32))
        mx.eval(logits, [captured[site] for site in sites])
        return self.sent


def counts(name: str, parallel: Parallel) -> dict[str, Any]:
    """Bytes of weights here, and sent: in a plain forward, and more with each kind of site read."""

    def model() -> Any:
        return zoo.fresh(name)

    subject = Subject.from_model(model(), name=name).split(model, parallel)
    counted = Counted()
    plain = counted.during(subject, [])
    layers = {kind: at for kind, at in layers_of_kinds(subject).items() if kind in PER_LAYER}
    read = {kind: counted.during(subject, [f"{kind}.{layer}" for layer in at]) for kind, at in layers.items()}
    held = held_weights(subject.model)
    vectors = sum(
        weight.nbytes
        for block in subject.anatomy.blocks
        for _, weight in tree_flatten(block.parameters())
        if weight.ndim < 2 and id(weight) not in {id(mine) for _, mine in held}
    )
    return {
        "weights": sum(weight.nbytes for _, weight in held) + vectors,
        "sent": plain,
        "read": {kind: total - plain for kind, total in read.items()},
    }


def main(folder: Path, parallel: Parallel, names: list[str]) -> None:
    """Write what is counted of each architecture."""
    rank = mx.distributed.init(strict=True).rank()
    counted = {}
    real = mx.distributed.all_sum, mx.distributed.all_gather
    for name in names:
        counted[name] = counts(name, parallel)
        cast(Any, mx.distributed).all_sum, cast(Any, mx.distributed).all_gather = real
    (folder / f"counts.{rank}.json").write_text(json.dumps(counted))


if __name__ == "__main__":
    main(Path(sys.argv[1]), cast(Parallel, sys.argv[2]), sys.argv[3:])
