"""Writes docs/findings.md: published findings compared with what SmolLM2-135M-Instruct and the organism do.

pytest hypotheses/circuits hypotheses/heads ... --model smollm2 --probe-update --probe-report build/smollm2
python tests/hypotheses/findings.py build/smollm2/*/run.json
python tests/hypotheses/findings.py --pictures
python tests/hypotheses/findings.py --readme     # prints the table of README.md

What the controls said is in a run, not in a baseline: the last run counts, and without one the page keeps what it has.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import real_model
import table

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.library import library, topics
from lazarus_probe.claims.record import ClaimRecord
from lazarus_probe.reports.run_log import read_any

DOCS = table.ROOT / "docs" / "findings.md"
COLUMNS = ("finding", "source", "published", "SmolLM2", "to published", "organism", "controls on SmolLM2")
LAST = COLUMNS[-1]
HEAD = """# Published findings

Findings of the field, each a claim with controls that anyone can run on a model: `lazarus test -m MODEL --topic TOPIC`.
It compares what was published with two models: SmolLM2-135M-Instruct, a chat model of 30 layers, and the bundled
organism, a model of 8 layers that learnt little but arithmetic. Thresholds were set before either was run, and are
those of any model. A finding that does not hold, or that untrained models share, is as good a result as one that does.

The page is made by `python tests/hypotheses/findings.py RUN.json` from `reports/baselines/smollm2.json`,
`reports/baselines/organism.json` and what the controls said in a run. "To published" is the score on SmolLM2 over the
published number; where a paper's number is of another unit, there is none. Choices between two words count contrasts,
both prompts of which must be right, where the papers count prompts. Of the controls the one that the score gains least
over is shown, with its own score.

Models that know nothing support none of these. The claims on circuits, heads, the stream, facts and representations
were tested on 40 models of SmolLM2's shape cut to six blocks, 20 of them untrained and 20 with its embeddings and new
or permuted blocks. Of 960 judged cases 0 were supported: at most .008 of those on untrained models and .015 on either
lesioned kind, by exact intervals of 95%. `python tests/hypotheses/nulls.py circuits heads stream facts representations
--model smollm2 --blocks 6 --count 20` repeats it. Of three models with all 30 blocks, two untrained and one with new
blocks, 0 of 72 judged cases were supported, at most .050 (the same without `--blocks`, `--count 2`, a quarter of an
hour a model).
"""
ASSUMED = """What must hold if a score is to say what the statement does. Most of it is varied within the claim: by a
control, by the units that it generalises over, by a part of a circuit; some by a claim of its own, which is the same
without it. What nothing tests is named all the same."""
README = (
    "induction-head-exists",
    "indirect-object-preferred",
    "indirect-object-circuit-is-faithful",
    "heads-sink-into-first-token",
    "function-vector-carries-task",
    "successor-head-exists",
    "days-lie-on-a-circle",
    "subject-mlp-brings-fact-back",
    "tracing-does-not-tell-where-edits-work",
    "task-type-in-embeddings",
    "facts-in-the-lens",
)
PICTURES = (
    ("induction.png", "Attention of SmolLM2's best induction head on random tokens that come twice."),
    ("lens.png", "What the logit lens reads of `The capital of France is` after each layer of SmolLM2."),
    ("sinks.png", "Share of attention that heads of SmolLM2 give the first of random tokens, by layer."),
)


def render(
    controls: Mapping[str, str],
    smollm2: Mapping[str, Any],
    organism: Mapping[str, Any],
    kept: Mapping[str, str] | None = None,
) -> str:
    """The page as Markdown.

    Args:
        controls: what the controls said on SmolLM2, by claim.
        smollm2: its baseline's cases.
        organism: that of the organism.
        kept: what the page has of the controls, by claim, for those that `controls` has none of.
    """
    parts = [HEAD, *(f"![{text}](pictures/{name})\n\n{text}\n" for name, text in PICTURES)]
    items = library()
    for topic, text in topics().items():
        claims = [item.claim for item in items if item.topic == topic]
        rows = [
            row(claim, {**(kept or {}), **controls}.get(claim.id, ""), smollm2, organism) for claim in claims
        ]
        lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
        parts.append(f"## {topic.capitalize()}\n\n{text}\n\n" + "\n".join(map(table.line, lines)) + "\n")
    parts.append(assumptions([item.claim for item in items], smollm2, organism))
    return "\n".join(parts)


def assumptions(claims: Sequence[Claim], smollm2: Mapping[str, Any], organism: Mapping[str, Any]) -> str:
    """What findings assume, and what tests it: a control or part of the claim, or another claim with its verdicts."""
    ids = {claim.id for claim in claims}
    lines = [("finding", "assumes", "tested by", "SmolLM2", "organism"), ["---"] * 5]
    for claim in claims:
        for assumption in claim.assumes:
            by = assumption.tested_by
            verdicts = (
                [real_model.verdict(by, cases) for cases in (smollm2, organism)] if by in ids else ["", ""]
            )
            lines.append((f"`{claim.id}`", assumption.that, f"`{by}`" if by else "nothing", *verdicts))
    return f"## Assumptions\n\n{ASSUMED}\n\n" + "\n".join(map(table.line, lines)) + "\n"


def row(
    claim: Claim, controls: str, smollm2: Mapping[str, Any], organism: Mapping[str, Any]
) -> Sequence[str]:
    """One claim's cells."""
    return (
        f"`{claim.id}`: {claim.statement}",
        claim.source,
        table.published(claim),
        real_model.verdict(claim.id, smollm2),
        to_published(claim, smollm2),
        real_model.verdict(claim.id, organism),
        controls,
    )


