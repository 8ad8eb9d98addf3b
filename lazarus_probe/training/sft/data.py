"""From training examples to token ids; the examples themselves are read in `jsonl`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lazarus_probe.spelling import one_of
from lazarus_probe.subject.chat import has_chat_template, templated
from lazarus_probe.subject.chat_prompt import ChatPrompt
from lazarus_probe.training.batches import Sample
from lazarus_probe.training.sft.jsonl import Example, by_turn, read_jsonl
from lazarus_probe.training.sft.labels import operation_in

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

__all__ = ["Example", "by_turn", "encode", "encode_all", "label_of", "read_jsonl"]

# A text after which no tokenizer merges, so that the text after it is tokenised as in mid-text.
ANCHOR = "\n"


def encode(
    subject: Subject,
    example: Example,
    *,
    chat: bool = False,
    mask_prompt: bool = True,
    class_tokens: Mapping[str, int] | None = None,
) -> Sample:
    """The tokens of an example, ending with the model's end-of-text token.

    The prompt is tokenised alone, as at generation, so learning begins with the first token of the response. Where the
    tokenizer splits the joined text at the boundary of prompt and response, these are the tokens of that text; where it
    would merge across the boundary, the response is tokenised separately.

    Args:
        subject: a model with a tokenizer.
        example: what to encode.
        chat: put a prompt and its response into the chat template; conversations always are.
        mask_prompt: learn the response only, not the prompt.
        class_tokens: the class token of each label; the example then needs one of these labels, or a prompt that
            names exactly one arithmetic operation.

    Raises:
        ValueError: there is no chat template, no label, or one that has no class token.
    """
    prompt, response = _tokens(subject, example, chat)
    class_token = _class_token(example, class_tokens) if class_tokens else -1
    start = len(prompt) if mask_prompt else 1
    return Sample((*prompt, *response), start, class_token, read_at=len(prompt) - 1)


def encode_all(
    subject: Subject,
    examples: Sequence[Example],
    *,
    chat: bool = False,
    mask_prompt: bool = True,
    class_tokens: Mapping[str, int] | None = None,
    max_length: int | None = None,
    skip_bad: bool = False,
    on_bad: Callable[[str], None] = lambda _message: None,
) -> list[Sample]:
    """`encode` each example; one that exceeds `max_length` tokens or the model's context is bad.

    Raises:
        ValueError: an example is bad and `skip_bad` is not set, or all are.
    """
    limit = min((length for length in (max_length, subject.context_length) if length), default=None)
    samples = []
    for example in examples:
        try:
            sample = encode(subject, example, chat=chat, mask_prompt=mask_prompt, class_tokens=class_tokens)
            _check_length(sample, limit, example)
            samples.append(sample)
        except ValueError as error:
            if not skip_bad:
                raise
            on_bad(str(error))
    if not samples:
        raise ValueError("no examples are left to train on: all were skipped")
    return samples


def label_of(example: Example) -> str | None:
    """The label of an example; without one, the arithmetic operation that its prompt names."""
    return operation_in(example.prompt) if example.label is None else example.label


def _tokens(subject: Subject, example: Example, chat: bool) -> tuple[list[int], list[int]]:
    """Token ids of the prompt, and of the response with the end-of-text token."""
    if example.messages or (chat and example.prompt):
        before = example.messages or (("user", example.prompt),)
        return _chat_tokens(subject, before, example)
    if not example.prompt:
        first, *rest = _encoded(subject, example.response, example)
        return [first], _ended(subject, rest)
    prompt = _encoded(subject, example.prompt, example)
    return prompt, _ended(subject, _continuation(subject, prompt, example.prompt, example))


def _encoded(subject: Subject, text: str, example: Example) -> list[int]:
    try:
        return subject.encode(text)
    except ValueError as error:
        raise ValueError(_at(example, str(error))) from None


def _chat_tokens(
    subject: Subject, before: Sequence[tuple[str, str]], example: Example
) -> tuple[list[int], list[int]]:
    if not has_chat_template(subject):
        needs = "a conversation" if example.messages else "chat"
        raise ValueError(_at(example, f"{needs} needs a chat template, and {subject.name} has none"))
    messages = [{"role": role, "content": text} for role, text in before]
    answer = {"role": "assistant", "content": example.response}
    opened = _templated(subject, messages, example, open_answer=True)
    conversation = _templated(subject, [*messages, answer], example)
    # Some templates (with thinking) open an answer differently from how they write one: then they only open it.
    rest = conversation.removeprefix(opened) if conversation.startswith(opened) else example.response
    prompt = _encoded(subject, opened, example)
    response = _continuation(subject, prompt, opened, replace(example, response=rest))
    # Text that a template writes after the end of the answer, often a line break, is never generated.
    ends = [index for index, token in enumerate(response) if token in subject.eos_token_ids]
    return prompt, response[: ends[-1] + 1] if ends else _ended(subject, response)


def _templated(
    subject: Subject, messages: list[dict[str, str]], example: Example, *, open_answer: bool = False
) -> ChatPrompt:
    try:
        return templated(subject, messages, open_answer=open_answer)
    except ValueError as error:
        raise ValueError(_at(example, str(error))) from None


def _continuation(subject: Subject, prompt: list[int], text: str, example: Example) -> list[int]:
    """Tokens of an example's response, following those of its plain-text prompt."""
    response = example.response
    joined = _encoded(subject, text + response, example)
    if joined[: len(prompt)] == prompt and len(joined) > len(prompt):
        return joined[len(prompt) :]
    alone = subject.pieces(response)
    # Some tokenizers prepend a space to every text, so a response alone is tokenised as if it began a text.
    within = subject.pieces(ANCHOR + response)[len(subject.pieces(ANCHOR)) :]
    wanted = subject.decode(prompt) + response
    spelled = (ids for ids in (alone, within) if ids and subject.decode([*prompt, *ids]) == wanted)
    return next(spelled, alone)


def _ended(subject: Subject, ids: list[int]) -> list[int]:
    """The ids with an end-of-text token, the tokenizer's own one if there are several; never a second one."""
    ends = subject.eos_token_ids
    if ids and ids[-1] in ends:
        return ids
    own = getattr(subject.tokenizer, "eos_token_id", None)
    return [*ids, own if own in ends else min(ends)] if ends else ids


def _class_token(example: Example, class_tokens: Mapping[str, int]) -> int:
    label, labels = label_of(example), ", ".join(class_tokens)
    if not example.prompt:
        raise ValueError(_at(example, "a plain text has no prompt whose class could be learned"))
    if label is None:
        raise ValueError(
            _at(example, f'no "label", and the prompt names no single operation; give one of {labels}')
        )
    if label not in class_tokens:
        raise ValueError(
            _at(
                example,
                f"label {label!r} is none of intermediate_loss.targets; {one_of(label, class_tokens)}",
            )
        )
    return class_tokens[label]


def _check_length(sample: Sample, limit: int | None, example: Example) -> None:
    if limit is not None and len(sample.tokens) > limit:
        raise ValueError(_at(example, f"{len(sample.tokens)} tokens, more than the {limit} that fit"))


def _at(example: Example, message: str) -> str:
    return f"{example.location}: {message}" if example.location else message
