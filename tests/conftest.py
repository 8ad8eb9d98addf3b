"""Tiny models, a tiny tokenizer, and a Llama written out by hand to check them against."""

# ruff: noqa: N806 - B, L, H and G are the names that the field gives to these sizes

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map

from lazarus_probe.subject import Subject
from lazarus_probe.subject.one_run import Parallel
from tests.tolerance import IN_A_BLOCK, rounding, sole_best

# A background job of a shell begins with it ignored, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

CHARACTERS = "abcdefghijklmnopqrstuvwxyzP0123456789 +=*\n."
MERGES = [("P", "a"), ("Pa", "r"), ("Par", "i"), ("Pari", "s"), (" ", "Paris"), ("1", "2"), ("c", "a")]
DEEPEST = 8  # blocks of the deepest trained models here, such as the organism
# The slowest files, longest first: a worker that started one of them last would delay the whole run.
FIRST = (
    "hypotheses/test_architectures.py",
    "test_null.py",
    "cli/test_seed_commands.py",
    "docs/test_examples.py",
    "faults/test_faults.py",
    "model_mutants/test_run.py",
    "sweep/test_mixed_architectures.py",
    "sweep/test_dense_architectures.py",
    "architectures/test_hooks.py",
    "calibration/test_false_alarms.py",
    "hooks/test_split_models.py",
    "hypotheses/test_material.py",
    "training/sft/test_train.py",
    "hooks/test_compiled.py",
    "introspection/patching/test_fact_measures.py",
    "plugin/test_run_file.py",
    "model_mutants/test_changes.py",
    "introspection/circuits/test_listed_circuit.py",
)
VARIANTS = {
    "plain": {"num_key_value_heads": 4, "tie_word_embeddings": True},
    "grouped": {"num_key_value_heads": 2, "tie_word_embeddings": False},
    "biased": {"num_key_value_heads": 1, "attention_bias": True, "mlp_bias": True, "head_dim": 16},
}

# A machine that others use too may take long over anything: how fast an example is says nothing here. The profile keeps
# its name, by which `falsify` knows that nobody chose one.
PROFILE = hypothesis.settings.get_current_profile_name()
hypothesis.settings.register_profile(PROFILE, hypothesis.settings.get_profile(PROFILE), deadline=None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest; with `--no-loadscope-reorder` workers are given files in this order."""
    turn = {Path(__file__).parent / name: index for index, name in enumerate(FIRST)}
    items.sort(key=lambda item: turn.get(item.path, len(turn)))


@pytest.fixture(autouse=True)
def _no_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs pytest within a test writes nothing on the page of the CI job around it."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


@pytest.fixture(autouse=True)
def _any_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing says how wide lines may be.

    Pytest imports readline, which sets COLUMNS to 80 for processes that it starts, though not in `os.environ`; workers
    of a parallel run have it there.
    """
    monkeypatch.delenv("COLUMNS", raising=False)
    os.unsetenv("COLUMNS")  # what `os.environ` does not show


@pytest.fixture(scope="session", autouse=True)
def short_learning_curves() -> Iterator[int]:
    """Learning curves are means of two splits and not of six: all of them take as long as the rest of a probe.

    What is about the curves themselves, and what counts verdicts, has them in full (`full_learning_curves`). Yields how
    many splits users have.
    """
    from lazarus_probe.statistics.probes import held_out

    of_users = held_out.REPEATS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held_out, "REPEATS", 2)
        yield of_users


