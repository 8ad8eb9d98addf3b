"""`lazarus introspect embedding`: what is encoded before any layer computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.judged import judge_together
from lazarus_probe.cli.operations import parse_operations
from lazarus_probe.cli.options import Adapter, AsJson, Model, Output, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output, parse_layers
from lazarus_probe.cli.probe_text import accuracy, compared, r2, rivals, verdict_lines

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.claims.verdict import Verdict
    from lazarus_probe.introspection.embedding import EmbeddingResult

EMBED = -1
DEFAULT = (0, 1, 2)
CLASSES = ("majority", "bag_of_tokens", "untrained", "shuffled_labels")
NUMBERS = ("mean", *CLASSES[1:])
# As the claims about embeddings are pre-registered, but for two: a perfect score over the 64 templates of tasks reaches
# no more than 0.94 surely, so 0.90 is asked, as published; answers have a further control, the operands as numbers.
# By test: fewest groups, controls, threshold and margin at the embedding, and those after a layer.
REGISTERED: Mapping[str, tuple[int, tuple[str, ...], tuple[float, float], tuple[float, float]]] = {
    "task": (20, CLASSES, (0.90, 0.05), (0.90, 0.05)),
    "answer": (40, (*NUMBERS, "operands"), (0.95, 0.05), (0.95, 0.05)),
    "operation": (20, CLASSES, (0.90, 0.05), (0.95, 0.02)),
    "operand": (40, NUMBERS, (0.80, 0.20), (0.95, 0.02)),
}
NAMES = {"task": "Task type", "answer": "Answer", "operation": "Operation type", "operand": "First operand"}


def embedding(
    model: Model,
    layers: Annotated[
        str | None,
        typer.Option(
            "--layers", "-l", help="Layers to compare with, as in 0,4-7; all.", show_default="0,1,2"
        ),
    ] = None,
    operation: Annotated[
        str, typer.Option(help="Of the arithmetic prompts: all, or some of *, +, -, /, mult, add, sub, div.")
    ] = "all",
    adapter: Adapter = None,
    output: Output = None,
    as_json: AsJson = False,
    seed: Seed = 0,
) -> None:
    """Test what token embeddings already say of task, operation, operands and answer.

    Whole prompts are read, and probes are scored on templates, phrasings or operands that they have not met, beside the
    same after some layers, a bag of tokens, an untrained model and shuffled labels. Only what is read beyond all of
    these is called baked in.
    """
    from lazarus_probe.subject.load import num_layers_of

    operations = parse_operations(operation, "--operation")
    check_output(output)
    depth = num_layers_of(model)
    read = [layer for layer in DEFAULT if layer < depth] if layers is None else parse_layers(layers, depth)
    from lazarus_probe.introspection.embedding import embedding as analyse
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    result = analyse(subject, read, operations, seed=seed, progress=True)
    verdicts = judged(result)
    data = result.as_data() | {
        "verdicts": {
            key: {"outcome": str(each.outcome), "reason": each.reason} for key, each in verdicts.items()
        }
    }
    deliver(
        data | {"about": about(subject, seed)},
        "\n".join(text(result, verdicts)),
        as_json=as_json,
        output=output,
    )


def claim(test: str, place: int) -> Claim:
    """What would have to hold for a test's result at a layer, or for -1 at the embedding, to be a finding."""
    from lazarus_probe.claims.claim import Claim

    groups, controls, embedded, after = REGISTERED[test]
    threshold, margin = embedded if place == EMBED else after
    return Claim(
        id=f"{test}-readable",
        statement=f"{NAMES[test]} is readable.",
        source="lazarus introspect embedding",
        kind="decodability",
        threshold=threshold,
        margin=margin,
        minimum_groups=groups,
        controls=controls if place == EMBED else (*controls, "token_embeddings"),
    )


def absence() -> Claim:
    """What would have to hold for the answer not to be in the embeddings."""
    from lazarus_probe.claims.claim import Claim

    return Claim(
        id="answer-not-in-embeddings",
        statement="The answer is not linearly readable from the token embeddings of the question.",
        source="lazarus introspect embedding",
        kind="absence",
        threshold=0.10,
        margin=0.50,
        minimum_groups=40,
        controls=("operand_sum",),
    )


def judged(result: EmbeddingResult) -> dict[str, Verdict]:
    """The verdict on every result, by its key, and under `answer_not_in_embedding` that on its absence."""
    from lazarus_probe.introspection.embedding import key_of

    tests = {
        key_of(test, place): (claim(test, place), measured)
        for test, by_place in result.tests.items()
        for place, measured in by_place.items()
    }
    return judge_together(tests | {"answer_not_in_embedding": (absence(), result.answer_absent)})


