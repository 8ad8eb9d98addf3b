"""Configurations: what transformers writes is what mlx-lm computes, or the loader says that it is not."""

from __future__ import annotations

import importlib
import importlib.util
import json
import warnings
from pathlib import Path

import mlx.core as mx
import mlx_lm.models
import numpy as np
import pytest
from mlx_lm.utils import MODEL_REMAPPING, _get_classes

from lazarus_probe.checkpoints.config import section_of, translated
from lazarus_probe.checkpoints.differences import UNUSED_SCALING, CheckpointWarning, differences
from lazarus_probe.organisms import bundled
from lazarus_probe.subject import LoadError, Subject, forward
from tests.architectures.zoo import config

TOKENS = mx.array([[3, 5, 7, 11, 13, 2, 4, 6, 8, 10]])
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
LONG = {"rope_type": "longrope", "rope_theta": 1e4, "factor": 2.0, "original_max_position_embeddings": 64}
FACTORS = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
EVERY_SECOND = ["sliding_attention", "full_attention"] * 2
BY_TYPE = {
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}


def written(model_type, **settings):
    """config.json as transformers writes it for the settings."""
    from transformers import CONFIG_MAPPING

    text = CONFIG_MAPPING[model_type](**settings).to_json_string(use_diff=False)
    return {**json.loads(text), "model_type": model_type}


def read(settings):
    """The changes that the loader makes to a configuration, and its warnings."""
    classes = _get_classes(settings)
    changes = translated(settings, *classes)
    return changes, differences(section_of({**settings, **changes}, *classes))


def check(model_type, **settings):
    """The warnings on a configuration of a Llama's size."""
    return read({"model_type": model_type, **SIZES, **settings})[1]