@pytest.fixture
def full_learning_curves(short_learning_curves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Learning curves as users have them."""
    monkeypatch.setattr("lazarus_probe.statistics.probes.held_out.REPEATS", short_learning_curves)


@pytest.fixture(params=[True, False], ids=["compiled", "as-written"])
def compiling(request: pytest.FixtureRequest) -> Iterator[None]:
    """Steps compiled, as users run them, and as they are written, as `make test` does (MLX_DISABLE_COMPILE)."""
    (mx.enable_compile if request.param else mx.disable_compile)()
    yield
    mx.enable_compile()
    if os.environ.get("MLX_DISABLE_COMPILE"):
        mx.disable_compile()


@pytest.fixture(scope="module")
def few_models() -> Iterator[None]:
    """Three control models of a kind, the fewest, where analyses take five; and 199 shuffles, which tell 0.005."""
    from lazarus_probe import head_scores
    from lazarus_probe.introspection import head_circuits
    from lazarus_probe.introspection.geometry.commutativity import commutativity
    from lazarus_probe.introspection.geometry.layer_similarity import layer_similarity
    from lazarus_probe.subject.control_models import control_models, untrained_models

    with pytest.MonkeyPatch.context() as patch:
        for function in (head_circuits, head_scores, layer_similarity):
            _by_default(patch, function, "untrained")
        for function, name in (
            (commutativity, "models"),
            (control_models, "count"),
            (untrained_models, "count"),
        ):
            _by_default(patch, function, name)
        patch.setattr("lazarus_probe.statistics.probes.held_out.DRAWS", 199)
        yield


def _by_default(patch: pytest.MonkeyPatch, function: Any, name: str) -> None:
    """The fewest control models, where a caller gives no number of them."""
    from lazarus_probe.subject.control_models import FEWEST

    if name in (function.__kwdefaults__ or {}):
        patch.setitem(function.__kwdefaults__, name, FEWEST)
        return
    names, defaults = function.__code__.co_varnames[: function.__code__.co_argcount], [*function.__defaults__]
    defaults[names.index(name) - len(names)] = FEWEST
    patch.setattr(function, "__defaults__", tuple(defaults))


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """Characters and a few merged words, with <bos> before every text; decoding loses nothing."""
    from mlx_lm.tokenizer_utils import TokenizerWrapper
    from tokenizers import Tokenizer, decoders, models, processors
    from transformers import PreTrainedTokenizerFast

    pieces = ["<bos>", "<eos>", *CHARACTERS, *(left + right for left, right in MERGES)]
    bpe = Tokenizer(models.BPE({piece: index for index, piece in enumerate(pieces)}, MERGES))
    bpe.add_special_tokens(["<bos>", "<eos>"])
    bpe.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    bpe.decoder = decoders.Fuse()
    special = {"bos_token": "<bos>", "eos_token": "<eos>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=bpe, **special)
    return TokenizerWrapper(fast)


@pytest.fixture(scope="session")
def make_llama() -> Callable[..., Any]:
    """A random Llama of 4 layers and width 32; keyword arguments override its configuration."""
    from mlx_lm.models.llama import Model, ModelArgs

    def make(seed: int = 0, **changes: Any) -> Any:
        settings = {
            "model_type": "llama",
            "hidden_size": 32,
            "num_hidden_layers": 4,
            "intermediate_size": 48,
            "num_attention_heads": 4,
            "rms_norm_eps": 1e-5,
            "vocab_size": 64,
        }
        mx.random.seed(seed)
        model = Model(ModelArgs(**{**settings, **changes}))
        # Norms of all ones and small biases would hide that one of them was left out.
        model.update(tree_map(lambda p: p + 0.2 * mx.random.normal(p.shape), model.parameters()))
        mx.eval(model.parameters())
        return model

    return make


@pytest.fixture(scope="session", params=list(VARIANTS))
def subject(request: pytest.FixtureRequest, make_llama: Any, tokenizer: Any) -> Subject:
    """Each kind of Llama: full, grouped and single key heads, tied and own unembedding, biases or none."""
    return Subject.from_model(make_llama(**VARIANTS[request.param]), tokenizer, name=request.param)


@pytest.fixture(scope="session")
def grouped(make_llama: Any, tokenizer: Any) -> Subject:
    """One Llama, where one kind is enough."""
    return Subject.from_model(make_llama(**VARIANTS["grouped"]), tokenizer, name="grouped")


@pytest.fixture(scope="session")
def mamba() -> Subject:
    """A state-space model, which has no attention."""
    from mlx_lm.models.mamba import Model, ModelArgs

    settings = {"hidden_size": 32, "intermediate_size": 64, "state_size": 8, "num_hidden_layers": 2}
    more = {"conv_kernel": 4, "use_bias": False, "use_conv_bias": True, "time_step_rank": 4}
    model = Model(ModelArgs(model_type="mamba", vocab_size=64, **settings, **more))
    return Subject.from_model(model, name="mamba")


@pytest.fixture
def no_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test on a greedy choice between tied tokens: rounding could change the rest of the completion."""
    choose = mx.argmax

    def checked(logits: mx.array, axis: int | None = None, **options: Any) -> mx.array:
        for row in np.array(logits.astype(mx.float32)).reshape(-1, logits.shape[-1]):
            if row.any():  # zeroed logits are zero under every kernel
                sole_best(row, rounding(row, IN_A_BLOCK * DEEPEST))
        return choose(logits, axis=axis, **options)

    monkeypatch.setattr(mx, "argmax", checked)


@pytest.fixture(scope="session")
def organism() -> Subject:
    """The bundled model."""
    return Subject.load("organism")


@pytest.fixture(scope="session")
def two_blocks(organism: Subject, make_llama: Callable[..., Any]) -> Subject:
    """Two narrow random blocks with the organism's tokenizer: for how a study is written, not for what it finds."""
    model = make_llama(num_hidden_layers=2, vocab_size=organism.anatomy.vocab_size)
    return Subject.from_model(model, organism.tokenizer, name="two-blocks")


@pytest.fixture(scope="module")
def loaded_once() -> Iterator[None]:
    """A bundled model is loaded once for a file of commands that read it, and has its own weights at the end.

    Loading it and finding how it is swept are most of a small command.
    """
    load, models = Subject.load, {}

    def once(
        name: str | Path, adapter: str | Path | None = None, *, parallel: Parallel | None = None
    ) -> Subject:
        if adapter is not None or parallel is not None or not str(name).startswith("organism"):
            return load(name, adapter, parallel=parallel)
        if name not in models:
            subject = load(name)
            models[name] = subject, [mx.array(value) for _, value in tree_flatten(subject.model.parameters())]
        return models[name][0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Subject, "load", once)
        yield
    for subject, weights in models.values():
        after = [value for _, value in tree_flatten(subject.model.parameters())]
        assert len(after) == len(weights)
        assert all(map(mx.array_equal, after, weights))


@pytest.fixture(scope="session")
def save_checkpoint(tokenizer: Any) -> Callable[..., Path]:
    """Writes a model as a Hugging Face checkpoint folder; keyword arguments override its config.json."""

    def save(folder: Path, model: Any, **changes: Any) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        settings = {**dataclasses.asdict(model.args), "architectures": ["LlamaForCausalLM"], **changes}
        config = {key: value for key, value in settings.items() if value is not None}
        (folder / "config.json").write_text(json.dumps(config))
        mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())))
        tokenizer._tokenizer.save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def naive() -> Callable[..., dict[str, np.ndarray]]:
    """A Llama's forward in NumPy float64, every site by name; `edit(name, value)` may replace any of them."""
    return naive_forward