def text(result: EmbeddingResult, verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    """The result as it is read."""
    names = ", ".join(result.operations)
    yield f"Model: {result.model}"
    yield f"Prompts: {result.num_arith_prompts} of arithmetic ({names}), {result.num_lang_prompts} of language"
    yield "Probes are scored on templates, phrasings or operands they have not met; 95% intervals in brackets."
    yield from _test(result, "TEST 1: TASK TYPE DETECTION", "task", "Task type")
    yield from _test(
        result, "TEST 2: ANSWER CORRELATION (arithmetic only)", "answer", f"Answer R2|{result.asked}"
    )
    yield from _similarity(result)
    yield from _test(result, "TEST 4: OPERATION TYPE DETECTION", "operation", "Operation type")
    yield from _test(result, "TEST 5: FIRST OPERAND", "operand", f"First operand R2|{result.asked}")
    yield "\n" + title("INTERPRETATION")
    yield from interpretation(result, verdicts)
    yield ""
    yield from verdict_lines(verdicts)


def _test(result: EmbeddingResult, heading: str, test: str, label: str) -> Iterator[str]:
    yield f"\n{title(heading)}"
    name, _, asked = label.partition("|")
    if test not in result.tests:
        yield f"Only {result.asked} is asked: there is no other operation to tell it from; give --operation all"
        return
    for place, measured in result.tests[test].items():
        where = "from embeddings" if place == EMBED else f"after L{place}"
        said = accuracy(measured) if measured.unit == "held-out accuracy" else r2(measured)
        yield f"{name} {where}: {said}"
    first = result.tests[test][EMBED]
    yield f"  (n = {first.n} in {first.groups} groups{f', {asked}' if asked else ''})"


def _similarity(result: EmbeddingResult) -> Iterator[str]:
    found, cosines = result.similarity, result.cosines
    yield "\n" + title("TEST 3: EMBEDDING SIMILARITY ANALYSIS")
    yield f"Within arithmetic similarity: {cosines['within_arith_sim']:.4f}"
    yield f"Within language similarity: {cosines['within_lang_sim']:.4f}"
    yield f"Between task similarity: {cosines['between_task_sim']:.4f}"
    yield f"Within minus between: {r2(found)}"
    yield f"  (n = {found.n} templates)"


def interpretation(result: EmbeddingResult, verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    """What the numbers carry, and where they do not, what stands in the way."""
    yield from _task(result, verdicts["task_from_embedding"])
    yield ""
    yield from _answer(result, verdicts)
    for test in ("operation", "operand"):
        if test in result.tests:
            yield ""
            yield from _plain(result, test, verdicts)


def _task(result: EmbeddingResult, verdict: Verdict) -> Iterator[str]:
    measured = result.tests["task"][EMBED]
    share = f"{100 * measured.score:.0f}%"
    if verdict.outcome == "supported":
        yield f"Task type is BAKED INTO embeddings ({share} detection)"
        yield f"  -> {verdict.reason}"
        yield "  -> Consistent with RLVF backprop hypothesis; the base model's result must stand below it"
    elif verdict.outcome == "refuted":
        yield f"Task type is NOT readable from embeddings in templates not met ({share} detection)"
        yield f"  -> {verdict.reason}"
    else:
        yield f"Task type is readable from embeddings ({share}), {rivals(claim('task', EMBED), measured)}"
        yield "  -> It shows nothing that training put there"


def _answer(result: EmbeddingResult, verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    absent, measured = verdicts["answer_not_in_embedding"], result.tests["answer"][EMBED]
    if absent.outcome == "supported":
        yield "Answer NOT in embeddings (requires computation)"
        yield f"  -> {absent.reason}"
    elif verdicts["answer_r2_embedding"].outcome == "supported":
        yield f"Answer readable from embeddings (R2 {measured.score:.3f})"
        yield f"  -> {verdicts['answer_r2_embedding'].reason}"
    else:
        part = "partly " if measured.score < 0.95 else ""
        yield f"Answer {part}readable from embeddings (R2 {measured.score:.3f}), {compared(measured)}"
        yield "  -> It shows no computed answer there, and no absence of it"
    shown = [place for place in result.layers if verdicts[f"answer_r2_L{place}"].outcome == "supported"]
    if shown:
        yield f"  -> Answer readable beyond all controls after {', '.join(f'L{place}' for place in shown)}"
    elif result.layers:
        yield "  -> Answer not shown to be readable beyond all controls after any of these layers"


def _plain(result: EmbeddingResult, test: str, verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    from lazarus_probe.introspection.embedding import key_of

    measured, verdict = result.tests[test][EMBED], verdicts[key_of(test, EMBED)]
    known = "in" if verdict.outcome == "supported" else "NOT shown to be in"
    yield f"{NAMES[test]} is {known} embeddings ({measured.unit} {measured.score:.2f})"
    yield f"  -> {verdict.reason}"
