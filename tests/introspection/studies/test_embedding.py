"""What embeddings say: the numbers of the claims, on the same prompts."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from lazarus_probe.hooks.sites import Site, resid_post
from lazarus_probe.introspection.probing.probe import probe
from lazarus_probe.introspection.studies.embedding import (
    EmbeddingResult,
    Sizes,
    absent,
    answer_operation,
    answer_questions,
    embedding,
    task_types,
)
from lazarus_probe.introspection.studies.operands import first_operands
from lazarus_probe.subject.control_models import FEWEST, control_models
from lazarus_probe.tasks.arithmetic import OPERATIONS
from lazarus_probe.tasks.wordings import WORDINGS

CLAIMS = Path(__file__).parents[3] / "hypotheses" / "classifiers" / "test_embeddings.py"
SMALL = Sizes(per_template=1, per_cell=1, answers=40)
TWO = ("multiply", "add")


@pytest.fixture(scope="module")
def claims() -> ModuleType:
    """The file of the claims about embeddings."""
    spec = importlib.util.spec_from_file_location("claims_about_embeddings", CLAIMS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def small(two_blocks, few_models) -> EmbeddingResult:
    """The analysis on few prompts, of the embedding and of layer 0."""
    return embedding(two_blocks, [0], TWO, sizes=SMALL)


def test_prompts_are_those_of_the_claims(claims):
    """Each set of prompts is drawn by the function that the claim about it draws by, in the same numbers."""
    # One function for command and claim.
    assert claims.task_types is task_types
    assert claims.first_operands is first_operands
    assert claims.answer_questions is answer_questions
    assert claims.absent is absent
    assert Sizes().per_template == claims.PER_TEMPLATE


@pytest.mark.slow
def test_numbers_are_those_of_the_claims(two_blocks, small):
    """On the same prompts, `probe` gives the same measurement at the embedding and after a layer."""
    untrained, rng = control_models(two_blocks, count=FEWEST), np.random.default_rng(0)
    labelled = task_types(rng, SMALL.per_template, TWO)
    assert small.tests["task"][-1] == probe(two_blocks, untrained, labelled, Site("embed"))
    operands = first_operands(two_blocks, np.random.default_rng(0))
    assert small.tests["operand"][0] == probe(
        two_blocks, untrained, operands, resid_post(0), kind="regression"
    )


def test_data_has_the_published_keys(small):
    """Scores stand under the published keys, each with an interval that holds it, n and controls; all of it is JSON."""
    data = json.loads(json.dumps(small.as_data()))
    published = ["model", "num_arith_prompts", "num_lang_prompts", "layers_analyzed", "results"]
    assert list(data)[:5] == published
    assert data["layers_analyzed"] == [0]
    cosines = {"within_arith_sim", "within_lang_sim", "between_task_sim"}
    for name in ("task_from_embedding", "task_after_L0", "answer_r2_embedding", "answer_r2_L0"):
        assert name in data["results"]
    for key, score in data["results"].items():
        if key not in cosines:
            low, high = data["intervals"][key]
            assert low <= score <= high
            assert data["n"][key] >= data["groups"][key] > 1
            assert "untrained" in data["controls"][key]
    assert cosines <= set(data["results"])
    assert "operands" in data["controls"]["answer_r2_embedding"]


def test_notebooks_show_every_result(small):
    """The table in a notebook has a row for each probe."""
    shown = small._repr_html_()
    assert all(f"<td>{key}</td>" in shown for key in small.by_key)


@pytest.mark.parametrize("operations", [("add",), ("multiply", "add"), tuple(OPERATIONS)])
def test_classes_stay_balanced(operations):
    """However few operations are asked, neither task has over three fifths of the prompts, and only they are in."""
    labelled = task_types(np.random.default_rng(0), 2, operations)
    assert max(Counter(labelled.labels.tolist()).values()) <= 0.6 * len(labelled.prompts)
    wordings = {t for t, kind in zip(labelled.groups, labelled.labels, strict=True) if kind == "arithmetic"}
    assert wordings <= {wording for operation in operations for wording in WORDINGS[operation]}


def test_answers_are_products_where_products_are_asked():
    """The answer is that of one operation: multiplication if it is among them, else the first."""
    assert answer_operation(["add", "multiply"]) == "multiply"
    assert answer_operation(["subtract", "add"]) == "subtract"


def test_unknown_operations_are_refused(organism):
    """A name that is no operation is an error that lists those there are."""
    with pytest.raises(ValueError, match="give some of multiply, add"):
        embedding(organism, [0], ["power"])