def naive_forward(
    model: Any, tokens: Any, edit: Callable[[str, np.ndarray], np.ndarray] = lambda _, value: value
) -> dict[str, np.ndarray]:
    args, activations = model.args, {}
    weights = {name: np.array(value, dtype=np.float64) for name, value in tree_flatten(model.parameters())}

    def at(name: str, value: np.ndarray) -> np.ndarray:
        activations[name] = edit(name, value)
        return activations[name]

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0)

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + args.rms_norm_eps) * weights[f"{name}.weight"]

    tokens = np.array(tokens)
    B, L = tokens.shape
    H, G = args.num_attention_heads, args.num_key_value_heads
    h = at("embed", weights["model.embed_tokens.weight"][tokens])
    for layer in range(args.num_hidden_layers):
        block = f"model.layers.{layer}"
        h = at(f"resid_pre.{layer}", h)
        x = norm(f"{block}.input_layernorm", h)
        q, k, v = (linear(f"{block}.self_attn.{part}_proj", x) for part in "qkv")
        q, k = (
            rotated(q.reshape(B, L, H, -1), args.rope_theta),
            rotated(k.reshape(B, L, G, -1), args.rope_theta),
        )
        q, k = at(f"queries.{layer}", q), at(f"keys.{layer}", k)
        v = at(f"values.{layer}", v.reshape(B, L, G, -1))
        k, v = k.repeat(H // G, axis=2), v.repeat(H // G, axis=2)
        scores = np.einsum("blhd,bshd->bhls", q, k) / np.sqrt(q.shape[-1])
        scores = np.where(np.tril(np.ones((L, L))) > 0, scores, np.finfo(np.float32).min)
        scores = at(f"scores.{layer}", scores)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        pattern = at(f"pattern.{layer}", scores / scores.sum(-1, keepdims=True))
        heads = at(f"head_out.{layer}", np.einsum("bhls,bshd->blhd", pattern, v))
        middle = h + at(f"attn_out.{layer}", linear(f"{block}.self_attn.o_proj", heads.reshape(B, L, -1)))
        middle = at(f"resid_mid.{layer}", middle)
        x = norm(f"{block}.post_attention_layernorm", middle)
        gate, up = linear(f"{block}.mlp.gate_proj", x), linear(f"{block}.mlp.up_proj", x)
        active = at(f"neurons.{layer}", gate / (1 + np.exp(-gate)) * up)
        h = at(
            f"resid_post.{layer}", middle + at(f"mlp_out.{layer}", linear(f"{block}.mlp.down_proj", active))
        )
    head = "model.embed_tokens" if args.tie_word_embeddings else "lm_head"
    at("logits", linear(head, norm("model.norm", h)))
    return activations


def rotated(x: np.ndarray, base: float) -> np.ndarray:
    half = x.shape[-1] // 2
    angle = np.arange(x.shape[1])[:, None] * base ** (-np.arange(half) / half)
    sin, cos = np.sin(angle)[:, None], np.cos(angle)[:, None]
    left, right = x[..., :half], x[..., half:]
    return np.concatenate([left * cos - right * sin, left * sin + right * cos], axis=-1)
