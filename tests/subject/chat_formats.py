"""Tiny tokenizers of the kinds in use, each with its format's special tokens, post-processor and chat template.

The templates are written anew: they have the structure and the tokens of the formats that they are called after.
"""

# ruff: noqa: RUF001 - DeepSeek's tokens are written with full-width bars

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

OPENED = "{% if add_generation_prompt %}"
TURNS = "{% for message in messages %}"


@dataclass(frozen=True)
class ChatFormat:
    """A chat format.

    Attributes:
        tokens: its special tokens; `lstrip`/`rstrip` of those that take white space with them stand in `stripping`.
        template: the chat template.
        before: what the tokenizer puts before a plain text.
        after: what it puts after one.
        bos: the beginning-of-sequence token, where it has one.
        eos: the token that ends a text.
        pieces: `byte` for byte-level pieces, `metaspace` for those of SentencePiece.
        stripping: tokens that take the white space after them.
    """

    tokens: tuple[str, ...]
    template: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    bos: str | None = None
    eos: str = "<end>"
    pieces: str = "byte"
    stripping: tuple[str, ...] = ()


CHATML = (
    TURNS
    + "{{ '<|im_start|>' ~ message.role ~ '\n' ~ message.content ~ '<|im_end|>' ~ '\n' }}{% endfor %}"
    + OPENED
    + "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
FORMATS = {
    "llama3": ChatFormat(
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "{{ bos_token }}" + TURNS + "{{ '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\n\n' }}"
        "{{ message.content | trim ~ '<|eot_id|>' }}{% endfor %}" + OPENED + "{{ '<|start_header_id|>assistant"
        "<|end_header_id|>\n\n' }}{% endif %}",
        before=("<|begin_of_text|>",),
        bos="<|begin_of_text|>",
        eos="<|eot_id|>",
    ),
    "qwen": ChatFormat(
        ("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
        "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nBe of help.<|im_end|>\n' }}{% endif %}"
        + CHATML,
        eos="<|im_end|>",
    ),
    "gemma": ChatFormat(
        ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        "{{ bos_token }}" + TURNS + "{% set role = 'model' if message.role == 'assistant' else message.role %}"
        "{{ '<start_of_turn>' ~ role ~ '\n' ~ message.content | trim ~ '<end_of_turn>\n' }}{% endfor %}"
        + OPENED
        + "{{ '<start_of_turn>model\n' }}{% endif %}",
        before=("<bos>",),
        bos="<bos>",
        eos="<eos>",
    ),
    "phi": ChatFormat(
        ("<s>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"),
        TURNS + "{{ '<|' ~ message.role ~ '|>\n' ~ message.content ~ '<|end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
        before=("<s>",),
        bos="<s>",
        eos="<|endoftext|>",
        pieces="metaspace",
        stripping=("<|user|>", "<|assistant|>", "<|end|>"),
    ),
    "mistral": ChatFormat(
        ("<s>", "</s>", "[INST]", "[/INST]"),
        "{{ bos_token }}" + TURNS + "{% if message.role == 'user' %}{{ '[INST] ' ~ message.content ~ '[/INST]' }}"
        "{% else %}{{ ' ' ~ message.content ~ eos_token }}{% endif %}{% endfor %}",
        before=("<s>",),
        bos="<s>",
        eos="</s>",
        pieces="metaspace",
    ),
    "glm": ChatFormat(
        ("[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|endoftext|>"),
        "[gMASK]<sop>" + TURNS + "{{ '<|' ~ message.role ~ '|>\n' ~ message.content }}{% endfor %}"
        + OPENED
        + "{{ '<|assistant|>' }}{% endif %}",
        before=("[gMASK]", "<sop>"),
        eos="<|endoftext|>",
    ),
    "olmo": ChatFormat(
        ("<|endoftext|>",),
        "{{ bos_token }}" + TURNS + "{{ '<|' ~ message.role ~ '|>\n' ~ message.content }}"
        "{{ eos_token if message.role == 'assistant' }}{{ '\n' }}{% endfor %}" + OPENED
        + "{{ '<|assistant|>\n' }}{% endif %}",
        bos="<|endoftext|>",
        eos="<|endoftext|>",
    ),
    "granite": ChatFormat(
        ("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"),
        TURNS + "{{ '<|start_of_role|>' ~ message.role ~ '<|end_of_role|>' ~ message.content ~ '<|end_of_text|>\n' }}"
        "{% endfor %}" + OPENED + "{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}",
        bos="<|end_of_text|>",
        eos="<|end_of_text|>",
    ),
    "deepseek": ChatFormat(
        ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
        "{{ bos_token }}" + TURNS + "{% if message.role == 'user' %}{{ '<｜User｜>' ~ message.content }}{% else %}"
        "{{ '<｜Assistant｜>' ~ message.content ~ eos_token }}{% endif %}{% endfor %}" + OPENED
        + "{{ '<｜Assistant｜>' }}{% endif %}",
        before=("<｜begin▁of▁sentence｜>",),
        bos="<｜begin▁of▁sentence｜>",
        eos="<｜end▁of▁sentence｜>",
    ),
    "smollm": ChatFormat(
        ("<|im_start|>", "<|im_end|>"), CHATML, bos="<|im_start|>", eos="<|im_end|>"
    ),
    "line break first": ChatFormat(
        ("<s>", "</s>", "[USER]", "[BOT]"),
        "\n{{ bos_token }}" + TURNS + "{{ '[USER]' ~ message.content }}{% endfor %}" + OPENED
        + "{{ '[BOT]' }}{% endif %}",
        before=("<s>",),
        bos="<s>",
        eos="</s>",
    ),
    "prefix last": ChatFormat(
        ("<s>", "</s>", "[USER]"),
        TURNS + "{{ '[USER]' ~ message.content ~ '\n' }}{% endfor %}" + OPENED + "{{ bos_token }}{% endif %}",
        before=("<s>",),
        after=("</s>",),
        bos="<s>",
        eos="</s>",
    ),
}  # fmt: skip


def tokenizer_of(chat: ChatFormat) -> Any:
    """A transformers tokenizer of a format: pieces of one byte or character, and its special tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    byte = chat.pieces == "byte"
    letters = (
        sorted(pre_tokenizers.ByteLevel.alphabet())
        if byte
        else ["<unk>", "▁", *map(chr, range(33, 127)), "\n"]
    )
    tokens = list(dict.fromkeys((*chat.tokens, chat.eos)))
    vocabulary = {piece: index for index, piece in enumerate([*tokens, *letters])}
    bpe = Tokenizer(
        models.BPE(
            vocabulary, [("a", "b")] if "ab" in vocabulary else [], unk_token=None if byte else "<unk>"
        )
    )
    bpe.pre_tokenizer = (
        pre_tokenizers.ByteLevel(add_prefix_space=False)
        if byte
        else pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    )
    bpe.decoder = decoders.ByteLevel() if byte else decoders.Metaspace(prepend_scheme="first")
    bpe.add_special_tokens(
        [AddedToken(name, rstrip=name in chat.stripping, normalized=False) for name in tokens]
    )
    if chat.before or chat.after:
        around = (*chat.before, "$A", *chat.after)
        bpe.post_processor = processors.TemplateProcessing(
            single=list(around),
            special_tokens=[(name, vocabulary[name]) for name in {*chat.before, *chat.after}],
        )
    names = {"bos_token": chat.bos, "eos_token": chat.eos}
    given = {key: name for key, name in names.items() if name is not None}
    return PreTrainedTokenizerFast(tokenizer_object=bpe, chat_template=chat.template, **given)
