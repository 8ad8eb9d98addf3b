"""A tokenizer that was written into a GGUF file gives the ids of the one that it came from."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.checkpoints.gguf.pre_tokenizers import PRE_TOKENIZERS
from lazarus_probe.checkpoints.gguf.reader import read_gguf
from lazarus_probe.checkpoints.gguf.tokenizer import tokenizer_of
from tests.checkpoints.gguf.writing import byte_level, write_file

CORPUS = [
    "The quick brown fox doesn't jump over 12345 lazy dogs; it's 3.14 o'clock.",
    "def f(x):\n    return x * 2  # twice\n\n\tprint(f(7))\r\n",
    "Ünïcödé, naïve café, 中文字符 テスト, привет мир, עברית, 😀👩‍👩‍👧 — “quotes” … 1/2 ½ ²",
    "AAA BBB aaa bbb ABCdef GHIjkl don't DON'T I'LL we've 10 100 1000 10000",
] * 3  # fmt: skip
NASTY = [
    "", " ", "  ", "a", " a", "  two", "trailing  ", "a\n\nb", "\t\tx", "\r\n", "a \n b", "12345 67", "1a2b3c",
    "don't DON'T I'll we'VE", "café", "cafe\u0301", "中文 テスト", "😀👩‍👩‍👧", "\u200bzero", "\x00\x01", "½²", "“…”—",
    "<|end|>", "x<|end|>y", "x <|end|> y<tool>", "a<tool>b", "<|end", "!!!???", "__init__", "a" * 50, " " * 17 + "a",
    "$1,000.00", "http://a.b/c?d=e&f", "ABCdef", "\ufeffbom", "e\u0301\u0302", "\U0001f1e9\U0001f1ea",
]  # fmt: skip
# The pre-tokenizers of tokenizer.json files of Hugging Face, by llama.cpp's names for them.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
OWN = {
    "gpt-2": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "starcoder": lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "llama-bpe": lambda: pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), BYTES]),
    "qwen2": lambda: pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2), "isolated"), BYTES]),
    "falcon": lambda: pre_tokenizers.Sequence(
        [
            pre_tokenizers.Punctuation("contiguous"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
            pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated"),
        ]
    ),
}


@cache
def trained(name: str) -> Tokenizer:
    """A small byte-level tokenizer that splits texts as one of Hugging Face's does."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=name == "llama-bpe"))
    if name == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = OWN[name]()
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet))
    tokenizer.add_special_tokens([AddedToken("<|begin|>"), AddedToken("<|end|>")])
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False)])
    return tokenizer


def metadata_of(tokenizer: Tokenizer, pre: str) -> dict[str, Any]:
    """A byte-level tokenizer as metadata."""
    import json

    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    kinds = {"<|begin|>": 3, "<|end|>": 3, "<tool>": 4}
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": [token for token, _ in vocabulary],
        "tokenizer.ggml.token_type": [kinds.get(token, 1) for token, _ in vocabulary],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in merges],
        "tokenizer.ggml.bos_token_id": tokenizer.token_to_id("<|begin|>"),
        "tokenizer.ggml.eos_token_id": tokenizer.token_to_id("<|end|>"),
    }


def read(tmp_path: Path, metadata: dict[str, Any], architecture: str = "llama") -> Any:
    """The tokenizer of a file with this metadata and no tensors."""
    return tokenizer_of(read_gguf(write_file(tmp_path / "a.gguf", architecture, metadata, {})))


@pytest.mark.parametrize("name", OWN)
def test_byte_level_ids(tmp_path, name):
    """Every text has the ids of the tokenizer itself, and decodes to the same text."""
    own = trained(name)
    tokenizer = read(tmp_path, metadata_of(own, name) | {"tokenizer.ggml.add_bos_token": False})
    for text in [*NASTY, *CORPUS]:
        if name == "falcon" and any(sign in text for sign in "$+<=>^|~`"):
            continue  # llama.cpp counts these as punctuation, which tokenizers does not
        ids = own.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text) == ids, text
        assert tokenizer.decode(ids) == own.decode(ids, skip_special_tokens=False), text