TRANSLATIONS = {
    "gemma3_text": (
        {"layer_types": EVERY_SECOND, "rope_parameters": BY_TYPE},
        {
            "rope_theta": 1e6,
            "rope_local_base_freq": 1e4,
            "rope_scaling": {"type": "linear", "rope_type": "linear", "factor": 8.0},
            "sliding_window_pattern": 2,
        },
    ),
    "gpt_neox": (
        {"rope_parameters": {"rope_type": "default", "rope_theta": 5e3, "partial_rotary_factor": 0.5}},
        {"rotary_emb_base": 5e3, "rotary_pct": 0.5},
    ),
    "gpt2": ({"n_positions": 99}, {"n_ctx": 99}),
    "qwen3_moe": ({"num_experts": 6}, {"num_experts": 6}),
    "olmo3": (
        {
            "layer_types": EVERY_SECOND,
            "rope_parameters": {
                "full_attention": YARN,
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        },
        {
            "rope_theta": 1e4,
            "rope_scaling": {**{key: YARN[key] for key in YARN if key != "rope_theta"}, "type": "yarn"},
        },
    ),
    "exaone4": ({"layer_types": EVERY_SECOND}, {"sliding_window_pattern": "LGLG", "rope_theta": 1e4}),
    "phi3": (
        {
            "rope_parameters": {**LONG, **FACTORS},
            "original_max_position_embeddings": 64,
            "max_position_embeddings": 128,
        },
        {"rope_theta": 1e4, "original_max_position_embeddings": 64},
    ),
}


@pytest.mark.parametrize("model_type", TRANSLATIONS)
def test_what_transformers_writes_reaches_the_argument_that_mlx_lm_reads(model_type):
    """Settings that transformers 5 nests or renames arrive in mlx-lm's arguments with their values."""
    settings, expected = TRANSLATIONS[model_type]
    given = written(model_type, **{**SIZES, **settings})
    changes, _ = read(given)
    args = _get_classes(given)[1].from_dict({**given, **changes})
    assert {key: getattr(args, key) for key in expected} == expected


TEXTS = {
    "gemma3": (
        {
            "model_type": "gemma3_text",
            "hidden_size": 64,
            "layer_types": EVERY_SECOND,
            "rope_parameters": BY_TYPE,
        },
        {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 2},
    ),
    "llama4": (
        {"model_type": "llama4_text", "rope_parameters": {"rope_type": "default", "rope_theta": 777.0}},
        {"rope_theta": 777.0},
    ),
    "mistral3": (
        {
            "model_type": "mistral",
            "sliding_window": None,
            "rope_parameters": {"rope_type": "default", "rope_theta": 777.0},
        },
        {"rope_theta": 777.0, "tie_word_embeddings": False},
    ),
    "qwen3_vl": (
        {"model_type": "qwen3_vl_text", "rope_parameters": {"rope_type": "default", "rope_theta": 777.0}},
        {"tie_word_embeddings": False},
    ),
}


@pytest.mark.parametrize("model_type", TEXTS)
def test_the_language_model_of_a_multimodal_one_is_read_too(model_type):
    """Settings in `text_config` are translated, and those that transformers keeps outside of it are put there."""
    text, expected = TEXTS[model_type]
    changes, lines = read(written(model_type, text_config={**SIZES, **text}, tie_word_embeddings=False))
    assert expected.items() <= changes["text_config"].items()
    assert changes["text_config"]["vocab_size"] == 64
    assert lines == []


def test_a_wrapper_that_keeps_the_vocabulary_beside_the_text_gets_it():
    """mlx-lm's gemma3 has a default for the size of the vocabulary that would override the text's."""
    text, _ = TEXTS["gemma3"]
    changes, _ = read(written("gemma3", text_config={**SIZES, **text}))
    assert changes["vocab_size"] == 64


REFUSED = {
    "an unread part of the rotary embedding": (
        {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}},
        "set partial_rotary_factor to 0.5, which mlx-lm's llama ignores",
    ),
    "the same part, in the older way": (
        {"partial_rotary_factor": 0.5},
        "sets partial_rotary_factor to 0.5, which mlx-lm's llama ignores",
    ),
    "a contradiction": (
        {"rope_theta": 1e5, "rope_parameters": {"rope_theta": 1e4}},
        "gives rope_theta twice: 100000.0, and 10000.0",
    ),
    "rotary embeddings by layer type": (
        {"rope_parameters": BY_TYPE},
        "differ between layer types .* mlx-lm's llama does not support",
    ),
    "unused scaling": (
        {"model_type": "mixtral", "rope_scaling": {"type": "linear", "factor": 4.0}},
        r"scales the rotary embedding \(linear\), which mlx-lm's mixtral ignores",
    ),
    "scaling without an argument": (
        {"model_type": "gemma2", "rope_scaling": {"type": "linear", "factor": 4.0}},
        r"scales the rotary embedding \(linear\), which mlx-lm's gemma2 ignores",
    ),
    "scaling of another kind": (
        {"model_type": "phi3", "rope_scaling": {"type": "yarn", "factor": 4.0}},
        r"scales the rotary embedding \(yarn\), which mlx-lm's phi3 ignores",
    ),
    "a magnitude": (
        {"rope_parameters": {**YARN, "attention_factor": 1.7}},
        r"attention_factor of 1.7 \(yarn\), and mlx-lm's llama uses 1.139",
    ),
    "a magnitude by the length": (
        {"rope_parameters": {**LONG, **FACTORS}, "max_position_embeddings": 512},
        r"attention_factor of 1.08 \(longrope\), and mlx-lm's llama uses 1.225",
    ),
    "another activation": ({"hidden_act": "gelu"}, "hidden_act is gelu and mlx-lm's llama computes silu"),
    "a cap": ({"final_logit_softcapping": 30.0}, "sets final_logit_softcapping to 30.0, which .* ignores"),
    "a hard-coded cap": ({"model_type": "gpt_oss", "swiglu_limit": 1.0}, "sets swiglu_limit to 1.0"),
    "a pattern of layers": (
        {"model_type": "gemma3_text", "layer_types": ["full_attention", "sliding_attention"] * 2},
        "needs full attention in every n-th layer",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_setting_that_would_be_ignored_for_every_prompt_is_refused(case):
    """The error names the setting, its value and what mlx-lm makes of it, in one line."""
    settings, message = REFUSED[case]
    with pytest.raises(LoadError, match=message) as raised:
        check(**{"model_type": "llama", **settings})
    assert "\n" not in str(raised.value)


WINDOW = {"sliding_window": 6, "max_position_embeddings": 128}
WARNED = {
    "mistral's window": ({"model_type": "mistral", **WINDOW}, "sliding_window = 6 is ignored"),
    "gemma2's window": (
        {"model_type": "gemma2", **WINDOW, "layer_types": EVERY_SECOND},
        "sliding_window = 6 is ignored by mlx-lm's gemma2: prompts of more than 6",
    ),
    "phi3's window": ({"model_type": "phi3", **WINDOW}, "sliding_window = 6 is ignored"),
    "qwen2's window": (
        {"model_type": "qwen2", **WINDOW, "use_sliding_window": True, "max_window_layers": 2},
        "sliding_window = 6 is ignored",
    ),
    "short prompts": (
        {"rope_scaling": {**LONG, **FACTORS}, "max_position_embeddings": 128},
        "short_factor is ignored by mlx-lm's llama: prompts of up to 64 tokens",
    ),
    "unrounded bounds": ({"rope_parameters": {**YARN, "truncate": False}}, "truncate = false"),
    "a near activation": (
        {"model_type": "starcoder2", "hidden_act": "gelu_pytorch_tanh"},
        "hidden_act is gelu_pytorch_tanh and mlx-lm's starcoder2 computes gelu",
    ),
    "clipping": ({"model_type": "olmoe", "clip_qkv": 8.0}, "clip_qkv = 8.0 is ignored"),
    "jamba's experts": ({"model_type": "jamba", "num_experts": 4}, "chosen experts sum to 1"),
    "gemma3's embeddings": (
        {"model_type": "gemma3_text"},
        "multiplies embeddings by 5.65625 instead of 5.65685",
    ),
    "minicpm3's tied logits": (
        {"model_type": "minicpm3", "tie_word_embeddings": True, "dim_model_base": 8},
        "tied logits by 4",
    ),
}


@pytest.mark.parametrize("case", WARNED)
def test_a_setting_that_matters_to_some_prompts_or_slightly_is_one_line(case):
    """The line names the setting and what comes of it."""
    settings, message = WARNED[case]
    lines = check(**{"model_type": "llama", **settings})
    assert [message in line for line in lines] == [True]
    assert "\n" not in lines[0]


QUIET = {
    "no window": {"model_type": "mistral", "sliding_window": None},
    "a window longer than any prompt": {
        "model_type": "mistral",
        "sliding_window": 128,
        "max_position_embeddings": 128,
    },
    "a window that is off": {"model_type": "qwen2", **WINDOW, "use_sliding_window": False},
    "a window from a layer that there is not": {
        "model_type": "qwen2",
        **WINDOW,
        "use_sliding_window": True,
        "max_window_layers": 4,
    },
    "a window in no layer": {"model_type": "qwen2", **WINDOW, "layer_types": ["full_attention"] * 4},
    "a window that mlx-lm has": {"model_type": "llama", **WINDOW, "layer_types": EVERY_SECOND},
    "plain multimodal positions": {
        "model_type": "qwen2",
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 1, 1]},
    },
    "the magnitude that mlx-lm has too": {
        "rope_parameters": {**YARN, "attention_factor": 1.1386294361119891}
    },
    "neutral values": {"final_logit_softcapping": None, "logit_scale": 1.0, "partial_rotary_factor": 1.0},
    "another name of the same": {"model_type": "gpt2", "activation_function": "gelu_pytorch_tanh"},
}


