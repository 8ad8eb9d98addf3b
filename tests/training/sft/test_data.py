"""Training lines and their tokens: what is learned is what the model will be asked to generate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lazarus_probe.subject import Subject
from lazarus_probe.subject.chat import in_chat
from lazarus_probe.tasks.arithmetic import OPERATIONS, PHRASINGS, facts
from lazarus_probe.training.sft.data import Example, by_turn, encode, encode_all, label_of, read_jsonl

GOOD = '{"prompt": "1 + 1 = ", "response": "2"}'
TALK = [("system", "be brief"), ("user", "hi"), ("assistant", "hello"), ("user", "bye"), ("assistant", "ok")]


def write(folder: Path, *lines: str | bytes) -> Path:
    file = folder / "data.jsonl"
    file.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    return file


def messages(*turns: tuple[str, str]) -> str:
    return json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]})


@pytest.mark.parametrize(
    ("line", "example"),
    [
        (GOOD, Example("1 + 1 = ", "2")),
        ('{"prompt": " a ", "completion": " b\\n", "class": "x"}', Example(" a ", " b\n", "x")),
        ('{"prompt": "a", "answer": "b", "label": "x", "class_token": 5}', Example("a", "b", "x")),
        ('{"prompt": "a", "response": "b", "label": null}', Example("a", "b")),
        ('{"text": "plain"}', Example("", "plain")),
        (messages(*TALK[1:3]), Example("hi", "hello", messages=(("user", "hi"),))),
    ],
)
def test_lines_are_read_as_they_stand(tmp_path, line, example):
    """Every form of a line gives its example, with no character stripped."""
    assert read_jsonl(write(tmp_path, line)) == [example]


def test_marks_and_blank_lines_are_passed_over(tmp_path):
    """A byte order mark, Windows line ends, blank lines and a missing last line end change nothing."""
    file = write(tmp_path, b"\xef\xbb\xbf" + GOOD.encode() + b"\r", "", "  \r", GOOD)
    found = read_jsonl(file)
    assert found == [Example("1 + 1 = ", "2")] * 2
    assert [example.location for example in found] == [f"{file}:1", f"{file}:4"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON: .* at column"),
        ("[", "one object per line is needed, not a list"),
        ("[1]", "a list of 1, not an object with prompt and response"),
        ("7", "7, not an object"),
        ("[" * 200_000, "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        ("{}", r"'prompt' is missing \(there is no field\)"),
        ('{"prompt": "a", "reponse": "b"}', r"'response' is missing \(there is 'prompt', 'reponse'\)"),
        ('{"prompt": "a", "response": 56}', "'response' is 56; a text is needed"),
        ('{"prompt": "a", "response": null}', "'response' is null; a text is needed"),
        ('{"prompt": "a", "response": ""}', "'response' is empty"),
        ('{"prompt": "", "response": "b"}', "'prompt' is empty"),
        ('{"prompt": "a", "response": "b", "answer": "c"}', "has response and answer; give one"),
        ('{"prompt": "a", "response": "b", "label": 3}', "'label' is 3; a text is needed"),
        ('{"prompt": "a", "response": "b", "label": "x", "class": "y"}', "has label and class"),
        ('{"messages": []}', "'messages' is a list of 0"),
        ('{"messages": [3]}', "message 1: 3, not an object with role and content"),
        ('{"messages": [{"role": "user"}]}', "message 1: 'content' is missing"),
        (messages(("user", "hi")), "must end with one of the assistant"),
        (messages(("assistant", "hi")), "must end with one of the assistant, after another"),
        ('{"messages": [], "tools": []}', "tools are not supported"),
    ],
)
def test_bad_lines_are_named(tmp_path, line, message):
    """A bad line stops with file, line and fault in one line; or it is left out, and said to be."""
    file, said = write(tmp_path, GOOD, line, GOOD), []
    with pytest.raises(ValueError, match=message) as error:
        read_jsonl(file)
    assert str(error.value).startswith(f"{file}:2: ")
    assert "\n" not in str(error.value)
    assert len(read_jsonl(file, skip_bad=True, on_bad=said.append)) == 2
    assert said == [str(error.value)]


@pytest.mark.parametrize("lines", [(), ("",), ("", "\r", " ")])
def test_empty_files_are_refused(tmp_path, lines):
    """A file without an example is an error that shows a line as it should be."""
    with pytest.raises(ValueError, match="has no examples; each line is to be"):
        read_jsonl(write(tmp_path, *lines))


def test_files_of_bad_lines_alone_are_refused(tmp_path):
    """Skipping everything leaves nothing to train on, which is no success."""
    with pytest.raises(ValueError, match="has no examples"):
        read_jsonl(write(tmp_path, "{"), skip_bad=True)


def spelled(subject: Subject, prompt: str, response: str, **settings: Any) -> list[list[int]]:
    sample = encode(subject, Example(prompt, response), **settings)
    return [list(sample.tokens[: sample.prompt_length]), list(sample.tokens[sample.prompt_length :])]


def test_the_first_token_of_the_answer_is_learned(organism):
    """What is learned is every token of the answer and the end of the text, after the prompt's own tokens."""
    prompt, response = spelled(organism, "7 * 8 = ", "56")
    assert prompt == organism.encode("7 * 8 = ")
    assert organism.decode(response) == "56<|end|>"
    assert len(response) == 2


