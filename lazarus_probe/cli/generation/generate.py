"""`lazarus introspect generate`: complete prompts, and find where the answer begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lazarus_probe.cli.options import Adapter, AsJson, ChosenSeed, Model, Output, Prompts, Raw
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output, checked_text, parse_prompts, seed_of
from lazarus_probe.cli.watching import watched
from lazarus_probe.tables import Table

if TYPE_CHECKING:
    from lazarus_probe.introspection.generation.answer_onset import Completion

WAYS = {"raw": "plain text", "chat": "chat template"}


def generate(
    model: Model,
    prompts: Prompts,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", "-n", min=1, help="Maximum tokens to generate.")
    ] = 10,
    temperature: Annotated[
        float,
        typer.Option("--temperature", min=0, help="0 is greedy; above 0, sample."),
    ] = 0.0,
    compare_format: Annotated[
        bool,
        typer.Option(
            "--compare-format",
            help="Compare the prompt without and with a trailing space, as plain text and in the chat template.",
        ),
    ] = False,
    show_tokens: Annotated[
        bool, typer.Option("--show-tokens", help="List the generated tokens with ids and probabilities.")
    ] = False,
    expected: Annotated[
        str | None,
        typer.Option(
            help="The correct answer; or one per prompt, separated by |.",
            show_default="computed for `a op b`",
        ),
    ] = None,
    raw: Raw = False,
    adapter: Adapter = None,
    seed: ChosenSeed = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Generate from prompts, and report the token at which the answer begins.

    The model's chat template is used if it has one, unless --raw is given. Numbers are parsed, so that `2,209` is
    2209 and `1000` is not 100. The onset counts generated tokens from 0.
    """
    texts = parse_prompts(prompts)
    answers = expected_answers(expected, texts)
    check_output(output)
    drawn = seed_of(seed, temperature > 0, "at temperature 0")
    if compare_format and any(not text.rstrip(" ") for text in texts):
        raise ValueError("--compare-format needs prompts that are more than spaces")
    from lazarus_probe.introspection.generation.answer_onset import complete, formats_of
    from lazarus_probe.subject.chat import has_chat_template
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    own = "chat" if has_chat_template(subject) and not raw else "raw"
    requests = [(text, own, answer) for text, answer in zip(texts, answers, strict=True)]
    formats = [formats_of(text, own == "chat") if compare_format else [] for text in texts]
    requests += [(*form, answer) for forms, answer in zip(formats, answers, strict=True) for form in forms]
    with watched("generate") as check:
        completions = complete(
            subject,
            *zip(*requests, strict=True),
            max_tokens=max_tokens,
            temperature=temperature,
            seed=drawn,
            check=check,
        )
    others = iter(completions[len(texts) :])
    compared = [[next(others) for _ in forms] for forms in formats]
    data = _data(completions[: len(texts)], compared) | {
        "max_tokens": max_tokens,
        "temperature": temperature,
        "about": about(subject, drawn if temperature > 0 else None),
    }
    text = _text(completions[: len(texts)], compared, show_tokens)
    deliver(data, text, as_json=as_json, output=output)


def expected_answers(expected: str | None, prompts: Sequence[str]) -> list[str | None]:
    """The right answer to each prompt: the one from --expected, one per prompt, or computed.

    Raises:
        ValueError: another number of answers than of prompts, or an empty one.
    """
    from lazarus_probe.introspection.generation.answer_onset import expected_of

    if expected is None:
        return [expected_of(prompt) for prompt in prompts]
    answers = checked_text(expected, "--expected").split("|")
    if not all(answer.strip() for answer in answers):
        raise ValueError(f"--expected {expected!r}: an answer is empty; give a number or a word")
    if len(answers) not in (1, len(prompts)):
        raise ValueError(
            f"--expected has {len(answers)} answers for {len(prompts)} prompts; give one, or one per prompt"
        )
    return list(answers * len(prompts) if len(answers) == 1 else answers)


def _data(completions: Sequence[Completion], compared: Sequence[Sequence[Completion]]) -> dict[str, Any]:
    results = [
        completion.as_data() | {"comparison_results": [other.as_data() for other in others]}
        for completion, others in zip(completions, compared, strict=True)
    ]
    return results[0] if len(results) == 1 else {"results": results}


def _text(
    completions: Sequence[Completion], compared: Sequence[Sequence[Completion]], show_tokens: bool
) -> str:
    parts = [title("Multi-token generation")]
    for completion, others in zip(completions, compared, strict=True):
        parts += [_lines(completion, show_tokens), *([_comparison(others, show_tokens)] if others else [])]
    scored = [completion for completion in completions if completion.answer_found is not None]
    if len(completions) > 1 and scored:
        first = sum(bool(completion.is_answer_first) for completion in scored)
        right = sum(bool(completion.answer_found) for completion in scored)
        parts.append(f"Answer found: {right}/{len(scored)}   Answer first: {first}/{len(scored)}")
    return "\n\n".join(parts)


def _lines(completion: Completion, show_tokens: bool) -> str:
    lines = [
        f"Prompt: {completion.prompt!r} ({WAYS[completion.format]}, {len(completion.input_tokens)} tokens)",
        f"Output: {completion.generated_text!r}",
        f"Answer: {_answer(completion)}",
    ]
    return "\n".join([*lines, *([_tokens(completion)] if show_tokens else [])])


def _answer(completion: Completion) -> str:
    if completion.expected_answer is None:
        return "not known; give --expected"
    if not completion.answer_found:
        return f"expected {completion.expected_answer}, not found"
    cut = "; cut off by --max-tokens, it may go on" if completion.answer_cut else ""
    first = " (answer first)" if completion.is_answer_first else ""
    return f"expected {completion.expected_answer}, begins in token {completion.answer_onset}{first}{cut}"


def _tokens(completion: Completion) -> str:
    end = "the model ended it" if completion.ended else "cut off by --max-tokens"
    return f"Tokens ({len(completion.tokens)}, {end}):\n{completion.table.text()}"


def _comparison(others: Sequence[Completion], show_tokens: bool) -> str:
    """One row per format; those of the same tokens are marked."""
    rows = []
    by_tokens: dict[tuple[str, ...], Completion] = {}
    for completion in others:
        first = by_tokens.setdefault(completion.input_tokens, completion)
        same = "" if first is completion else "; the same tokens as without the space"
        space = "yes" if completion.prompt.endswith(" ") else "no"
        rows.append(
            (WAYS[completion.format], space, repr(completion.generated_text), _answer(completion) + same)
        )
    table = Table(("Format", "Space", "Output", "Answer"), rows)
    details = (
        [f"{WAYS[completion.format]}, {completion.prompt!r}: {_tokens(completion)}" for completion in others]
        if show_tokens
        else []
    )
    return "\n".join(["Format comparison:", *table.fitted(), *details])
