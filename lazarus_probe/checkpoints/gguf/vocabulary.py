"""The vocabulary of a GGUF file: its tokens with their kinds, scores and merges, checked."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.checkpoints.gguf.reader import GgufFile
from lazarus_probe.checkpoints.gguf.settings import Settings

PREFIX = "tokenizer.ggml."
MOST_TOKENS = 2_000_000
MOST_TOKEN = 1_000  # characters


class TokenKind(IntEnum):
    """What a token is, by llama.cpp's numbers."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a file.

    Attributes:
        file: the file.
        tokens: by id.
        kinds: of the tokens.
        settings: of the tokenizer.
    """

    file: GgufFile
    tokens: list[str]
    kinds: list[TokenKind]
    settings: Settings

    @property
    def ids(self) -> dict[str, int]:
        """Each token's id."""
        return {token: number for number, token in enumerate(self.tokens)}

    def of(self, *kinds: TokenKind) -> list[str]:
        """The tokens of some kinds."""
        return [token for token, kind in zip(self.tokens, self.kinds, strict=True) if kind in kinds]

    def special(self, name: str) -> str | None:
        """A special token by the key of its id, as in `bos`; None where the file names none.

        Raises:
            LoadError: the id is none.
        """
        key = f"{name}_token_id"
        if not self.settings.has(key):
            return None
        number = self.settings.integer(key, least=0)
        if number >= len(self.tokens):
            raise self.settings.wrong(key, f"an id below {len(self.tokens)}, the number of tokens,")
        return self.tokens[number]

    def texts(self, key: str) -> list[str]:
        """An array of texts.

        Raises:
            LoadError: it is missing, or is none.
        """
        return texts(self.settings, key)

    def scores(self) -> list[float]:
        """The score of each token.

        Raises:
            LoadError: there are none, or not as many.
        """
        values = self.file.metadata.get(f"{PREFIX}scores")
        if not isinstance(values, np.ndarray) or len(values) != len(self.tokens) or values.dtype.kind != "f":
            raise LoadError(f"{self.file.path}: {PREFIX}scores is no array of {len(self.tokens)} numbers")
        if np.isnan(values).any():
            raise LoadError(f"{self.file.path}: {PREFIX}scores holds values that are no numbers")
        return [float(value) for value in values]


def vocabulary_of(file: GgufFile) -> Vocabulary:
    """The vocabulary of a file.

    Raises:
        LoadError: it is missing or damaged; the message names the key.
    """
    settings = Settings(file, PREFIX)
    tokens = texts(settings, "tokens")
    if not 0 < len(tokens) <= MOST_TOKENS:
        raise LoadError(f"{file.path}: {PREFIX}tokens holds {len(tokens)}; 1 to {MOST_TOKENS:,} are read")
    # llama.cpp gives empty tokens this name, as no text is them.
    tokens = [token or f"[EMPTY_{number}]" for number, token in enumerate(tokens)]
    if len(set(tokens)) != len(tokens):
        twice = next(token for token, count in Counter(tokens).items() if count > 1)
        raise LoadError(f"{file.path}: {PREFIX}tokens holds {ascii(twice)[:60]} twice")
    if max(map(len, tokens)) > MOST_TOKEN:
        raise LoadError(f"{file.path}: {PREFIX}tokens holds one of more than {MOST_TOKEN:,} characters")
    return Vocabulary(file, tokens, _kinds(file, len(tokens)), settings)


def _kinds(file: GgufFile, count: int) -> list[TokenKind]:
    values = file.metadata.get(f"{PREFIX}token_type")
    if values is None:
        return [TokenKind.NORMAL] * count
    if not isinstance(values, np.ndarray) or len(values) != count or values.dtype.kind not in "iu":
        raise LoadError(f"{file.path}: {PREFIX}token_type is no array of {count} whole numbers")
    known = {int(kind): kind for kind in TokenKind}
    return [known.get(int(value), TokenKind.NORMAL) for value in values]


def texts(settings: Settings, key: str) -> list[str]:
    """An array of texts.

    Raises:
        LoadError: it is missing, or is none.
    """
    values: Any = settings.file.metadata.get(f"{settings.prefix}{key}")
    if not isinstance(values, list):
        raise settings.wrong(key, "an array of texts")
    return values
