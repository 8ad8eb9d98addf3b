"""The forms in which a model is asked: the plain text, worked examples before it, or its chat template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lazarus_probe.subject.chat import has_chat_template, in_chat

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

# Worked examples: prompts with their answers as these continue them.
Shots = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Form:
    """A way to ask.

    Attributes:
        name: as in requirements and reports.
        chat: whether the prompt is the user's message in the model's own chat template.
        shots: whether worked examples come before it, one a line.
        begun: whether, in a chat, the reply begins with the prompt, so that the answer comes at once.
        stops: texts that end a completion: after worked examples, the line break before a further one.
        slack: tokens allowed beyond those of the answer itself, for words before it and the end after it.
    """

    name: str
    chat: bool = False
    shots: bool = False
    begun: bool = False
    stops: tuple[str, ...] = ()
    slack: int = 3

    def written(self, subject: Subject, prompt: str, shots: Shots = ()) -> str:
        """The prompt in this form, up to where the model goes on; a `ChatPrompt` in a chat.

        Raises:
            ValueError: as `in_chat`; a form with worked examples without any.
        """
        if self.shots:
            if not shots:
                raise ValueError(f"{self.name} of {prompt!r} needs worked examples")
            return "".join(f"{question}{answer}\n" for question, answer in shots) + prompt
        if self.chat:
            message = in_chat(subject, prompt)
            return message + prompt if self.begun else message
        return prompt

    def limit(self, subject: Subject, answers: Sequence[str]) -> int:
        """The tokens that a completion may have, so that none of these answers is cut off."""
        return self.slack + longest(subject, answers)

    def response(self, answer: str) -> str:
        """An answer as it continues the written prompt, from how it continues the plain one."""
        return answer.lstrip() if self.chat and not self.begun else answer


RAW = Form("plain text")
FEW_SHOT = Form("worked examples", shots=True, stops=("\n",))
REPLY = Form("chat, reply begun", chat=True, begun=True)
# Where words may come before the answer.
LONG_RAW = Form("plain text", slack=12)
CHAT = Form("chat", chat=True, slack=24)


def forms_of(subject: Subject, *, at_once: bool, shots: bool) -> tuple[Form, ...]:
    """The forms that a model can be asked in, the plainest first.

    Args:
        subject: the model; only one with a chat template can be asked in a chat.
        at_once: only those in which the answer is to come first, for what is read where it begins.
        shots: whether there are worked examples.
    """
    plain, chat = (RAW, REPLY) if at_once else (LONG_RAW, CHAT)
    return (plain, *((FEW_SHOT,) if shots else ()), *((chat,) if has_chat_template(subject) else ()))


def longest(subject: Subject, answers: Sequence[str]) -> int:
    """The number of tokens of the longest of some answers."""
    return max((len(subject.pieces(answer)) for answer in set(answers)), default=1)
