"""A text that a chat template wrote."""

from __future__ import annotations


class ChatPrompt(str):
    """A text as a chat template wrote it, in which every special token that the model is to read stands already.

    `Subject.encode` adds none to it, as `apply_chat_template(tokenize=True)` does not: where a template begins with a
    line break, or has no beginning-of-sequence token, that cannot be told from the text. What is appended to one is
    read in the same way; text made from one by any other means, as by an f-string, is plain text again.
    """

    __slots__ = ()

    def __add__(self, text: str) -> ChatPrompt:
        return ChatPrompt(str.__add__(self, text))
