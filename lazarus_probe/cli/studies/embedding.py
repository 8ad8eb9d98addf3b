"""`lazarus introspect embedding`: what is encoded before any layer computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import Adapter, AsJson, Model, Output, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output, parse_layers
from lazarus_probe.cli.probing.probe_text import accuracy, compared, r2, rivals, verdict_lines
from lazarus_probe.cli.studies.operations import parse_operations
from lazarus_probe.subject.relative_depth import EMBED

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.claims.verdict import Verdict
    from lazarus_probe.introspection.studies.embedding import EmbeddingResult
    from lazarus_probe.statistics.measurement import Measurement

DEFAULT = (0, 1, 2)
# By test, the declared claims about the embeddings and about a layer; the last two where not all operations are in.
CLAIMS = {
    "task": ("task-type-in-embeddings", "task-type-after-layers"),
    "answer": ("answer-in-embeddings", "answer-after-layers"),
    "operation": ("operation-in-embeddings", "operation-after-layers"),
    "operand": ("operand-in-embeddings", "operand-after-layers"),
    "other answer": ("answer-in-embeddings", "other-answer-after-layers"),
    "some operations": ("some-operations-in-embeddings", "some-operations-after-layers"),
}
NAMES = {"task": "Task type", "answer": "Answer", "operation": "Operation type", "operand": "First operand"}


def embedding(
    model: Model,
    layers: Annotated[
        str | None,
        typer.Option(
            "--layers",
            "--layer",
            "-l",
            help="Layers to compare with, as in 0,4-7; or all.",
            show_default="0,1,2",
        ),
    ] = None,
    operation: Annotated[
        str,
        typer.Option(
            help="Operations of the arithmetic prompts: all, or some of *, +, -, /, mult, add, sub, div."
        ),
    ] = "all",
    adapter: Adapter = None,
    output: Output = None,
    as_json: AsJson = False,
    seed: Seed = 0,
) -> None:
    """Test what token embeddings already encode about task, operation, operands and answer.

    Whole prompts are read. Probes are scored on held-out templates, phrasings or operands, and compared with the same
    probes after some layers, a bag of tokens, untrained models and shuffled labels. Only what exceeds all of these is
    called baked in.
    """
    from lazarus_probe.checkpoints.names import num_layers_of

    operations = parse_operations(operation, "--operation")
    check_output(output)
    depth = num_layers_of(model)
    read = [layer for layer in DEFAULT if layer < depth] if layers is None else parse_layers(layers, depth)
    from lazarus_probe.introspection.studies.embedding import embedding as analyse
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    result = analyse(subject, read, operations, seed=seed, progress=True)
    from lazarus_probe.claims.judging import verdict_data

    verdicts, tests = judged(result), tests_of(result)
    data = result.as_data() | {
        "verdicts": {key: verdict_data(tests[key][0], verdict) for key, verdict in verdicts.items()}
    }
    deliver(
        data | {"about": about(subject, seed)},
        "\n".join(text(result, verdicts)),
        as_json=as_json,
        output=output,
    )


def claim_of(result: EmbeddingResult, test: str, layer: int) -> Claim:
    """The declared claim about a test's result at a layer, or for -1 at the embedding."""
    from lazarus_probe.claims.declared import declared
    from lazarus_probe.tasks.arithmetic import OPERATIONS

    if test == "answer" and result.answer_operation != "multiply":
        test = "other answer"
    if test == "operation" and set(result.operations) != set(OPERATIONS):
        test = "some operations"
    embedded, after = CLAIMS[test]
    return declared(embedded if layer == EMBED else after)


def absence_of(result: EmbeddingResult) -> Claim:
    """The declared claim that the answer is not in the embeddings."""
    from lazarus_probe.claims.declared import declared

    return declared(
        "answer-not-in-embeddings"
        if result.answer_operation == "multiply"
        else "other-answer-not-in-embeddings"
    )


def tests_of(result: EmbeddingResult) -> dict[str, tuple[Claim, Measurement]]:
    """By key, what every result is judged by; under `answer_not_in_embedding` the answer's absence."""
    from lazarus_probe.introspection.studies.embedding import key_of

    tests = {
        key_of(test, layer): (claim_of(result, test, layer), measured)
        for test, by_place in result.tests.items()
        for layer, measured in by_place.items()
    }
    return tests | {"answer_not_in_embedding": (absence_of(result), result.answer_absent)}


def judged(result: EmbeddingResult) -> dict[str, Verdict]:
    """The verdict on every result, by its key: all of them are one family.

    That an answer is not in the embeddings of a model which does not give it is no finding, and not judged.
    """
    from lazarus_probe.claims.judging import judge_together
    from lazarus_probe.claims.verdict import Outcome, Verdict

    tests = tests_of(result)
    if not result.unanswered:
        return judge_together(tests)
    del tests["answer_not_in_embedding"]
    excluded = Verdict(Outcome.NOT_APPLICABLE, result.unanswered)
    return judge_together(tests) | {"answer_not_in_embedding": excluded}


