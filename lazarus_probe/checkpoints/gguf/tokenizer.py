"""The tokenizer in a GGUF file, as transformers' fast tokenizers and mlx-lm's wrapper of them."""

from __future__ import annotations

from typing import Any

from lazarus_probe.checkpoints.checkpoint import or_load_error
from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.checkpoints.gguf.pre_tokenizers import PRE_TOKENIZERS, PreTokenizer
from lazarus_probe.checkpoints.gguf.reader import GgufFile
from lazarus_probe.checkpoints.gguf.vocabulary import TokenKind, Vocabulary, vocabulary_of
from lazarus_probe.checkpoints.limits import bounded_chat, check_template
from lazarus_probe.checkpoints.tokenizer_check import panics_as_errors, try_out
from lazarus_probe.spelling import nearest

SPACE = "▁"
MOST_SPLIT = 10**9  # characters of all tokens cut in two in all ways; those of Gemma come to 2 x 10^7
NONE = ("none", "no_vocab")
TEMPLATE = "tokenizer.chat_template"
ENDS = ("eos", "eot", "eom")
# Tokens that end a turn where a chat template writes them, which not every file says.
ENDS_OF_TURNS = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<|end_of_text|>",
    "<end_of_utterance>",
)
GEMMAS = ("gemma", "gemma2", "gemma3")


def tokenizer_of(file: GgufFile) -> Any:
    """The tokenizer of a file: byte-level BPE, or SentencePiece's BPE; None where the file says that it has none.

    Raises:
        LoadError: it is damaged, or of a kind that is not loaded; the message names it.
    """
    if file.metadata.get("tokenizer.ggml.model", NONE[0]) in NONE:
        return None
    vocabulary = vocabulary_of(file)
    what = f"the tokenizer in {file.path} cannot be read"
    tokenizer = or_load_error(what, lambda: panics_as_errors(lambda: _wrapped(vocabulary)))
    or_load_error(what, lambda: panics_as_errors(lambda: try_out(file.path, tokenizer)))
    bounded_chat(tokenizer)
    return tokenizer


def _wrapped(vocabulary: Vocabulary) -> Any:
    from mlx_lm.tokenizer_utils import TokenizerWrapper
    from transformers import PreTrainedTokenizerFast

    kind = vocabulary.settings.text("model", "")
    if kind not in KINDS:
        raise LoadError(
            f"{vocabulary.file.path}: tokenizer.ggml.model is {ascii(kind)[:60]}, which is not loaded; loaded are "
            f"{', '.join(KINDS)}"
        )
    backend, adds_bos = KINDS[kind](vocabulary)
    _add_tokens(backend, vocabulary)
    special = {f"{name}_token": vocabulary.special(key) for name, key in SPECIAL.items()}
    special = {name: token for name, token in special.items() if token is not None}
    _surround(backend, vocabulary, adds_bos)
    template = _template(vocabulary)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=backend, clean_up_tokenization_spaces=False, chat_template=template, **special
    )
    ends = {token for name in ENDS if (token := vocabulary.special(name)) is not None}
    ends |= {
        token
        for token in vocabulary.of(TokenKind.CONTROL)
        if token in ENDS_OF_TURNS and token in (template or "")
    }
    ids = vocabulary.ids
    return TokenizerWrapper(fast, eos_token_ids=sorted(ids[token] for token in ends))


SPECIAL = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}


