"""Hooks on every architecture of mlx-lm, tiny and with random weights."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.anatomy.site_kinds import PER_LAYER
from lazarus_probe.hooks import hooked, trace
from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.interventions import Intervention, patch, steer, zero
from lazarus_probe.subject import Subject, UnsupportedArchitecture, forward
from tests.architectures import report, zoo
from tests.architectures.report import subject_of
from tests.cases import slow_except

# They run their blocks more than once, or never call them: one place has no one value.
REFUSED = ("iquestloopcoder", "nanbeige")
RUNS = [name for name in zoo.architectures() if name not in REFUSED]


def every(names):
    """Each architecture every time; but for three, quantised variants of them with the slow tests."""
    return slow_except(names, *zoo.every_time(names))


DENSE = ("llama", "qwen3", "gemma3_text", "phi3", "gpt2", "olmo2", "granite", "cohere", "gptj", "stablelm")


@pytest.fixture(scope="module")
def rows() -> dict[str, str]:
    lines = report.DOCS.read_text(encoding="utf-8").splitlines()
    return {line.split("|")[1].strip(): line for line in lines if line.startswith("| ")}


@pytest.mark.parametrize("name", every(zoo.architectures()))
def test_the_committed_table_is_what_is_found(rows, name):
    """Every architecture has the sites and passes the checks that docs/architectures.md says it does."""
    assert rows.get(name) == report.row(name), (
        "docs/architectures.md is out of date: run `make architectures`"
    )
    assert name in REFUSED or rows[name].split("|")[2].strip() == "yes"


@pytest.mark.parametrize("name", REFUSED)
def test_an_architecture_without_one_call_a_block_is_refused(name):
    """A model that loops over its blocks is refused with the reason."""
    with pytest.raises(UnsupportedArchitecture, match="runs"):
        Subject.from_model(zoo.build(name))


@pytest.mark.parametrize("name", every(RUNS))
def test_the_residual_is_what_the_next_block_is_given(name):
    """What leaves a block is what enters the next, unless the model does something in between, and all is finite."""
    subject = subject_of(name)
    layers = range(subject.num_layers)
    sites = [f"{kind}.{layer}" for kind in ("resid_pre", "resid_post") for layer in layers]
    run = trace(subject, zoo.random_tokens(2), sites)
    same = [mx.array_equal(run[f"resid_post.{at}"], run[f"resid_pre.{at + 1}"]).item() for at in layers[:-1]]
    assert all(same)
    assert all(np.isfinite(np.array(run[site])).all() for site in sites)


@pytest.mark.parametrize("name", every(RUNS))
def test_the_own_code_without_taps_agrees(name):
    """A residual captured by a plain subclass of the block, put there by hand, is the captured one."""
    subject = subject_of(name)
    model = subject.model
    middle = subject.num_layers // 2
    block, seen = subject.anatomy.blocks[middle], []
    cls = type(block)

    class ByHand(cls):
        def __call__(self, *args, **kwargs):
            output = cls.__call__(self, *args, **kwargs)
            seen.append(output[0] if isinstance(output, tuple) else output)
            return output

    tokens = zoo.random_tokens(2)
    block.__class__ = ByHand
    try:
        forward(model, tokens)
    finally:
        block.__class__ = cls
    found = trace(subject, tokens, f"resid_post.{middle}")[f"resid_post.{middle}"]
    expected = mx.moveaxis(seen[0], 0, 2) if subject.anatomy.stream_axis == 0 else seen[0]
    assert mx.array_equal(found, expected)


@pytest.mark.parametrize("name", every(RUNS))
def test_a_later_edit_leaves_earlier_positions_alone(name):
    """Zeroing what leaves the middle block at position 8 changes no logit before it, and some from it on."""
    subject = subject_of(name)
    tokens, site = zoo.random_tokens(1), f"resid_post.{subject.num_layers // 2}"
    plain = np.array(forward(subject.model, tokens))
    edited = np.array(trace(subject, tokens, (), zero(site, 8)).logits)
    assert np.allclose(plain[:, :8], edited[:, :8], atol=1e-4 * np.abs(plain).max())
    assert np.abs(plain[:, 8:] - edited[:, 8:]).max() > 1e-3 * np.abs(plain).max()


@pytest.mark.parametrize("name", every([name for name in RUNS if "moe" in zoo.features(name)]))
def test_experts_and_routers_decide(name):
    """In a mixture an edit of what the experts say, and of the router where it can be reached, changes the logits."""
    subject = subject_of(name)
    tokens = zoo.random_tokens(2)
    plain = forward(subject.model, tokens)
    kinds = [(kind, at) for at in range(subject.num_layers) for kind in kinds_at(subject.anatomy, at)]
    mixtures = [(kind, at) for kind, at in kinds if kind in ("expert_out", "router_logits")]
    assert mixtures, "an architecture with experts has neither experts nor router"
    for kind, layer in mixtures:
        site = f"{kind}.{layer}"
        run = trace(subject, tokens, site, Intervention(site, lambda value: -5 * value))
        assert run[site].shape[:2] == (2, 12)
        assert not mx.allclose(run.logits, plain, atol=1e-6), site


def _fail_inside(subject, sites, tokens):
    with hooked(subject, sites):
        forward(subject.model, tokens)
        raise ZeroDivisionError


@pytest.mark.parametrize("name", every(RUNS))
def test_hooks_leave_nothing_behind(name):
    """After hooks at every site the classes and the logits are the model's own, also after an error inside."""
    subject = subject_of(name)
    model = subject.model
    tokens = zoo.random_tokens(1)
    before, classes = forward(model, tokens), [type(module) for _, module in model.named_modules()]
    sites = [
        f"{kind}.{layer}" for layer in range(subject.num_layers) for kind in kinds_at(subject.anatomy, layer)
    ]
    with pytest.raises(ZeroDivisionError):
        _fail_inside(subject, sites, tokens)
    assert [type(module) for _, module in model.named_modules()] == classes
    assert mx.array_equal(forward(model, tokens), before)