def text(result: EmbeddingResult, verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    """The result as it is read."""
    names = ", ".join(result.operations)
    yield f"Model: {result.model}"
    yield f"Prompts: {result.num_arith_prompts} of arithmetic ({names}), {result.num_lang_prompts} of language"
    yield "Probes are scored on held-out templates, phrasings or operands; 95% intervals in brackets."
    yield "R2 is capped: an error counts for one standard deviation of the labels at most; --json has `plain_r2` too."
    yield from _test(result, "TEST 1: TASK TYPE DETECTION", "task", "Task type")
    yield from _test(
        result,
        "TEST 2: ANSWER CORRELATION (arithmetic only)",
        "answer",
        f"Answer R2|{result.answer_operation}",
    )
    yield from _similarity(result)
    yield from _test(result, "TEST 4: OPERATION TYPE DETECTION", "operation", "Operation type")
    yield from _test(
        result, "TEST 5: FIRST OPERAND", "operand", f"First operand R2|{result.answer_operation}"
    )
    yield "\n" + title("INTERPRETATION")
    yield from interpretation(result, verdicts)
    yield ""
    yield from verdict_lines(verdicts)


def _test(result: EmbeddingResult, heading: str, test: str, label: str) -> Iterator[str]:
    yield f"\n{title(heading)}"
    name, _, operation = label.partition("|")
    if test in result.left_out:
        yield f"Not applicable: {result.left_out[test]}"
        return
    if test not in result.tests:
        operation = result.answer_operation
        yield f"Only {operation} is included: there is no other operation to compare it with; give --operation all"
        return
    for layer, measured in result.tests[test].items():
        where = "from embeddings" if layer == EMBED else f"after L{layer}"
        score = accuracy(measured) if measured.unit == "held-out accuracy" else r2(measured)
        yield f"{name} {where}: {score}"
    first = result.tests[test][EMBED]
    yield f"  (n = {first.n} in {first.groups} groups{f', {operation}' if operation else ''})"


def _similarity(result: EmbeddingResult) -> Iterator[str]:
    difference, cosines = result.similarity, result.cosines
    yield "\n" + title("TEST 3: EMBEDDING SIMILARITY ANALYSIS")
    yield f"Within arithmetic similarity: {cosines['within_arith_sim']:.4f}"
    yield f"Within language similarity: {cosines['within_lang_sim']:.4f}"
    yield f"Between task similarity: {cosines['between_task_sim']:.4f}"
    yield f"Within minus between: {r2(difference)}"
    yield f"  (n = {difference.n} templates; raw cosines of mean embeddings, compared with untrained models)"


def interpretation(result: EmbeddingResult, verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    """What the numbers support, and where they do not, which control prevents it."""
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
        yield "  -> Consistent with RLVF backprop hypothesis; the base model's result must be lower"
        return
    reached = rivals(claim_of(result, "task", EMBED), measured)
    yield f"Task type is NOT shown to be in embeddings: {verdict}"
    yield f"  -> {share} detection{f'; as much, within the margin, from {reached}' if reached else ''}"


def _answer(result: EmbeddingResult, verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    absent, present = verdicts["answer_not_in_embedding"], verdicts["answer_r2_embedding"]
    measured = result.tests["answer"][EMBED]
    if absent.outcome == "supported":
        yield "Answer NOT in embeddings (requires computation)"
        yield f"  -> {absent.reason}"
    elif present.outcome == "supported":
        yield f"Answer is in embeddings (R2 {measured.score:.3f})"
        yield f"  -> {present.reason}"
    else:
        comparison = f"R2 {measured.score:.3f}, {compared(measured)}"
        yield f"Answer is NOT shown to be in embeddings, nor to be absent ({comparison})"
        yield f"  -> that it is there: {present}"
        yield f"  -> that it is not: {absent}"
    shown = [layer for layer in result.layers if verdicts[f"answer_r2_L{layer}"].outcome == "supported"]
    if shown:
        yield f"  -> Answer readable beyond all controls after {', '.join(f'L{layer}' for layer in shown)}"
    elif result.layers:
        yield "  -> Answer not shown to be readable beyond all controls after any of these layers"


def _plain(result: EmbeddingResult, test: str, verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    from lazarus_probe.introspection.studies.embedding import key_of

    measured, verdict = result.tests[test][EMBED], verdicts[key_of(test, EMBED)]
    where = "in" if verdict.outcome == "supported" else "NOT shown to be in"
    yield f"{NAMES[test]} is {where} embeddings ({measured.unit} {measured.score:.2f})"
    yield f"  -> {verdict.reason}"