def _byte_level(vocabulary: Vocabulary) -> tuple[Any, bool]:
    """Byte-level BPE, and whether a beginning-of-sequence token goes before a text by default."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    kind = _pre_tokenizer(vocabulary)
    merges = _merges(vocabulary)
    backend = Tokenizer(models.BPE(vocabulary.ids, merges, ignore_merges=kind.ignores_merges))
    if kind.composes:
        backend.normalizer = normalizers.NFC()
    prefix = vocabulary.settings.flag("add_space_prefix", False)
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in kind.patterns]
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [*splits, pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=False)]
    )
    backend.decoder = decoders.ByteLevel()
    return backend, kind.adds_bos


def _pre_tokenizer(vocabulary: Vocabulary) -> PreTokenizer:
    name = vocabulary.settings.text("pre", "default")
    if name not in PRE_TOKENIZERS:
        close = nearest(name, PRE_TOKENIZERS)
        guess = f"; did you mean {close}?" if close else ""
        raise LoadError(
            f"{vocabulary.file.path}: tokenizer.ggml.pre is {ascii(name)[:60]}, a way of splitting texts that is not "
            f"known{guess}"
        )
    return PRE_TOKENIZERS[name]


def _merges(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """Pairs of tokens; each is a text with the space between them, which byte-level tokens do not have."""
    pairs = []
    for merge in vocabulary.texts("merges"):
        left, space, right = merge[:1] + merge[1:].partition(" ")[0], " ", merge[1:].partition(" ")[2]
        if not left or not right or f"{left}{space}{right}" != merge:
            raise LoadError(
                f"{vocabulary.file.path}: tokenizer.ggml.merges holds {ascii(merge)[:60]}; two tokens with a space "
                "between them are needed"
            )
        pairs.append((left, right))
    return pairs


def _sentencepiece(vocabulary: Vocabulary) -> tuple[Any, bool]:
    """SentencePiece's BPE, whose scores say what is merged first."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    ids = vocabulary.ids
    unknown = vocabulary.special("unknown")
    has_bytes = all(f"<0x{byte:02X}>" in ids for byte in range(256))
    bpe = models.BPE(
        ids, _merges_by_score(vocabulary), unk_token=unknown, fuse_unk=True, byte_fallback=has_bytes
    )
    backend = Tokenizer(bpe)
    prefix = vocabulary.settings.flag("add_space_prefix", True)
    spaces = normalizers.Replace(" ", SPACE)
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), spaces]) if prefix else spaces
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)
    return backend, True


def _merges_by_score(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """Each way in which two tokens make a third, the best first, in transformers' order (`generate_merges`)."""
    # Gemma's scores do not follow the order of its merges, which that of its tokens does.
    gemma = vocabulary.file.architecture in GEMMAS
    scores = [-float(number) for number in range(len(vocabulary.tokens))] if gemma else vocabulary.scores()
    mergeable = {
        token: number
        for number, (token, kind) in enumerate(zip(vocabulary.tokens, vocabulary.kinds, strict=True))
        if kind is TokenKind.NORMAL
    }
    if sum(len(token) ** 2 for token in mergeable) > MOST_SPLIT:
        raise LoadError(f"{vocabulary.file.path}: tokenizer.ggml.tokens holds too much text")
    scored_merges = []
    for token, number in mergeable.items():
        splits = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        pairs = [pair for pair in splits if pair[0] in mergeable and pair[1] in mergeable]
        pairs.sort(key=lambda pair: (mergeable[pair[0]], mergeable[pair[1]]))
        scored_merges += [(scores[number], pair) for pair in pairs]
    scored_merges.sort(key=lambda entry: (entry[0], len(entry[1][0]), len(entry[1][1])), reverse=True)
    return [pair for _, pair in scored_merges]


def _add_tokens(backend: Any, vocabulary: Vocabulary) -> None:
    """Control tokens are special, those that the user defined are not; a text is cut at both before all else."""
    from tokenizers import AddedToken

    backend.add_special_tokens(
        [AddedToken(token, normalized=False, special=True)
         for token in vocabulary.of(TokenKind.CONTROL, TokenKind.UNKNOWN)]
    )  # fmt: skip
    backend.add_tokens(
        [
            AddedToken(token, normalized=False, special=False)
            for token in vocabulary.of(TokenKind.USER_DEFINED)
        ]
    )


def _surround(backend: Any, vocabulary: Vocabulary, adds_bos: bool) -> None:
    """Put the tokens that begin and end a text around each, as far as the file says so."""
    from tokenizers import processors

    before, after = "", ""
    special = []
    ids = vocabulary.ids
    if (
        vocabulary.settings.flag("add_bos_token", adds_bos)
        and (token := vocabulary.special("bos")) is not None
    ):
        before, special = f"{token}:0 ", [(token, ids[token])]
    if vocabulary.settings.flag("add_eos_token", False) and (token := vocabulary.special("eos")) is not None:
        after, special = f" {token}:0", [*special, (token, ids[token])]
    if special:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{before}$A:0{after}",
            pair=f"{before}$A:0{after} {before}$B:0{after}",
            special_tokens=special,
        )


def _template(vocabulary: Vocabulary) -> str | None:
    template = vocabulary.file.metadata.get(TEMPLATE)
    if template is None:
        return None
    if not isinstance(template, str):
        raise LoadError(f"{vocabulary.file.path}: {TEMPLATE} is {ascii(template)[:60]}; a text is needed")
    try:
        check_template(template)
    except ValueError as error:
        raise LoadError(f"{vocabulary.file.path}: {TEMPLATE} is not used: {error}") from None
    return template


KINDS = {"gpt2": _byte_level, "llama": _sentencepiece}
