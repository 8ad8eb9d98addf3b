"""A prompt as a chat model is asked it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


def has_chat_template(subject: Subject) -> bool:
    """Whether a model's tokenizer brings a chat template."""
    return subject.tokenizer is not None and bool(subject.tokenizer.chat_template)


def in_chat(subject: Subject, text: str) -> str:
    """A text as the user's only message, written by the model's own chat template up to where its answer begins.

    Raises:
        ValueError: the text is empty, or the tokenizer has no chat template.
    """
    if not text:
        raise ValueError("the message is empty; give at least one character")
    if not has_chat_template(subject):
        raise ValueError(f"{subject.name} has no chat template; ask it the plain text")
    messages = [{"role": "user", "content": text}]
    return str(subject.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
