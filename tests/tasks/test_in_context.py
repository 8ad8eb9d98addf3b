"""Tasks on single words: their lists, their forms, and files of pairs."""

from __future__ import annotations

import pytest

from lazarus_probe.tasks.in_context import FORMS, WORD_TASKS, WordTask, prompt_and_answer, read_pairs


@pytest.mark.parametrize("name", sorted(WORD_TASKS))
def test_lists_are_long_and_have_no_word_twice(name):
    """Each list has forty pairs and more, of different inputs, none of which is its own output."""
    pairs = WORD_TASKS[name].pairs
    assert len(pairs) >= 40
    assert len({word for word, _ in pairs}) == len(pairs)
    assert all(word != made for word, made in pairs)


def test_an_antonym_is_never_shown_the_other_way_round():
    """No output of a list is an input of it: with one half shown, the other half cannot be read backwards."""
    for task in WORD_TASKS.values():
        assert not {word for word, _ in task.pairs} & {made for _, made in task.pairs}


@pytest.mark.parametrize("form", FORMS)
def test_a_prompt_goes_on_with_its_answer_as_an_example_does(form):
    """The prompt with its answer is the beginning of the text of all pairs."""
    prompt, answer = prompt_and_answer([("up", "down"), ("wet", "dry")], ("hot", "cold"), form)
    text = "".join(
        form.format(input=word, output=made)
        for word, made in (("up", "down"), ("wet", "dry"), ("hot", "cold"))
    )
    assert text.startswith(prompt + answer)
    assert (answer, prompt[-1] != " ") == (" cold", True)


@pytest.mark.parametrize("form", ["{output} of {input}", "{input}", "{input} {input} {output}", ""])
def test_a_form_that_shows_no_example_is_refused(form):
    """Both words are needed once, the output last."""
    with pytest.raises(ValueError, match="shows no example; give one with"):
        prompt_and_answer([], ("a", "b"), form)


def test_a_task_with_an_input_twice_is_refused():
    """A word on both sides of a split would be no test."""
    with pytest.raises(ValueError, match="has the input 'a' twice"):
        WordTask("own", (("a", "b"), ("a", "c")))
    with pytest.raises(ValueError, match="has an empty word"):
        WordTask("own", (("a", " "),))


def test_pairs_are_read_from_json_and_json_lines(tmp_path):
    """Both forms give the same task, named after the file; another one is refused by the number of its pair."""
    (tmp_path / "own.json").write_text('[{"input": "a", "output": "b"}]')
    (tmp_path / "own.jsonl").write_text('{"input": "a", "output": "b"}\n')
    assert read_pairs(tmp_path / "own.json") == read_pairs(tmp_path / "own.jsonl")
    assert read_pairs(tmp_path / "own.json") == WordTask("own", (("a", "b"),))
    for text, message in (
        ("[]", "holds no pairs; give a JSON list"),
        ("{", "is not JSON"),
        ('[{"input": "a"}]', "pair 0 is"),
        ('[{"input": "a", "output": 1}]', "pair 0 is"),
    ):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            read_pairs(tmp_path / "bad.json")
