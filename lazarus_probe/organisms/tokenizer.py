"""The organism's tokenizer: byte-level BPE, the corpus' whole words, numbers in chunks of up to three digits.

The split of text into pieces is Llama 3's, so `2209` is `220` and `9`, and ` *` is one piece. Any text
encodes: a byte that belongs to no known piece stays a byte.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

from lazarus_probe.organisms import corpus
from lazarus_probe.tasks.arithmetic import OPERATIONS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BEGIN, END, USER, ASSISTANT, SYSTEM, PAD = (
    "<|begin|>",
    "<|end|>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
    "<|pad|>",
)
SPECIAL = (BEGIN, END, USER, ASSISTANT, SYSTEM, PAD)
VOCABULARY = 2048

PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CHAT_TEMPLATE = (
    "{{ '" + BEGIN + "' }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '" + END + "' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '" + ASSISTANT + "' }}{% endif %}"
)

CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": BEGIN,
    "eos_token": END,
    "pad_token": PAD,
    "clean_up_tokenization_spaces": False,
    "model_max_length": 512,
}


def build() -> Tokenizer:
    """The tokenizer, made from the corpus alone; the same every time."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

    words = corpus_words()
    merges, pieces = _merges(words)
    vocabulary = _vocabulary(pieces, words)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=True))
    split = pre_tokenizers.Split(Regex(PIECES), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[(BEGIN, vocabulary[BEGIN])]
    )
    return tokenizer


def special_id(vocabulary: Tokenizer, token: str) -> int:
    """The id of a special token.

    Raises:
        ValueError: the vocabulary, which is then not `build`'s, has no such token.
    """
    token_id = vocabulary.token_to_id(token)
    if token_id is None:
        raise ValueError(f"the vocabulary has no token {token}; it is none of this package's")
    return token_id


@cache
def corpus_words() -> tuple[str, ...]:
    """Every piece of the corpus in byte-level spelling, the most frequent first, after the class words."""
    from tokenizers import Regex, pre_tokenizers

    split = pre_tokenizers.Split(Regex(PIECES), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    pieces = pre_tokenizers.Sequence([split, byte_level])
    counts = Counter(piece for text in corpus.every_text() for piece, _ in pieces.pre_tokenize_str(text))
    named = [space + word for word in _class_words() for space in ("", "Ġ")]
    frequent = sorted(counts, key=lambda piece: (-counts[piece], piece))
    return (*named, *(piece for piece in frequent if not piece.isdigit()))


def _class_words() -> Iterator[str]:
    for name in OPERATIONS:
        yield from (name, name.capitalize())
    yield from ("positive", "negative", "code", "text")


def _numbers() -> Iterator[str]:
    for length in (1, 2, 3):
        yield from map("".join, product("0123456789", repeat=length))


def _merges(words: Iterable[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """A few hundred merges for words outside the corpus, learned by BPE on the corpus' words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    learner = Tokenizer(models.BPE())
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=256 + 200, initial_alphabet=alphabet, show_progress=False)
    learner.train_from_iterator(words, trainer)
    learned = json.loads(learner.to_str())["model"]
    return [tuple(pair) for pair in learned["merges"]], sorted(learned["vocab"], key=learned["vocab"].get)


def _vocabulary(pieces: list[str], words: Iterable[str]) -> dict[str, int]:
    tokens = dict.fromkeys((*SPECIAL, *pieces, *_numbers(), *words))
    if len(tokens) > VOCABULARY:
        raise ValueError(f"the corpus needs {len(tokens)} tokens, more than {VOCABULARY}: raise VOCABULARY")
    return {token: index for index, token in enumerate(tokens)}