def readme(smollm2: Mapping[str, Any], organism: Mapping[str, Any]) -> str:
    """README's table: some findings, what was published, and both models."""
    claims = {item.claim.id: item.claim for item in library()}
    rows = [
        (
            f"`{name}`",
            table.published(claims[name]),
            *(real_model.verdict(name, cases) for cases in (smollm2, organism)),
        )
        for name in README
    ]
    return "\n".join(map(table.line, [("finding", "published", "SmolLM2", "organism"), ["---"] * 4, *rows]))


def to_published(claim: Claim, cases: Mapping[str, Any]) -> str:
    """The score over the published number, where there is one of each."""
    scores = [cases[key].get("score") for key in real_model.cases_of(claim.id, cases)]
    values = [published.value for published in claim.published.values() if published.value]
    return f"{scores[0] / values[0]:.2f}" if len(scores) == 1 and scores[0] is not None and values else ""


def least_gain(record: ClaimRecord) -> str:
    """The control that the score gains least over, in words; why there is none where nothing was measured."""
    if record.measurement is None or not record.measurement.controls:
        return real_model._short(record.reason)
    control = min(record.measurement.controls, key=lambda control: control.gain)
    text = f"{control.name} {control.score:.2f}"
    left_out = record.measurement.unmeasured
    return f"{text}; not run: {', '.join(left_out)}" if left_out else text


def without_controls(page: str) -> str:
    """The page as its baselines make it: the last column is of a run, which is not kept."""
    rows = [line.split(" | ") if line.startswith("| ") else [line] for line in page.splitlines()]
    return "\n".join(" | ".join(row[: len(COLUMNS) - 1]) for row in rows)


def controls_on(page: str) -> dict[str, str]:
    """What a page says in its last column, by claim."""
    rows = [line.removesuffix(" |").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    return {row[0].split("`")[1]: row[-1].strip() for row in rows if len(row) == len(COLUMNS)}


def draw(folder: Path) -> None:
    """The three pictures, of SmolLM2."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    from lazarus_probe import Subject
    from lazarus_probe.hooks.sites import Site
    from lazarus_probe.hooks.trace import trace
    from lazarus_probe.introspection.attribution.best_head import best_heads
    from lazarus_probe.introspection.attribution.head_scores import attention_measured
    from lazarus_probe.introspection.attribution.repeated_tokens import repeated_tokens
    from lazarus_probe.introspection.lens.readings import read_sets
    from lazarus_probe.subject.random_tokens import random_rows

    subject = Subject.load("smollm2")
    folder.mkdir(exist_ok=True)

    def saved(name: str, across: str, up: str) -> None:
        plt.xlabel(across)
        plt.ylabel(up)
        plt.tight_layout()
        plt.savefig(folder / name, dpi=110, metadata={"Software": None})
        plt.close()

    def pattern(tokens: Any, layer: int) -> Any:
        site = Site("pattern", layer)
        return np.array(trace(subject, tokens.tolist(), [site])[site])

    drawn = repeated_tokens(subject, 20, 12)
    ((layer, head),) = best_heads(attention_measured(subject, drawn), "induction", 12)
    plt.figure(figsize=(4.4, 4.0))
    plt.imshow(pattern(drawn.repeated[:1], layer)[0, head], cmap="magma")
    plt.title(f"L{layer} head {head}")
    saved("induction.png", "attends to token", "from token")

    layers = list(range(subject.num_layers))
    words = (" Paris", " London", " the")
    sets = [[[tuple(subject.encode(word))]] for word in words]
    plt.figure(figsize=(5.2, 3.2))
    for word, reading in zip(
        words, read_sets(subject, ["The capital of France is"], sets, layers), strict=True
    ):
        plt.plot(layers, reading.probability[0], label=repr(word))
    plt.legend()
    saved("lens.png", "layer", "probability in the logit lens")

    tokens = random_rows(subject, 40, 8)[1]
    shares = np.stack([pattern(tokens, layer)[:, :, 20:, 0].mean(axis=(0, 2)) for layer in layers])
    plt.figure(figsize=(5.2, 3.2))
    plt.plot(np.repeat(layers, shares.shape[1]), shares.ravel(), "o", markersize=3, alpha=0.6)
    saved("sinks.png", "layer", "attention to the first token, a head")


if __name__ == "__main__":
    if "--pictures" in sys.argv:
        draw(DOCS.parent / "pictures")
    elif "--readme" in sys.argv:
        print(readme(real_model.baseline("smollm2"), real_model.baseline("organism")))
    else:
        records = [record for run in sys.argv[1:] for record in read_any(Path(run)).claims]
        said = {record.claim.id: least_gain(record) for record in records}
        before = controls_on(DOCS.read_text(encoding="utf-8")) if DOCS.exists() else {}
        models = (real_model.baseline(name) for name in ("smollm2", "organism"))
        DOCS.write_text(render(said, *models, before), encoding="utf-8")
        print(f"{DOCS.relative_to(table.ROOT)}: {len(said)} claims of a run")
