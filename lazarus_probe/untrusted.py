"""Text that a model or a prompt may hold, made safe to show: nothing in it may hide, reorder or become markup."""

from __future__ import annotations

import re

# Controls but tab and line break, what turns the direction of text or shows as nothing, halves of pairs, no characters.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)
# What a CI host would take as a command: `::error::` begins a line on GitHub; `##[`, `##vso[`, `##teamcity[` anywhere.
_COMMAND = re.compile(r"(^\s*(?=::)|(?=##(?:vso|teamcity)?\[))([:#])", re.MULTILINE)
PLAIN = re.compile(r"[\w.:+-]+", re.ASCII)


def visible(text: str) -> str:
    r"""The text with every character that would hide or reorder it spelled out, as in Python: `\u202e`."""
    return _UNSEEN.sub(lambda match: _spelled(ord(match[0])), text)


def on_terminal(text: str) -> str:
    """Lines that a terminal, or the log of a CI host, takes as text: nothing in them is a sequence or a command."""
    return _COMMAND.sub(lambda match: f"{match[1]}\\x{ord(match[2]):02x}", visible(text))


def in_line(text: str) -> str:
    """As `on_terminal`, with the line breaks and tabs in it spelled out: a table's cell, or a sentence."""
    return on_terminal(text.replace("\n", "\\n").replace("\t", "\\t"))


def _spelled(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def markdown(text: str) -> str:
    """Keep the `|`, `<`, `*`, link or line break of a prompt from becoming markup."""
    escaped = visible(text).replace("&", "&amp;").replace("<", "&lt;")
    escaped = re.sub(r"([\\`*|~]|(?<!\w)_|_(?!\w)|\](?=\())", r"\\\1", escaped)
    return " ".join(escaped.split())


def code(text: str) -> str:
    """A name, version or hash as Markdown's code; what is none of these, as text that is no markup."""
    return f"`{text}`" if PLAIN.fullmatch(text) else markdown(text)


def clipped(text: str, most: int) -> str:
    """At most so many characters, and how many there were."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"