@pytest.mark.parametrize("case", QUIET)
def test_a_setting_that_changes_nothing_raises_no_alarm(case):
    """Values at which a setting that mlx-lm ignores has no effect are passed over."""
    assert check(**{"model_type": "llama", **QUIET[case]}) == []


# The defaults of transformers that mlx-lm does not compute; each was measured against transformers.
DIFFERENT = {
    "dbrx": "rope_theta",  # whose attention settings mlx-lm reads elsewhere
    "ernie4_5_moe": "bias",
    "gemma": "hidden_act",
    "gemma2": "sliding_window",
    "glm": "partial_rotary_factor",
    "gpt_bigcode": "activation_function",
    "gpt_neox": "hidden_act",
    "gpt_oss": "truncate",
    "jamba": "experts",
    "minicpm3": "tied logits",
    "mistral": "sliding_window",
    "pixtral": "hidden_act",  # which transformers gives to the vision model alone
    "recurrent_gemma": "multiplies embeddings",
    "starcoder2": "hidden_act",
}


def model_types():
    from transformers import CONFIG_MAPPING

    files = {path.stem for path in Path(mlx_lm.models.__path__[0]).glob("*.py")}
    return sorted((files | set(MODEL_REMAPPING)) & set(CONFIG_MAPPING) - {"olmo"})