@cache
def spm(prefix: bool) -> bytes:
    """A small SentencePiece model as Llama's (with a space before each text) or Gemma's."""
    import io

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=model, vocab_size=480, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=prefix,
        split_digits=True, allow_whitespace_only_pieces=True, minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    return model.getvalue()


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece_ids(tmp_path, prefix):
    """Every text has the ids that SentencePiece gives it; what it lacks is bytes."""
    own = sentencepiece.SentencePieceProcessor(model_proto=spm(prefix))
    size = own.get_piece_size()
    kinds = [
        2 if own.is_unknown(i) else 3 if own.is_control(i) else 6 if own.is_byte(i) else 1
        for i in range(size)
    ]
    metadata = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [own.id_to_piece(i) for i in range(size)],
        "tokenizer.ggml.scores": [float(np.float32(own.get_score(i))) for i in range(size)],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_space_prefix": prefix,
    }
    tokenizer = read(tmp_path, metadata, "llama" if prefix else "gemma2")
    for text in [*NASTY, *CORPUS]:
        ids = own.encode(text)
        assert tokenizer.encode(text, add_special_tokens=False) == ids, text
        assert tokenizer.encode(text) == [1, *ids]
        assert tokenizer.decode(ids) == own.decode(ids), text


def test_what_goes_around_a_text(tmp_path):
    """Beginning and end are put there where the file says so, else by what its kind of tokenizer does."""
    plain = byte_level()
    assert read(tmp_path, plain).encode("A") == [35]
    assert read(tmp_path, plain | {"tokenizer.ggml.add_bos_token": True}).encode("A") == [1, 35]
    both = {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": True}
    assert read(tmp_path, plain | both).encode("A") == [1, 35, 2]
    assert read(tmp_path, plain | {"tokenizer.ggml.pre": "llama-bpe"}).encode("A") == [1, 35]


def test_ends_of_a_text(tmp_path):
    """The ids in the metadata, and the token that the chat template ends turns with."""
    template = {"tokenizer.chat_template": "{{ messages[0].content }}<|im_end|>"}
    tokens = byte_level(["<unk>", "<s>", "</s>", "<|im_end|>", "A", "B", "AB"])
    tokens["tokenizer.ggml.token_type"] = [3, 3, 3, 3, 1, 1, 1]
    assert read(tmp_path, tokens).eos_token_ids == {2}
    tokenizer = read(tmp_path, tokens | template)
    assert tokenizer.eos_token_ids == {2, 3}
    assert tokenizer.apply_chat_template([{"role": "user", "content": "A"}], tokenize=False) == "A<|im_end|>"
    assert read(tmp_path, tokens | {"tokenizer.ggml.eot_token_id": 5}).eos_token_ids == {2, 5}


@pytest.mark.parametrize("name", {kind: name for name, kind in PRE_TOKENIZERS.items()}.values())
def test_every_way_of_splitting_keeps_all_of_a_text(tmp_path, name):
    """No pattern loses a character, and each is one that the tokenizers library takes."""
    tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    metadata = byte_level([*tokens, "AB"]) | {
        "tokenizer.ggml.pre": name,
        "tokenizer.ggml.token_type": [1] * 257,
    }
    tokenizer = read(tmp_path, metadata | {"tokenizer.ggml.add_bos_token": False})
    for text in CORPUS[:4]:
        assert tokenizer.decode(tokenizer.encode(text)) == text


WRONG = {
    "model": ({"tokenizer.ggml.model": "t5"}, "tokenizer.ggml.model is 't5', which is not loaded"),
    "pre": ({"tokenizer.ggml.pre": "smollmm"}, "tokenizer.ggml.pre is 'smollmm', .* did you mean smollm"),
    "merges": ({"tokenizer.ggml.merges": ["AB"]}, "tokenizer.ggml.merges holds 'AB'; two tokens with a space"),
    "twice": ({"tokenizer.ggml.tokens": ["A", "B", "A"]}, "tokenizer.ggml.tokens holds 'A' twice"),
    "types": ({"tokenizer.ggml.token_type": [1]}, "tokenizer.ggml.token_type is no array of 64"),
    "bos": ({"tokenizer.ggml.bos_token_id": 64}, "tokenizer.ggml.bos_token_id is 64; an id below 64"),
    "add": ({"tokenizer.ggml.add_bos_token": 1}, "tokenizer.ggml.add_bos_token is 1; true or false"),
    "scores": ({"tokenizer.ggml.model": "llama"}, "tokenizer.ggml.scores is no array of 64 numbers"),
    "template": ({"tokenizer.chat_template": "{{ 9**9**9 }}"}, "tokenizer.chat_template is not used: it takes"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(tmp_path, case):
    """File, key, value and what would be right, in one line."""
    change, message = WRONG[case]
    with pytest.raises(LoadError, match=message) as error:
        read(tmp_path, byte_level() | change)
    assert str(tmp_path / "a.gguf") in str(error.value)
    assert "\n" not in str(error.value)
