"""`lazarus introspect arithmetic`: which questions a model answers, and where the answer emerges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import Adapter, AsJson, Model, Output, Raw, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output
from lazarus_probe.tables import Column, Table

if TYPE_CHECKING:
    from lazarus_probe.introspection.studies.arithmetic import ArithmeticResult, Share

QUICK = 3
WRONG_SHOWN = 10
HEADINGS = {
    "by_operation": "By operation",
    "by_difficulty": "By difficulty",
    "by_magnitude": "By size of the answer",
}


def arithmetic(
    model: Model,
    quick: Annotated[bool, typer.Option("--quick", "-q", help="Use only every third question.")] = False,
    easy_only: Annotated[
        bool, typer.Option("--easy-only", help="Use only questions with both numbers below ten.")
    ] = False,
    hard_only: Annotated[
        bool, typer.Option("--hard-only", help="Use only questions with both numbers ten or more.")
    ] = False,
    raw: Raw = False,
    adapter: Adapter = None,
    output: Output = None,
    as_json: AsJson = False,
    seed: Seed = 0,
) -> None:
    """Ask 156 arithmetic questions, and find the layer at which each answer emerges.

    Four operations at three difficulties, 13 questions each, on operands from 2 to 50, asked in the model's chat
    template if it has one. The answer is the first number that is no operand of the question repeated; one that the
    limit of tokens cut off is none. After every layer the logit lens reads all tokens of the right answer, each given
    the ones before it, from where the model's own answer begins.
    """
    if easy_only and hard_only:
        raise ValueError("--easy-only and --hard-only leave nothing to ask; give one of them")
    check_output(output)
    from lazarus_probe.checkpoints.names import num_layers_of
    from lazarus_probe.introspection.studies.arithmetic import arithmetic as analyse
    from lazarus_probe.introspection.studies.arithmetic_questions import DIFFICULTIES, questions
    from lazarus_probe.subject.subject import Subject

    num_layers_of(model)
    wanted = ["easy"] if easy_only else ["hard"] if hard_only else list(DIFFICULTIES)
    chosen = questions(difficulties=wanted, seed=seed)[:: QUICK if quick else 1]
    subject = Subject.load(model, adapter)
    result = analyse(subject, chosen, raw=raw, seed=seed)
    deliver(
        result.as_data() | {"about": about(subject, seed)},
        "\n".join(text(result)),
        as_json=as_json,
        output=output,
    )


def text(result: ArithmeticResult) -> Iterator[str]:
    """The result as it is read."""
    yield title("SYSTEMATIC ARITHMETIC")
    yield f"Model: {result.model_id} ({result.num_layers} layers)"
    yield f"Tests: {len(result.results)}, asked {'in a chat' if result.chat else 'as plain text'}"
    yield from _overall(result)
    for name, shares in result.stats.items():
        yield f"\n{HEADINGS[name]}:"
        yield _table(shares).text()
    yield from _wrong(result)


def _overall(result: ArithmeticResult) -> Iterator[str]:
    whole = result.overall
    yield f"Accuracy: {whole.accuracy:.1%} {_interval(whole)}"
    yield (
        f"Right answer on top of the lens after some layer: {result.emerged:.1%}; "
        f"another question's: {result.other_emerged:.1%}"
    )
    if whole.avg_emergence is None:
        yield "Emergence: no right answer emerges at any layer"
    else:
        stable = "-" if whole.avg_stable is None else f"L{whole.avg_stable:.1f}"
        yield f"Emergence of right answers: L{whole.avg_emergence:.1f} on average, there to stay from {stable}"


def _table(shares: Mapping[str, Share]) -> Table:
    columns = (
        Column("", width=9),
        Column("accuracy", ".1%"),
        Column("interval", width=15),
        Column("n", width=4),
        "emerges",
        "stays from",
    )
    rows = [
        (
            name,
            share.accuracy,
            _interval(share),
            share.n,
            _layer(share.avg_emergence),
            _layer(share.avg_stable),
        )
        for name, share in shares.items()
    ]
    return Table(columns, rows)


def _wrong(result: ArithmeticResult) -> Iterator[str]:
    wrong = [test for test in result.results if not test.correct]
    if not wrong:
        return
    shown = wrong[:WRONG_SHOWN]
    yield f"\nNot answered ({len(wrong)}{f', the first {len(shown)}' if len(shown) < len(wrong) else ''}):"
    for test in shown:
        emerges = "never" if test.emergence_layer is None else f"L{test.emergence_layer}"
        yield (
            f"  {test.question.prompt}{test.output.strip()!r}, expected {test.question.fact.answer}; "
            f"the right answer emerges: {emerges}, "
            f"peak {test.peak_probability:.3f} at L{test.peak_layer}"
        )


def _interval(share: Share) -> str:
    return f"[{share.low:.1%}, {share.high:.1%}]"


def _layer(value: float | None) -> str:
    return "-" if value is None else f"L{value:.1f}"
