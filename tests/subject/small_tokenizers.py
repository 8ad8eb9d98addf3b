"""Small tokenizers of the kinds in use, which split or join numbers, words and the spaces before them differently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SPACE, METASPACE = "Ġ", "▁"
WORDS = ("Paris", "Multiply", "multiply")


def wrapped(tokenizer: Any, **settings: Any) -> Any:
    """A tokenizer of the tokenizers library as mlx-lm has it."""
    from mlx_lm.tokenizer_utils import TokenizerWrapper
    from transformers import PreTrainedTokenizerFast

    return TokenizerWrapper(PreTrainedTokenizerFast(tokenizer_object=tokenizer, **settings))


def merges_of(pieces: Sequence[str]) -> list[tuple[str, str]]:
    """Merges that make each piece from its characters, from the left."""
    pairs = [(piece[:end], piece[end]) for piece in pieces for end in range(1, len(piece))]
    return list(dict.fromkeys(pairs))


def byte_level(pieces: Sequence[str], *, bos: bool = True) -> Any:
    """Byte-level BPE with these pieces beside the bytes, without any split before."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    letters = ["<s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges = merges_of(pieces)
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys([*letters, *(a + b for a, b in merges)]))}
    bpe = Tokenizer(models.BPE(vocabulary, merges))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens(["<s>"])
    if bos:
        bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return wrapped(bpe, bos_token="<s>", eos_token="<s>")


def metaspace(pieces: Sequence[str], *, prefix: bool = True) -> Any:
    """SentencePiece's kind: a space before each text where `prefix`, and bytes for what is no character of its own."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors

    letters = [
        "<s>",
        "<unk>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        METASPACE,
        *map(chr, range(33, 127)),
    ]
    merges = merges_of(pieces)
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys([*letters, *(a + b for a, b in merges)]))}
    bpe = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    replaced = normalizers.Replace(" ", METASPACE)
    bpe.normalizer = normalizers.Sequence([normalizers.Prepend(METASPACE), replaced]) if prefix else replaced
    bpe.decoder = decoders.Sequence(
        [
            decoders.Replace(METASPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            *([decoders.Strip(" ", 1, 0)] if prefix else []),
        ]
    )
    bpe.add_special_tokens(["<s>"])
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return wrapped(bpe, bos_token="<s>", eos_token="<s>")


# Digits one by one; whole numbers; numbers with the space before them; and signs joined with numbers.
TOKENIZERS = {
    "digits": lambda: byte_level([f"{SPACE}Paris", *WORDS]),
    "no start": lambda: byte_level(["12", "34", f"{SPACE}Paris"], bos=False),
    "numbers": lambda: byte_level(["12", "34", "17", "123", f"{SPACE}Paris", *WORDS]),
    "spaced": lambda: byte_level([f"{SPACE}12", f"{SPACE}34", "17", f"{SPACE}=", f"{SPACE}Paris"]),
    "sentencepiece": lambda: metaspace([f"{METASPACE}12", "34", f"{METASPACE}Paris", *WORDS]),
    "sentencepiece without prefix": lambda: metaspace(["12", f"{METASPACE}Paris"], prefix=False),
}


class Slow:
    """A tokenizer that does not say which characters its tokens cover."""

    def __init__(self, own: Any) -> None:
        self._own = own

    def __getattr__(self, name: str) -> Any:
        if name in ("_tokenizer", "is_fast"):
            raise AttributeError(name)
        return getattr(self._own, name)
