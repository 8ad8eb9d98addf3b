"""Function vectors: the planted one is found, NumPy computes the same, and models that know no task have none."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.introspection.attribution.function_vectors import (
    function_vectors,
    in_another_form,
    task_carried,
)
from lazarus_probe.introspection.attribution.shown_tasks import shown_task
from lazarus_probe.introspection.attribution.task_heads import (
    attention_factors,
    head_effects,
    head_sum,
    heads_of,
    last_outputs,
)
from lazarus_probe.introspection.attribution.task_vectors import with_vectors
from lazarus_probe.organisms import planted
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import control_models
from lazarus_probe.tasks.in_context import WordTask

CONTROLS = {"zero_shot", "shuffled_labels", "output_set", "random_direction", "other_task"}


def planted_vectors(circuit, **options):
    subject = Subject.from_model(circuit.model, circuit.tokenizer, circuit.name)
    tasks = [WordTask(name, pairs) for name, pairs in circuit.tasks.items()]
    settings = {"shots": 4, "prompts": 10, "searched": 8, "top": 1, "form": circuit.form}
    return subject, function_vectors(subject, tasks, **{**settings, **options})


@pytest.mark.parametrize(("layer", "head", "use"), [(1, 0, 2), (1, 2, 3), (2, 1, 3)])
def test_the_planted_head_is_named_and_its_vector_carries_the_task(layer, head, use):
    """The only head that brings the task is chosen, its vector is the planted one, and nothing else answers."""
    circuit = planted.function_vector(layer, head, use)
    _, result = planted_vectors(circuit, layers=range(4))
    assert result.heads == ((layer, head),)
    assert result.made.layer < use
    np.testing.assert_allclose(result.made.vectors, np.stack(list(circuit.vectors.values())), atol=0.01)
    works = np.arange(4) < use
    np.testing.assert_allclose(result.made.by_layer, np.tile(works, (2, 1)), atol=0.01)
    assert result.made.with_examples.tolist() == [1, 1]
    assert result.right["vector"].mean() == 1
    measurement = result.measurement()
    assert {control.name for control in measurement.controls} == CONTROLS
    assert all(control.score == 0 and control.low > 0.5 for control in measurement.controls)
    assert result.damage.score < 0.01


def test_what_is_tested_was_not_shown():
    """No word of the second half stands in a prompt of the first, and the shuffled outputs are those of the right."""
    circuit = planted.function_vector()
    _, result = planted_vectors(circuit)
    for task in result.tasks:
        known = {word for word, _ in circuit.tasks[task.name]}
        first = {text.split("=")[0].strip() for text in chain(task.plain.texts)}
        shown = {part.split("=")[0] for text in task.examples.texts for part in text.split("+")}
        assert first | set(task.tested.inputs) <= known
        assert not set(task.tested.inputs) & (first | shown)
        for right, mixed in zip(task.examples.texts, task.shuffled.texts, strict=True):
            assert sorted(right.split("+")[-1]) == sorted(mixed.split("+")[-1])
            outputs = [sorted(part.split("=")[1] for part in text.split("+")[:-1]) for text in (right, mixed)]
            assert outputs[0] == outputs[1]
        assert task.examples.texts != task.shuffled.texts


def test_another_form_is_that_of_the_tested_prompts():
    """The vectors are the same, and so are the words; where the number stands elsewhere the model cannot read it."""
    circuit = planted.function_vector()
    subject, result = planted_vectors(circuit)
    other = in_another_form(subject, result, "{input}+={output}")
    assert other.made is result.made
    assert other.units == result.units
    assert [text.replace("+", "") for text in other.tasks[0].tested.texts] == [*result.tasks[0].tested.texts]
    assert other.right["vector"].mean() < 0.5 < result.right["vector"].mean()
    np.testing.assert_array_equal(
        in_another_form(subject, result, circuit.form).right["vector"], result.right["vector"]
    )


def test_control_models_of_the_planted_one_answer_nothing():
    """Untrained and lesioned models have no vector of their own that answers."""
    circuit = planted.function_vector()
    subject, result = planted_vectors(circuit)
    measurement = task_carried(subject, control_models(subject, count=3), result)
    scores = {control.name: control.score for control in measurement.controls}
    assert set(scores) == CONTROLS | {"untrained", "new_blocks", "permuted_blocks"}
    assert max(scores.values()) < 0.2
    assert measurement.score == 1


@pytest.mark.parametrize("seed", range(2))
def test_untrained_models_have_none(organism, seed):
    """The null: no head brings a task that is not known, and the vector answers no more than random ones do."""
    circuit = planted.function_vector()
    model = organism.untrained(seed)
    tasks = [WordTask(name, pairs) for name, pairs in circuit.tasks.items()]
    result = function_vectors(
        model, tasks, shots=2, prompts=4, searched=1, form=circuit.form, layers=[2, 5], seed=seed
    )
    assert result.right["vector"].mean() < 0.1
    assert all(control.low <= 0 for control in result.measurement().controls)


def test_means_effects_and_vectors_are_those_of_numpy(subject, naive):
    """From forwards in NumPy, head by head, and the vector added to the stream, for grouped keys and biases too."""
    task = WordTask(
        "own", tuple((left, right) for left, right in zip("abcdefghijkl", "mnopqrstuvwx", strict=True))
    )
    drawn = shown_task(subject, task, shots=2, prompts=3, tested=3, form="{input}:{output};", seed=1)
    factors, model = attention_factors(subject), subject.model
    means, right = last_outputs(subject, drawn.examples, list(factors))
    runs = [naive(model, [ids]) for ids in drawn.examples.ids]
    for site, mean in means.items():
        np.testing.assert_allclose(mean, np.mean([run[str(site)][0, -1] for run in runs], axis=0), atol=1e-4)
    tops = [int(run["logits"][0, -1].argmax()) for run in runs]
    assert right.tolist() == [top == answer for top, answer in zip(tops, drawn.examples.answers, strict=True)]

    sites = heads_of(subject, [1, 3])
    effects, plain = head_effects(subject, drawn.shuffled, means, sites)
    for row, (ids, answer) in enumerate(zip(drawn.shuffled.ids, drawn.shuffled.answers, strict=True)):
        before = probability(naive(model, [ids]), answer)
        assert plain[row] == pytest.approx(before, abs=1e-5)
        for number, site in enumerate(sites):

            def edit(name, value, site=site):
                if name == f"head_out.{site.layer}":
                    value = value.copy()
                    value[:, -1, site.head] = means[type(site)("head_out", site.layer)][site.head]
                return value

            after = probability(naive(model, [ids], edit), answer)
            assert effects[row, number] == pytest.approx(after - before, abs=1e-5)

    chosen = [sites[0], sites[5]]
    vector = head_sum(subject, chosen, means, factors)
    expected = np.zeros_like(vector)
    for site in chosen:
        mean = means[type(site)("head_out", site.layer)][site.head]
        project = np.array(model.model.layers[site.layer].self_attn.o_proj.weight, dtype=np.float64)
        expected += project[:, site.head * len(mean) : (site.head + 1) * len(mean)] @ mean
    np.testing.assert_allclose(vector, expected, atol=1e-4)

    both = np.stack([vector, -3 * vector])
    chances, hits = with_vectors(subject, drawn.tested, 1, both)
    for row, (ids, answer) in enumerate(zip(drawn.tested.ids, drawn.tested.answers, strict=True)):
        for number, added in enumerate(both):

            def steered(name, value, added=added):
                if name == "resid_post.1":
                    value = value.copy()
                    value[:, -1] += added
                return value

            run = naive(model, [ids], steered)
            assert chances[row, number] == pytest.approx(probability(run, answer), abs=1e-5)
            assert hits[row, number] == (run["logits"][0, -1].argmax() == answer)


def test_an_output_that_begins_as_its_input_is_left_out(grouped):
    """A copy of the input would be counted as right."""
    pairs = tuple((left, left + "s" if left == "a" else "z") for left in "abcdefghijkl")
    drawn = shown_task(grouped, WordTask("own", pairs), shots=2, prompts=2, form="{input}:{output};")
    assert drawn.left_out == (("a", "as"),)


def test_what_cannot_be_measured_is_refused_by_name(grouped, mamba):
    """An error names the task, the count, the layer or the model, and what would be right."""
    task = WordTask("own", tuple(zip("abcdefghijkl", "mnopqrstuvwx", strict=True)))
    options = {"shots": 2, "prompts": 2, "form": "{input}:{output};"}
    with pytest.raises(ValueError, match="tasks are own, own; give at least one, each once"):
        function_vectors(grouped, [task, task], **options)
    with pytest.raises(ValueError, match=r"task 'own' has 12 pairs .* 14 are needed for 6 shots"):
        function_vectors(grouped, [task], **{**options, "shots": 6})
    with pytest.raises(ValueError, match="1 shots in 2 prompts"):
        function_vectors(grouped, [task], **{**options, "shots": 1})
    with pytest.raises(ValueError, match=r"17 heads to sum; .* has 1 to 16"):
        function_vectors(grouped, [task], top=17, **options)
    with pytest.raises(IndexError, match="layer 4 is not there"):
        function_vectors(grouped, [task], layers=[4], **options)
    with pytest.raises(
        ValueError, match=r"knows no task from examples, of which 1\.00 must be answered: own"
    ):
        function_vectors(grouped, [task], known=1.0, **options)
    with pytest.raises(UnsupportedArchitecture, match="no block that adds its attention heads"):
        function_vectors(Subject.from_model(mamba.model, grouped.tokenizer, "mamba"), [task], **options)


def probability(run, answer):
    logits = run["logits"][0, -1]
    return float(np.exp(logits[answer] - logits.max()) / np.exp(logits - logits.max()).sum())