def test_a_merge_across_the_boundary_is_undone(grouped):
    """Where the tokenizer would write the end of the prompt and the answer as one token, both keep their own."""
    assert [grouped.decode([token]) for token in grouped.encode("1 + 12")][-1] == "12"
    prompt, response = spelled(grouped, "1 + 1", "2")
    assert prompt == grouped.encode("1 + 1")
    assert grouped.decode(response) == "2<eos>"


def test_a_boundary_that_the_tokenizer_has_is_kept(grouped):
    """Where prompt and answer as one text fall apart at the boundary, its tokens are taken."""
    prompt, response = spelled(grouped, "the city is", " Paris")
    assert [*prompt, *response[:-1]] == grouped.encode("the city is Paris")
    assert len(response) == 2


@pytest.fixture(scope="module")
def spacing(grouped) -> Subject:
    """A subject whose tokenizer puts a space before every text, as SentencePiece ones do."""
    from mlx_lm.tokenizer_utils import TokenizerWrapper
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<bos>", "<eos>", "_", *"0123456789=*+\n", "_5"]
    bpe = Tokenizer(models.BPE({piece: index for index, piece in enumerate(pieces)}, [("_", "5")]))
    bpe.normalizer = normalizers.Sequence([normalizers.Prepend("_"), normalizers.Replace(" ", "_")])
    bpe.decoder = decoders.Sequence([decoders.Replace("_", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    bpe.add_special_tokens(["<bos>", "<eos>"])
    fast = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<bos>", eos_token="<eos>")
    return Subject.from_model(grouped.model, TokenizerWrapper(fast), name="spacing")


def test_no_space_creeps_into_an_answer(spacing):
    """An answer is spelled as within a text also where the tokenizer puts a space before each text."""
    prompt, response = spelled(spacing, "7 * 8 = ", "56")
    assert prompt == spacing.encode("7 * 8 = ")
    assert [spacing.tokenizer.convert_ids_to_tokens(token) for token in response] == ["5", "6", "<eos>"]
    assert spacing.decode([*prompt, *response]) == "7 * 8 = 56<eos>"


def test_the_whole_text_is_learned_unmasked(grouped):
    """Without the mask, everything after the first token is learned, and the class is read at the same place."""
    example = Example("1 + 1 = ", "2")
    masked, whole = (encode(grouped, example, mask_prompt=mask) for mask in (True, False))
    assert masked.tokens == whole.tokens
    assert masked.read_at == whole.read_at == masked.prompt_length - 1
    assert whole.prompt_length == 1


def test_plain_text_is_learned_from_its_second_token(grouped):
    """A text without a prompt is learned as far as it can be predicted, to its end."""
    sample = encode(grouped, Example("", "ab"))
    assert list(sample.tokens) == [*grouped.encode("ab"), min(grouped.eos_token_ids)]
    assert sample.prompt_length == 1


def test_chat_gives_the_prompt_that_the_model_is_asked(organism):
    """In the chat template the prompt is what generation would begin with, and the answer ends where it stops."""
    prompt, response = spelled(organism, "What is 7 times 8?", "56", chat=True)
    assert prompt == organism.encode(in_chat(organism, "What is 7 times 8?"))
    assert organism.decode(response) == "56<|end|>"


def test_what_a_template_writes_after_the_end_is_not_learned(organism, monkeypatch):
    """A line break after the end of an answer, which no generation reaches, is left out."""
    template = organism.tokenizer.chat_template.replace("<|end|>'", "<|end|>\n'")
    monkeypatch.setattr(organism.tokenizer._tokenizer, "chat_template", template)
    assert "<|end|>\n" in in_chat(organism, "hi")
    assert organism.decode(spelled(organism, "hi", "hello", chat=True)[1]) == "hello<|end|>"


def test_every_turn_of_the_assistant_is_learned(organism):
    """A conversation gives one sample for each answer in it, after all that was said before."""
    example = Example("bye", "ok", messages=tuple(TALK[:-1]))
    first, last = by_turn([example])
    assert (first.prompt, first.response, first.messages) == ("hi", "hello", tuple(TALK[:2]))
    assert last == example
    sample = encode(organism, last)
    text = "<|begin|><|system|>be brief<|end|><|user|>hi<|end|><|assistant|>hello<|end|><|user|>bye<|end|>"
    assert organism.decode(sample.tokens[: sample.prompt_length]) == f"{text}<|assistant|>"
    assert organism.decode(sample.tokens[sample.prompt_length :]) == "ok<|end|>"


@pytest.mark.parametrize(
    ("example", "chat"), [(Example("a", "b"), True), (Example("a", "b", messages=(("user", "a"),)), False)]
)
def test_chat_without_a_template_is_refused(grouped, example, chat):
    """A model without a chat template can learn no conversation, and the error names it."""
    with pytest.raises(ValueError, match="needs a chat template, and grouped has none"):
        encode(grouped, example, chat=chat)


def test_a_refusal_of_the_template_is_one_of_its_line(organism, monkeypatch):
    """What a template raises about its messages is told with the line's place."""
    template = "{{ raise_exception('roles must alternate') }}"
    monkeypatch.setattr(organism.tokenizer._tokenizer, "chat_template", template)
    with pytest.raises(
        ValueError, match=r"^d:3: the chat template of organism refuses it: roles must alternate"
    ):
        encode(organism, Example("a", "b", location="d:3"), chat=True)


@pytest.mark.parametrize("phrasing", PHRASINGS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_operations_are_read_from_every_phrasing(operation, phrasing):
    """An arithmetic prompt needs no label: its operation is plain."""
    for fact in list(facts(operation))[::97]:
        assert label_of(Example(fact.prompt(phrasing), "")) == operation


@pytest.mark.parametrize(
    "prompt", ["How many times did it rain in 7 days?", "Paris", "2024-05-01", "1 + 2 * 3 = ", "times", ""]
)
def test_other_prompts_have_no_operation(prompt):
    """Words and signs that stand there by chance are no operation."""
    assert label_of(Example(prompt, "")) is None


@pytest.mark.parametrize(("prompt", "operation"), [("7*8=", "multiply"), ("9 \u00f7 3", "divide")])
def test_operations_are_read_in_any_spacing(prompt, operation):
    """Spacing and printed signs do not matter."""
    assert label_of(Example(prompt, "")) == operation


def test_a_label_wins_over_the_prompt():
    """What a line says of its class is not second-guessed."""
    assert label_of(Example("7 * 8 = ", "56", "add")) == "add"


def test_classes_become_their_tokens(grouped):
    """The class token is that of the label; without class tokens there is none."""
    example = Example("1 + 1 = ", "2")
    assert encode(grouped, example, class_tokens={"add": 7}).class_token == 7
    assert encode(grouped, example).class_token == -1


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (Example("hello", "b"), 'no "label", and the prompt names no single operation; give one of add, sub'),
        (Example("a", "b", "power"), "label 'power' is none of intermediate_loss.targets"),
        (Example("", "text", "add"), "a plain text has no prompt whose class"),
    ],
)
def test_examples_without_a_class_are_refused(grouped, example, message):
    """The classification loss needs the class of every example."""
    with pytest.raises(ValueError, match=message):
        encode(grouped, example, class_tokens={"add": 1, "subtract": 2})


def test_examples_too_long_are_refused_or_skipped(grouped):
    """An example longer than the limit is never cut: it is refused with its place, or left out."""
    examples, said = [Example("1", "2"), Example("1" * 9, "2", location="d:2")], []
    with pytest.raises(ValueError, match=r"^d:2: 12 tokens, more than the 6 that fit"):
        encode_all(grouped, examples, max_length=6)
    assert len(encode_all(grouped, examples, max_length=6, skip_bad=True, on_bad=said.append)) == 1
    assert said == ["d:2: 12 tokens, more than the 6 that fit"]
    with pytest.raises(ValueError, match="no examples are left"):
        encode_all(grouped, examples, max_length=2, skip_bad=True)


def test_the_length_of_the_model_is_the_limit(organism):
    """A prompt longer than the model was made for is refused without any setting."""
    longest = organism.config["max_position_embeddings"]
    with pytest.raises(ValueError, match=f"^d:3: .* was made for {longest}: shorten it"):
        encode_all(organism, [Example("1 + " * longest, "2", location="d:3")])
    with pytest.raises(ValueError, match=f"^d:3: .* was made for {longest}: shorten it"):
        encode_all(organism, [Example("1", "1 + " * longest, location="d:3")])