@pytest.mark.parametrize("model_type", model_types())
def test_default_configurations_raise_only_the_alarms_that_are_known(model_type):
    """Of every architecture that both libraries have, the default configuration is read without false alarm."""
    try:
        lines = read(written(model_type))[1]
    except LoadError as error:
        lines = [str(error)]
    assert [DIFFERENT.get(model_type, "nothing") in line for line in lines] == [True] * (
        model_type in DIFFERENT
    )


@pytest.mark.parametrize("kind", sorted(UNUSED_SCALING))
def test_models_said_to_ignore_rope_scaling_do(kind):
    """Scaled or not, the logits are the same; a later mlx-lm that scales is noticed here."""
    module = importlib.import_module(f"mlx_lm.models.{kind}")
    plain, scaled = config(kind), config(kind)
    for settings in (scaled, scaled.get("text_config", scaled)):
        settings["rope_scaling"] = {"type": "linear", "rope_type": "linear", "factor": 4.0}
    outputs = []
    for settings in (plain, scaled):
        mx.random.seed(0)
        model = module.Model(module.ModelArgs.from_dict(settings))
        outputs.append(forward(model, TOKENS))
    assert mx.array_equal(*outputs)


def saved(folder, make_llama, save_checkpoint, **changes):
    return save_checkpoint(folder, make_llama(), **changes)


def test_the_window_that_is_warned_of_is_one_that_mlx_lm_ignores(tmp_path, make_llama, save_checkpoint):
    """A Mistral with a short window warns once, in a category of its own, and computes as one without."""
    changes = {"model_type": "mistral", "layer_types": None}
    plain = forward(
        Subject.load(saved(tmp_path / "plain", make_llama, save_checkpoint, **changes)).model, TOKENS
    )
    folder = saved(tmp_path / "short", make_llama, save_checkpoint, sliding_window=4, **changes)
    with pytest.warns(CheckpointWarning, match="^short: sliding_window = 4 is ignored") as caught:
        subject = Subject.load(folder)
    assert len(caught) == 1
    assert mx.array_equal(forward(subject.model, TOKENS), plain)


def test_a_warning_can_be_made_an_error_or_silenced(tmp_path, make_llama, save_checkpoint):
    """The category can be filtered as any other."""
    folder = saved(
        tmp_path, make_llama, save_checkpoint, model_type="mistral", sliding_window=4, layer_types=None
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CheckpointWarning)
        Subject.load(folder)
        warnings.simplefilter("error", CheckpointWarning)
        with pytest.raises(CheckpointWarning):
            Subject.load(folder)


def test_a_refusal_names_the_folder(tmp_path, make_llama, save_checkpoint):
    """What the configuration asks for in vain is an error of loading like any other."""
    folder = saved(tmp_path, make_llama, save_checkpoint, hidden_act="relu")
    with pytest.raises(LoadError, match=f"{folder.name} cannot be built: config.json: hidden_act is relu"):
        Subject.load(folder)


def test_biases_that_the_configuration_denies_are_refused(tmp_path, make_llama, save_checkpoint):
    """Settings that show in the weights need no rule: weights too many or too few are an error."""
    model = make_llama(attention_bias=True)
    with pytest.raises(
        LoadError, match=r"cannot be built: the weights hold .* that mlx-lm.s model has no place for"
    ):
        Subject.load(save_checkpoint(tmp_path, model, attention_bias=False))


def test_an_architecture_that_ends_the_process_is_refused(tmp_path, make_llama, save_checkpoint):
    """mlx-lm's olmo exits where a package that it wants is missing; the loader raises instead."""
    if importlib.util.find_spec("hf_olmo"):
        pytest.skip("the package that mlx-lm's olmo wants is installed")
    with pytest.raises(LoadError, match="cannot be built: mlx-lm exits, asking for another package"):
        Subject.load(saved(tmp_path, make_llama, save_checkpoint, model_type="olmo"))


@pytest.mark.parametrize("name", bundled.names())
def test_bundled_models_load_without_a_warning(name):
    """Under `filterwarnings = error` the organisms load, and their configuration raises no alarm."""
    assert read(json.loads((bundled.path(name) / "config.json").read_text()))[1] == []
    assert np.isfinite(np.array(forward(Subject.load(name).model, TOKENS))).all()