@pytest.mark.parametrize("name", DENSE)
def test_a_missing_kind_is_refused_by_name(name):
    """A dense model has no router: asking for one says what the block has."""
    subject = subject_of(name)
    with pytest.raises(
        ValueError, match=r"the model has no router_logits.0; block 0 has resid_pre, .*mlp_out"
    ):
        trace(subject, zoo.random_tokens(1), "router_logits.0")
    assert set(kinds_at(subject.anatomy, 0)) <= set(PER_LAYER)


@pytest.mark.parametrize("name", ["cohere", "phi", "gptj", "kimi_k3"])
def test_a_block_without_a_middle_refuses_it(name):
    """Where attention and MLP read the same stream, or the MLP reads another one than its output is added to."""
    subject = subject_of(name)
    with pytest.raises(ValueError, match=r"the model has no resid_mid\.1; block 1 has resid_pre, "):
        trace(subject, zoo.random_tokens(1), "resid_mid.1")


@pytest.mark.parametrize("name", ["llama", "olmo2", "granite", "gemma3_text", "deepseek_v3", "jamba"])
def test_the_middle_is_read_by_the_mlp_and_kept_in_the_stream(name):
    """With the MLP held, what is added to the stream after attention leaves the block as it was added."""
    subject = subject_of(name)
    tokens, direction = zoo.random_tokens(2), np.random.default_rng(0).normal(size=32)
    run = trace(subject, tokens, ["mlp_out.1", "resid_post.1"])
    held = [steer("resid_mid.1", direction), patch("mlp_out.1", run["mlp_out.1"])]
    moved = trace(subject, tokens, "resid_post.1", held)["resid_post.1"] - run["resid_post.1"]
    assert np.allclose(np.array(moved), direction, atol=1e-4)
    free = trace(subject, tokens, "mlp_out.1", held[:1])["mlp_out.1"]
    assert not np.allclose(np.array(free), np.array(run["mlp_out.1"]), atol=1e-3)


def test_a_value_is_kept_as_it_was_at_its_site():
    """gemma3 scales its embeddings in place after they were captured: what is kept is what the embedding gave."""
    subject = Subject.from_model(zoo.build("gemma3_text"))
    tokens = mx.array([[3, 5, 2, 7]])
    embedded = subject.anatomy.embedding(tokens)
    run = trace(subject, tokens, ["embed", "resid_pre.0"])
    np.testing.assert_array_equal(np.array(run["embed"]), np.array(embedded))
    assert not np.allclose(np.array(run["resid_pre.0"]), np.array(embedded))
