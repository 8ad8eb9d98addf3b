"""Counts the claims that come out supported on models that have learnt nothing: none should.

python tests/hypotheses/nulls.py circuits heads stream --model smollm2 --blocks 6 --count 20 --log nulls.jsonl

Untrained models of a model's shape, and lesioned ones: trained embeddings with new blocks, or with the entries of each
weight of a block permuted. `--blocks` cuts the model first, which is cheaper and changes nothing about what they know.
Each is written to a folder of its own, and tested as any model is, from the command line. The outcome on a model is
added to the log, and models that are in it are not tested again: forty of them take hours.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten

from lazarus_probe import Subject
from lazarus_probe.anatomy.plain_weights import named_weights
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
        [(name, read()) for name, _, read in named_weights(subject.model) if name in names], strict=False
    )
    config = {**(subject.config or {}), "num_hidden_layers": blocks}
    return Subject.from_model(model, subject.tokenizer, f"{subject.name}-{blocks}-blocks", config)


def without_knowledge(subject: Subject, count: int) -> Iterator[tuple[str, Callable[[], Subject]]]:
    """As many untrained models as lesioned ones of both kinds together: the kind of each, and what builds it."""
    for number in range(count):
        seed = 5000 + number  # none that a claim compares with
        yield "untrained", partial(subject.untrained, seed)
        lesion = LESIONS[number % len(LESIONS)]
        yield lesion, partial(lesioned, subject, lesion, seed)


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


def tested(log: Path, setting: str) -> dict[int, tuple[str, dict[str, str]]]:
    """By number the kind and the outcomes of the models in a log.

    Raises:
        SystemExit: the log is of another model or of other claims.
    """
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    if others := {line["setting"] for line in lines} - {setting}:
        raise SystemExit(f"{log} is of {min(others)}, not of {setting}; give --log another file")
    return {line["number"]: (line["kind"], line["outcomes"]) for line in lines}


def counted(kind: str, models: list[dict[str, str]]) -> str:
    """How many cases of the models of a kind came out supported, of those that were judged."""
    outcomes = Counter(outcome for model in models for outcome in model.values())
    judged = sum(outcomes.values()) - outcomes["not applicable"]
    high = exact(outcomes["supported"], judged).high if judged else 1.0
    return (
        f"{kind}: {outcomes['supported']} of {judged} judged cases supported, at most {high:.3f}, "
        f"in {len(models)} models; {dict(outcomes)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("topics", nargs="+")
    parser.add_argument("--model", default="organism")
    parser.add_argument("--blocks", type=int)
    parser.add_argument("--count", type=int, default=20, help="untrained models, and as many lesioned ones")
    parser.add_argument("--log", type=Path, default=Path("build/nulls.jsonl"), help="a line for each model")
    options = parser.parse_args()
    subject = Subject.load(options.model)
    subject = subject if options.blocks is None else cut(subject, options.blocks)
    options.log.parent.mkdir(parents=True, exist_ok=True)
    setting = f"{subject.name}: {' '.join(options.topics)}"
    done = tested(options.log, setting)
    for number, (kind, build) in enumerate(without_knowledge(subject, options.count)):
        if number in done:
            continue
        with tempfile.TemporaryDirectory() as folder:
            outcomes = verdicts(written(build(), Path(folder)), options.topics)
        with options.log.open("a") as log:
            line = {"setting": setting, "number": number, "kind": kind, "outcomes": outcomes}
            log.write(json.dumps(line) + "\n")
        done[number] = kind, outcomes
        supported = [name for name, outcome in outcomes.items() if outcome == "supported"]
        print(f"{number}: {kind}: {len(outcomes)} cases, supported: {supported or 'none'}", flush=True)
    for kind in KINDS:
        print(counted(kind, [outcomes for of_kind, outcomes in done.values() if of_kind == kind]))


if __name__ == "__main__":
    main()
