"""A prompt as a chat model is asked it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lazarus_probe.subject.chat_prompt import ChatPrompt
from lazarus_probe.subject.subject import Subject

# What a template raises beside jinja's own errors: it computes with what it is given.
TEMPLATE_ERRORS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)


def has_chat_template(subject: Subject) -> bool:
    """Whether a model's tokenizer brings a chat template."""
    tokenizer = subject.tokenizer
    if tokenizer is None:
        return False
    # mlx-lm writes some templates in Python; their tokenizers then have no text of one.
    own = tokenizer.chat_template
    return bool(own) if own is not None else bool(getattr(tokenizer, "has_chat_template", False))


def in_chat(subject: Subject, text: str) -> ChatPrompt:
    """A text as the user's only message, written by the model's own chat template up to where its answer begins.

    Raises:
        ValueError: the text is empty, the tokenizer has no chat template, or that refuses the text.
    """
    if not text:
        raise ValueError("the message is empty; give at least one character")
    return templated(subject, [{"role": "user", "content": text}], open_answer=True)


def chat_prompts(subject: Subject, prompts: Sequence[str], chat: bool) -> list[str]:
    """The prompts, each `in_chat` if requested."""
    return [in_chat(subject, prompt) for prompt in prompts] if chat else list(prompts)


def templated(
    subject: Subject, messages: Sequence[Mapping[str, str]], *, open_answer: bool = False
) -> ChatPrompt:
    """A conversation as the model's own chat template writes it.

    Args:
        subject: a model with a tokenizer.
        messages: each with its role and content.
        open_answer: end where the model's answer begins.

    Raises:
        ValueError: the tokenizer has no chat template, or that refuses the conversation.
    """
    if not has_chat_template(subject):
        raise ValueError(f"{subject.name} has no chat template; ask it the plain text")
    from jinja2 import TemplateError

    try:
        text = subject.tokenizer.apply_chat_template(
            [dict(message) for message in messages], tokenize=False, add_generation_prompt=open_answer
        )
    except (TemplateError, *TEMPLATE_ERRORS) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"the chat template of {subject.name} refuses it: {reason}") from None
    return ChatPrompt(text)
