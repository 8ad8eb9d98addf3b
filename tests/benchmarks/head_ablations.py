"""Every head on ten tasks: `python -m tests.benchmarks.head_ablations [MODEL [PROCESSES [PROMPTS]]]`.

Each of a model's heads is zeroed, one at a time and at all positions, for forty prompts of each of ten tasks: on
SmolLM2 108,000 exact ablations. What a head adds to the preference for the right word has an interval over independent
units, and each head its damage, the next token's probability that moves on prompts of other tasks. Seconds are of the
whole, with loading, dealt to processes of one thread each; the table shows the head that each task needs most.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

from lazarus_probe import Subject
from lazarus_probe.introspection.ablation.effects import head_sites
from lazarus_probe.introspection.generation.damage import unrelated_prompts
from lazarus_probe.statistics.bounded import bounded_mean_interval
from lazarus_probe.statistics.intervals import estimate
from lazarus_probe.statistics.student import clustered_t_interval, signed_estimate
from lazarus_probe.subject.one_run import join, leave
from lazarus_probe.subject.spellings import token_of
from lazarus_probe.sweep import Zero, logit_diff, sweep
from lazarus_probe.sweep.metrics import Metric
from lazarus_probe.tables import Table
from lazarus_probe.tasks import contrasts, language, listed, names, word_contrasts

# isort: split
import mlx.core as mx
import numpy as np

from tests.processes import run_ranks

PER_TEMPLATE = 12  # drawn, of which those are taken whose words are one token each


@dataclass(frozen=True)
class Task:
    """Prompts with the tokens of a right and a wrong word (N,), and their independent units (N,)."""

    name: str
    prompts: list[str]
    right: list[int]
    wrong: list[int]
    units: list[str]


def tasks(subject: Subject, count: int) -> Iterator[Task]:
    """Ten tasks of a number of prompts each."""
    drawn = {
        "indirect object": names.indirect_objects,
        "pronoun": names.pronouns,
        "docstring argument": listed.docstring_arguments,
        "coloured object": listed.coloured_objects,
        "coloured object, contrasts": contrasts.coloured_contrasts,
        "later year": lambda rng, count: contrasts.tens_alone(contrasts.year_contrasts(rng, count)),
        "capital in a contrast": contrasts.capital_contrasts,
        "repeated word": word_contrasts.repeated_words,
        "agreement": word_contrasts.agreement,
    }
    for name, draw in drawn.items():
        choices = [
            (choice.prompt, *choice.options[:2], choice.subject)
            for choice in draw(np.random.default_rng(0), PER_TEMPLATE)
        ]
        yield task_of(subject, name, choices, count)
    capitals = list(language.capitals())
    others = [example.response.strip() for example in capitals]
    yield task_of(
        subject,
        "capital",
        [
            (example.prompt, right, wrong, example.subject)
            for example, right, wrong in zip(capitals, others, [*others[1:], others[0]], strict=True)
        ],
        count,
    )


def task_of(subject: Subject, name: str, choices: list[tuple[str, str, str, str]], count: int) -> Task:
    """Choices whose two words are one token each, in one way of spelling, spread over all that were drawn.

    Raises:
        SystemExit: too few of them are.
    """
    rows = []
    for prompt, right, wrong, unit in choices:
        for space in (" ", ""):
            ids = [token_of(subject, space + word) for word in (right, wrong)]
            if None not in ids and ids[0] != ids[1]:
                rows.append((prompt, *ids, unit))
                break
    if len(rows) < count:
        raise SystemExit(f"{name}: {len(rows)} prompts whose words are one token each; {count} are needed")
    chosen = [rows[at] for at in np.linspace(0, len(rows) - 1, count).round().astype(int)]
    prompts, right_ids, wrong_ids, units = map(list, zip(*chosen, strict=True))
    return Task(name, prompts, right_ids, wrong_ids, units)


def moved() -> Metric:
    """Half the summed difference of the next token's two distributions, with a head and without."""

    def read(logits: mx.array, baseline: mx.array, _: list[mx.array]) -> mx.array:
        return mx.abs(mx.softmax(logits, axis=-1) - mx.softmax(baseline, axis=-1)).sum(axis=-1) / 2

    return Metric("moved", read)


def ablated(name: str, count: int) -> None:
    """Ablate every head in this process, or its part of them, and print the table where it is the first."""
    began = time.monotonic()
    if "MLX_RANK" in os.environ:
        join("data")  # all but the first print nothing
    subject = Subject.load(name)
    sites, zero = head_sites(subject), {"zero": Zero()}
    unrelated = unrelated_prompts()
    result = sweep(subject, unrelated.prompts, sites, sources=zero, metrics=[moved()], positions="all")
    movements = np.clip(result.values["moved"][:, 0, :, 0], 0, 1)  # (prompts, heads)
    damages = [bounded_mean_interval(column, unrelated.units, 0, 1) for column in movements.T]
    rows, cells = [], 0
    for task in tasks(subject, count):
        metric = logit_diff(task.right, task.wrong)
        result = sweep(subject, task.prompts, sites, sources=zero, metrics=[metric], positions="all")
        losses = result.baseline["logit_diff"][:, None] - result.values["logit_diff"][:, 0, :, 0]
        cells += losses.size
        mean, low, high = clustered_t_interval(losses, task.units)
        head = int(np.argmax(mean))
        logits_added = signed_estimate(mean[head], low[head], high[head])
        damage = estimate(movements[:, head].mean(), damages[head].low, damages[head].high)
        apart = int(((low > 0) | (high < 0)).sum())
        length = np.mean([len(subject.encode(prompt)) for prompt in task.prompts])
        rows.append((task.name, f"{length:.0f}", str(sites[head]), logits_added, damage, apart))
        print(f"{task.name}: after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    columns = ("task", "tokens", "most needed head", "logits it adds", "its damage", "intervals without 0")
    print("\n".join(Table(columns, rows).markdown(str)))
    seconds = time.monotonic() - began
    print(f"{cells} ablations and {movements.size} for damage: {seconds:.0f} s by the clock")
    leave()


def main(name: str, processes: int, count: int) -> None:
    """Run in one process, or in several."""
    if processes == 1:
        ablated(name, count)
        return
    with TemporaryDirectory() as folder:
        command = ["-m", "tests.benchmarks.head_ablations", name, "1", str(count)]
        ended = run_ranks(processes, command, Path(folder), limit=7200.0)
    if {process.code for process in ended} != {0}:
        raise SystemExit("".join(process.err for process in ended) or "it took too long")
    print(ended[0].err, ended[0].out, sep="")


if __name__ == "__main__":
    model, number, prompts_each = (*sys.argv[1:], *("smollm2", "2", "40")[len(sys.argv) - 1 :])[:3]
    main(model, int(number), int(prompts_each))
