"""The ids of a text are the tokenizer's own, and those of a chat what `apply_chat_template(tokenize=True)` gives."""

from __future__ import annotations

import warnings

import pytest

from lazarus_probe.subject import PromptWarning, Subject
from lazarus_probe.subject.batches import encode_all
from lazarus_probe.subject.chat import in_chat
from lazarus_probe.subject.chat_prompt import ChatPrompt
from lazarus_probe.training.sft.data import Example
from lazarus_probe.training.sft.data import encode as encode_example
from tests.subject.chat_formats import FORMATS, tokenizer_of

TEXTS = ("7 * 8 = ", " space first", "two\nlines\n", "<s>", "a b  c")
APPENDS = {name for name, chat in FORMATS.items() if chat.after}


@pytest.fixture(scope="module")
def model(make_llama):
    """A Llama with a row for every token of any of the formats."""
    return make_llama(vocab_size=300)


@pytest.fixture
def chat(model):
    """Makes a format's subject, and the tokenizer of transformers alone."""

    def make(name: str):
        from mlx_lm.tokenizer_utils import TokenizerWrapper

        own = tokenizer_of(FORMATS[name])
        return Subject.from_model(model, TokenizerWrapper(tokenizer_of(FORMATS[name])), name), own

    return make


def expected_chat(own, text: str, **settings: bool) -> list[int]:
    """What transformers gives for a message."""
    settings = settings or {"add_generation_prompt": True}
    return own.apply_chat_template([{"role": "user", "content": text}], **settings)["input_ids"]


@pytest.mark.filterwarnings("ignore::lazarus_probe.subject.encoding.PromptWarning")
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", FORMATS)
def test_a_chat_prompt_has_the_ids_of_its_template(chat, name, text):
    """In every format the ids are those of `apply_chat_template(tokenize=True)`, alone and in a batch."""
    subject, own = chat(name)
    expected = expected_chat(own, text)
    assert subject.encode(in_chat(subject, text)) == expected
    assert encode_all(subject, [in_chat(subject, text), in_chat(subject, "x")])[0] == expected


@pytest.mark.filterwarnings("ignore::lazarus_probe.subject.encoding.PromptWarning")
@pytest.mark.parametrize("name", FORMATS)
def test_a_plain_prompt_has_the_tokenizers_own_ids(chat, name):
    """In every format a text has the ids that the tokenizer gives it, its special tokens once."""
    subject, own = chat(name)
    for text in TEXTS:
        if not FORMATS[name].before or not text.startswith(FORMATS[name].before[0]):
            assert subject.encode(text) == own(text)["input_ids"]
    ids = subject.encode("7 * 8 = ")
    for token in (*FORMATS[name].before, *FORMATS[name].after):
        assert ids.count(own.convert_tokens_to_ids(token)) == 1


@pytest.mark.filterwarnings("ignore::lazarus_probe.subject.encoding.PromptWarning")
@pytest.mark.parametrize("name", [name for name, chat in FORMATS.items() if chat.before])
@pytest.mark.parametrize("space", ["", "\n", " \n "])
def test_a_text_that_begins_with_the_added_tokens_gets_no_second_ones(chat, name, space):
    """Where the tokens stand already, after nothing but white space, they are added to nothing."""
    subject, own = chat(name)
    text = f"{space}{''.join(FORMATS[name].before)}7 * 8"
    plain = own(text, add_special_tokens=False)["input_ids"]
    end = own.convert_tokens_to_ids(list(FORMATS[name].after))
    assert subject.encode(text) == [*plain, *end]


@pytest.mark.filterwarnings("ignore::lazarus_probe.subject.encoding.PromptWarning")
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_trained_on_begins_with_the_same_ids(chat, name):
    """A training example in a chat has the prompt that generation has, and its whole text is the template's."""
    subject, own = chat(name)
    sample = encode_example(subject, Example("7 * 8 = ", "56"), chat=True)
    asked = expected_chat(own, "7 * 8 = ")
    assert list(sample.tokens[: sample.prompt_length]) == asked
    said = [{"role": "user", "content": "7 * 8 = "}, {"role": "assistant", "content": "56"}]
    whole = own.apply_chat_template(said)["input_ids"]
    if whole[: len(asked)] == asked:
        assert list(sample.tokens[:-1]) == whole[: len(sample.tokens) - 1]
    assert sample.tokens[-1] in subject.eos_token_ids


@pytest.mark.filterwarnings("ignore::lazarus_probe.subject.encoding.PromptWarning")
@pytest.mark.parametrize("name", FORMATS)
def test_a_begun_answer_follows_the_chat(chat, name):
    """What is appended to a chat prompt is read as the same text with its first words of an answer."""
    subject, own = chat(name)
    text = in_chat(subject, "7 * 8 = ") + "is 5"
    assert isinstance(text, ChatPrompt)
    assert subject.encode(text) == own(str(text), add_special_tokens=False)["input_ids"]


@pytest.mark.filterwarnings("ignore::lazarus_probe.subject.encoding.PromptWarning")
def test_a_plain_text_to_train_on_ends_once(chat):
    """A text that the tokenizer ends already gets no second end."""
    subject, own = chat("prefix last")
    assert list(encode_example(subject, Example("", "7 * 8 = 56")).tokens) == own("7 * 8 = 56")["input_ids"]


def test_a_tokenizer_that_ends_prompts_is_warned_of_once(chat):
    """One whose post-processor appends an end-of-sequence token to every prompt is named, the others are not."""
    for name in FORMATS:
        subject, _ = chat(name)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            subject.encode("7 * 8 = ")
            subject.encode("3 * 8 = ")
        assert len(caught) == (name in APPENDS)
        for warning in caught:
            assert warning.category is PromptWarning
            assert f"the tokenizer of {name} ends every prompt with '</s>'" in str(warning.message)
            assert warning.filename == __file__


@pytest.mark.parametrize(
    "ask", [lambda s, t: s.encode(t), lambda s, t: s.pieces(t), lambda s, t: encode_all(s, [t])]
)
def test_half_a_character_is_refused_in_words(chat, ask):
    """A lone surrogate has no bytes: the error says which it is and where."""
    subject, _ = chat("llama3")
    with pytest.raises(
        ValueError, match=r"'a\\ud800b' holds U\+D800 at character 1: half of a surrogate pair"
    ):
        ask(subject, "a\ud800b")


def test_what_is_no_text_is_refused_by_its_type(chat):
    """A number or bytes in place of a prompt are named with their type."""
    subject, _ = chat("llama3")
    for wrong, kind in ((5, "int"), (b"a", "bytes"), (None, "NoneType")):
        with pytest.raises(TypeError, match=f"is of type {kind}"):
            subject.encode(wrong)


def test_a_template_that_refuses_says_so(model):
    """What a template raises, by its own words or in its own code, is one line that names the model."""
    from mlx_lm.tokenizer_utils import TokenizerWrapper

    raises = {
        "{{ raise_exception('no\nfirst turns') }}": "template of odd refuses it: no first turns",
        "{{ 1 + 'a' }}": "template of odd refuses it: unsupported operand",
        "{{ messages[7].role }}": "template of odd refuses it: .*no element 7",
    }
    for template, message in raises.items():
        own = tokenizer_of(FORMATS["llama3"])
        own.chat_template = template
        with pytest.raises(ValueError, match=message) as raised:
            in_chat(Subject.from_model(model, TokenizerWrapper(own), "odd"), "hi")
        assert "\n" not in str(raised.value)
