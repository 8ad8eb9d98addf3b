"""An adapter that the peft library made and saved gives here the logits that it gives there."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the torch extra is not installed")
peft = pytest.importorskip("peft", reason="the parity extra is not installed")

import mlx.core as mx  # noqa: E402
import numpy as np  # noqa: E402

from lazarus_probe.adapters.adapter import load_adapter  # noqa: E402
from lazarus_probe.subject import LoadError, forward  # noqa: E402
from tests.parity.pair import TABLE, TOKENS, error, random_model, subject_of  # noqa: E402

# peft asks transformers for what that calls by another name now.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
TOLERANCE = 1e-4
# By name: the family, and what is asked of peft.
KINDS = {
    "names": ("llama", {"target_modules": ["q_proj", "v_proj"]}),
    "rslora": ("llama", {"target_modules": ["o_proj", "down_proj"], "use_rslora": True}),
    "all linear layers": ("llama", {"target_modules": "all-linear"}),
    "a pattern": ("llama", {"target_modules": r".*layers\.[12]\.self_attn\.(k|v)_proj"}),
    "patterns of rank and alpha": (
        "llama",
        {
            "target_modules": ["q_proj", "up_proj"],
            "rank_pattern": {"up_proj": 2, r"layers.1.self_attn.q_proj": 5},
            "alpha_pattern": {"q_proj": 3, r"^model.layers.0.mlp.up_proj": 1},
        },
    ),
    "some layers": ("llama", {"target_modules": ["v_proj"], "layers_to_transform": [1]}),
    "some modules left out": (
        "llama",
        {"target_modules": ["q_proj", "v_proj"], "exclude_modules": ["v_proj"]},
    ),
    "the base the other way round": ("gpt2", {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True}),
    "one projection for three": ("phi3", {"target_modules": ["qkv_proj"]}),
    "dense beside queries": ("qwen2", {"target_modules": ["q_proj", "gate_proj"], "lora_alpha": 20}),
}


def with_peft(family: str, settings: dict, seed: int = 1):
    """A random model with random LoRA on it."""
    model = random_model(family, TABLE["families"][family]["settings"])
    config = peft.LoraConfig(**{"r": 4, "lora_alpha": 6, "task_type": "CAUSAL_LM", **settings})
    adapted = peft.get_peft_model(model, config)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape) * 0.2)
    return adapted.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_the_logits_are_those_of_peft(tmp_path, kind):
    """Every way of naming modules, ranks and alphas gives its logits, and other ones than the base."""
    family, settings = KINDS[kind]
    adapted = with_peft(family, settings)
    adapted.save_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        expected = adapted(torch.tensor(TOKENS), use_cache=False).logits.numpy()
    subject = subject_of(adapted.unload(), tmp_path / "base")
    plain = np.array(forward(subject.model, mx.array(TOKENS)))
    load_adapter(subject, tmp_path / "adapter")
    assert error(forward(subject.model, mx.array(TOKENS)), expected) <= TOLERANCE
    assert error(plain, expected) > 100 * TOLERANCE


REFUSED = {
    "dora": ({"target_modules": ["q_proj"], "use_dora": True}, "use_dora is True"),
    "whole modules": (
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        r"modules_to_save is \['lm_head'\]",
    ),
    "biases of LoRA": ({"target_modules": ["q_proj"], "lora_bias": True}, "lora_bias is True"),
    "an embedding": ({"target_modules": ["embed_tokens"]}, "is LoRA on an embedding"),
    "the head": ({"target_modules": ["lm_head"]}, r"lm_head\.base_layer\.weight is a weight of the base"),
    "PiSSA": ({"target_modules": ["q_proj"], "init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # peft's own, of what it was asked for here
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_plain_lora_is_refused(tmp_path, kind):
    """What peft saves of other kinds is known by its settings or its tensors."""
    settings, message = REFUSED[kind]
    adapted = with_peft("llama", settings)
    adapted.save_pretrained(tmp_path / "adapter")
    subject = subject_of(random_model("llama", TABLE["families"]["llama"]["settings"]), tmp_path / "base")
    with pytest.raises(LoadError, match=message):
        load_adapter(subject, tmp_path / "adapter")


def test_another_method_is_refused(tmp_path):
    """An adapter that is not LoRA at all is named by its method."""
    model = random_model("llama", TABLE["families"]["llama"]["settings"])
    config = peft.IA3Config(target_modules=["v_proj"], feedforward_modules=[], task_type="CAUSAL_LM")
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    subject = subject_of(random_model("llama", TABLE["families"]["llama"]["settings"]), tmp_path / "base")
    with pytest.raises(LoadError, match="peft_type is 'IA3', and only LORA is loaded"):
        load_adapter(subject, tmp_path / "adapter")
