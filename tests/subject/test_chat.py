"""Prompts in a chat template, against the template's own text."""

from __future__ import annotations

import pytest

from lazarus_probe.organisms import tokenizer as organism
from lazarus_probe.subject import Subject
from lazarus_probe.subject.chat import chat_prompts, has_chat_template, in_chat


def test_a_chat_prompt_is_the_templates():
    """The organism's template puts the text between its markers, ends where the assistant speaks, and has one start."""
    subject = Subject.load("organism-early")
    text = in_chat(subject, "7 * 8 = ")
    assert text == f"{organism.BEGIN}{organism.USER}7 * 8 = {organism.END}{organism.ASSISTANT}"
    ids = subject.encode(text)
    assert ids.count(subject.tokenizer.bos_token_id) == 1
    assert subject.decode(ids) == text


def test_a_model_without_a_template_is_named(grouped):
    """A tokenizer without a chat template has none, and says so when asked."""
    assert not has_chat_template(grouped)
    with pytest.raises(ValueError, match="grouped has no chat template"):
        in_chat(grouped, "1 + 1 =")


def test_nothing_cannot_be_said():
    """An empty message is refused."""
    with pytest.raises(ValueError, match="the message is empty"):
        in_chat(Subject.load("organism-early"), "")


def test_prompts_are_put_in_chat_where_that_is_asked(grouped):
    """Each in the template, or all as they are, which a model without a template takes too."""
    subject = Subject.load("organism-early")
    assert chat_prompts(subject, ["a", "b"], True) == [in_chat(subject, "a"), in_chat(subject, "b")]
    assert chat_prompts(grouped, ("a", ""), False) == ["a", ""]
