"""Counts the claims that come out supported on models that have learnt nothing: none should.

python tests/hypotheses/nulls.py circuits heads stream --model smollm2 --blocks 6 --count 20

Untrained models of a model's shape, and lesioned ones: trained embeddings with new blocks, or with the entries of each
weight of a block permuted. `--blocks` cuts the model first, which is cheaper and changes nothing about what they know.
Each is written to a folder of its own, and tested as any model is, from the command line.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten

from lazarus_probe import Subject
from lazarus_probe.anatomy.plain_weights import plain_weights
from lazarus_probe.statistics.intervals import exact
from lazarus_probe.subject.control_models import LESIONS, lesioned
from lazarus_probe.subject.subject import arguments

ROOT = Path(__file__).parents[2]
KINDS = ("untrained", *LESIONS)


def cut(subject: Subject, blocks: int) -> Subject:
    """The model of a Llama's first blocks, with its embeddings, final norm and unembedding."""
    # The kinds of layers are listed one by one, and as many blocks are built as are listed.
    model = type(subject.model)(
        dataclasses.replace(arguments(subject.model), num_hidden_layers=blocks, layer_types=None)
    )
    names = {name for name, _ in tree_flatten(model.parameters())}
    model.load_weights(
        [(name, read()) for name, _, read in plain_weights(subject.model) if name in names], strict=False
    )
    config = {**(subject.config or {}), "num_hidden_layers": blocks}
    return Subject.from_model(model, subject.tokenizer, f"{subject.name}-{blocks}-blocks", config)


def without_knowledge(subject: Subject, count: int) -> Iterator[tuple[str, Subject]]:
    """As many untrained models as lesioned ones of both kinds together, each with the name of its kind."""
    for number in range(count):
        seed = 5000 + number  # none that a claim compares with
        yield "untrained", subject.untrained(seed)
        lesion = LESIONS[number % len(LESIONS)]
        yield lesion, lesioned(subject, lesion, seed)


def written(subject: Subject, folder: Path) -> Path:
    """A checkpoint of a model that was built here, as mlx-lm reads it."""
    assert subject.tokenizer is not None
    (folder / "config.json").write_text(json.dumps(subject.config))
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(subject.model.parameters())))
    subject.tokenizer.save_pretrained(folder)
    return folder


def verdicts(model: Path, topics: list[str]) -> dict[str, str]:
    """The outcome of every claim of some topics on a model, by case."""
    with tempfile.TemporaryDirectory() as reports:
        command = [sys.executable, "-m", "pytest", *(f"hypotheses/{topic}" for topic in topics), "-q"]
        options = ["--model", str(model), "--probe-baseline", "none", "--probe-report", reports]
        done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)
        runs = list(Path(reports).glob("*/run.json"))
        if not runs:
            raise SystemExit(done.stdout[-2000:] + done.stderr)
        claims = json.loads(runs[0].read_text())["claims"]
    return {record["claim"]["id"] + record["parameters"]: record["outcome"] for record in claims}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("topics", nargs="+")
    parser.add_argument("--model", default="organism")
    parser.add_argument("--blocks", type=int)
    parser.add_argument("--count", type=int, default=20, help="untrained models, and as many lesioned ones")
    options = parser.parse_args()
    subject = Subject.load(options.model)
    subject = subject if options.blocks is None else cut(subject, options.blocks)
    outcomes: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    for number, (kind, model) in enumerate(without_knowledge(subject, options.count)):
        with tempfile.TemporaryDirectory() as folder:
            of_model = verdicts(written(model, Path(folder)), options.topics)
        outcomes[kind].update(of_model.values())
        supported = [name for name, outcome in of_model.items() if outcome == "supported"]
        print(f"{number}: {kind}: {len(of_model)} claims, supported: {supported or 'none'}", flush=True)
    for kind, counted in outcomes.items():
        judged = sum(counted.values()) - counted["not applicable"]
        high = exact(counted["supported"], judged).high if judged else 1.0
        print(
            f"{kind}: {counted['supported']} of {judged} judged cases supported, at most {high:.3f}; {dict(counted)}"
        )


if __name__ == "__main__":
    main()
