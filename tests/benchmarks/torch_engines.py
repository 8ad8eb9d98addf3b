"""The other libraries, all on torch; those that are not installed are engines without cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engines import KINDS, NEW, VOCABULARY, Cases, Cells, Engine, Size, difference

from lazarus_probe.organisms import bundled

MISSING = "not installed: pip install 'lazarus_probe\\[peers]'"  # the backslash is for rich


def torch_engines(size: Size, folder: Path) -> list[Engine]:
    """Every engine on torch, around one random model, which is saved to `folder`."""
    model = random_model(size, folder) if find_spec("torch") else None
    lens = _peer("TransformerLens", "transformer-lens", model, lambda: _lens_cases(twin(model), folder))
    sight = _peer("nnsight", "nnsight", model, lambda: _nnsight_cases(twin(model), folder))
    single = {name: case for name, case in sight.cases.items() if name != "batched"}
    batched = {"grid": sight.cases["batched"]} if sight.cases else {}
    return [
        _peer("transformers, hooks", "torch", model, lambda: _transformers_cases(model)),
        lens,
        replace(sight, cases=single),
        *([replace(sight, name=f"{sight.name}, batched", cases=batched)] if batched else []),
    ]


def _peer(name: str, package: str, model: Any, build: Callable[[], Cases]) -> Engine:
    if model is None or find_spec(package.replace("-", "_")) is None:
        return Engine(name, "transformers", {}, MISSING)
    label = name if package == "torch" else f"{name} {version(package)}"
    return Engine(label, "transformers", build())


def random_model(size: Size, folder: Path) -> Any:
    """A random Llama by transformers, saved to `folder` with the bundled tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from transformers.utils.logging import disable_progress_bar

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(bundled.path("organism"))
    config = LlamaConfig(
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        intermediate_size=size.mlp,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        vocab_size=VOCABULARY,
        tie_word_embeddings=False,
        initializer_range=size.width**-0.5,  # values of order one: every part of a block matters
        bos_token_id=None,
        eos_token_id=None,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def twin(model: Any) -> Any:
    """Another model on the same weights, for a library that changes the modules of what it is given."""
    copy = type(model)(model.config).eval()
    copy.load_state_dict(model.state_dict(), assign=True)
    return copy


# transformers, with hooks of torch


def _transformers_cases(model: Any) -> Cases:
    import torch
    from transformers import DynamicCache

    layers = model.model.layers

    def run(ids: Any, hooks: Mapping[Any, Any] | None = None) -> Any:
        handles = [module.register_forward_hook(hook) for module, hook in (hooks or {}).items()]
        try:
            return model(torch.tensor(ids), use_cache=False).logits
        finally:
            for handle in handles:
                handle.remove()

    def kept(into: dict[Any, Any], name: Any) -> Any:
        def hook(_module: Any, _args: Any, output: Any) -> None:
            into[name] = output[0] if isinstance(output, tuple) else output

        return hook

    def zeros(_module: Any, _args: Any, output: Any) -> Any:
        return torch.zeros_like(output)

    def capture(ids: Any) -> list[Any]:
        found: dict[Any, Any] = {}
        hooks = {}
        for number, layer in enumerate(layers):
            for kind, module in zip(KINDS, (layer.self_attn, layer.mlp, layer), strict=True):
                hooks[module] = kept(found, (number, kind))
        return [run(ids, hooks), *(found[number, kind] for number in range(len(layers)) for kind in KINDS)]

    def grid(target: Any, donor: Any, cells: Cells) -> list[float]:
        values: dict[int, Any] = {}
        run(donor, {layer: kept(values, number) for number, layer in enumerate(layers)})

        def cell(number: int, position: int) -> float:
            def hook(_module: Any, _args: Any, output: Any) -> Any:
                output = output.clone()
                output[:, position] = values[number][:, position]
                return output

            return difference(run(target, {layers[number]: hook}))

        return [cell(*one) for one in cells]

    def ablation(ids: Any) -> list[list[int]]:
        return [continued(layer.mlp, torch.tensor(ids)) for layer in layers]

    def continued(module: Any, tokens: Any) -> list[int]:
        # A loop of our own: `generate` costs more than the tokens of a small model.
        handle, cache, new = module.register_forward_hook(zeros), DynamicCache(), []
        try:
            for _ in range(NEW):
                tokens = model(tokens, past_key_values=cache, use_cache=True).logits[:, -1:].argmax(-1)
                new.append(int(tokens))
        finally:
            handle.remove()
        return new

    middle = len(layers) // 2
    return {
        "plain": run,
        "capture": capture,
        "intervention": lambda ids: run(ids, {layers[middle].mlp: zeros}),
        "grid": grid,
        "ablation": ablation,
    }


# TransformerLens


def _lens_cases(model: Any, folder: Path) -> Cases:
    import torch
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    bridge = TransformerBridge.boot_transformers(str(folder), hf_model=model, tokenizer=tokenizer)
    count = model.config.num_hidden_layers
    names = [f"blocks.{number}.hook_{kind}" for number in range(count) for kind in KINDS]
    posts = [name for name in names if name.endswith("resid_post")]

    def zeros(value: Any, hook: Any) -> Any:
        return torch.zeros_like(value)

    def capture(ids: Any) -> list[Any]:
        logits, cache = bridge.run_with_cache(torch.tensor(ids), names_filter=names, use_cache=False)
        return [logits, *(cache[name] for name in names)]

    def grid(target: Any, donor: Any, cells: Cells) -> list[float]:
        _, cache = bridge.run_with_cache(torch.tensor(donor), names_filter=posts, use_cache=False)
        tokens = torch.tensor(target)

        def cell(number: int, position: int) -> float:
            def hook(value: Any, hook: Any) -> Any:
                value[:, position] = cache[posts[number]][:, position]
                return value

            hooks = [(posts[number], hook)]
            return difference(bridge.run_with_hooks(tokens, fwd_hooks=hooks, use_cache=False))

        return [cell(*one) for one in cells]

    def ablation(ids: Any) -> list[list[int]]:
        return [continued(number, torch.tensor(ids)) for number in range(count)]

    def continued(number: int, tokens: Any) -> list[int]:
        with bridge.hooks(fwd_hooks=[(f"blocks.{number}.hook_mlp_out", zeros)]):
            found = bridge.generate(
                tokens,
                max_new_tokens=NEW,
                do_sample=False,
                stop_at_eos=False,
                verbose=False,
                return_type="tokens",
            )
        return [int(token) for token in found[0, -NEW:]]

    middle = [(f"blocks.{count // 2}.hook_mlp_out", zeros)]
    return {
        "plain": lambda ids: bridge(torch.tensor(ids), use_cache=False),
        "capture": capture,
        "intervention": lambda ids: bridge.run_with_hooks(
            torch.tensor(ids), fwd_hooks=middle, use_cache=False
        ),
        "grid": grid,
        "ablation": ablation,
    }


# nnsight


def _nnsight_cases(model: Any, folder: Path) -> Cases:
    import nnsight
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    lm = nnsight.TransformersModel(model, task="text-generation", tokenizer=tokenizer)
    layers = lm.model.layers
    middle = len(layers) // 2

    def plain(ids: Any) -> Any:
        with lm.trace(torch.tensor(ids), use_cache=False):
            logits = lm.output.logits.save()
        return logits

    def capture(ids: Any) -> list[Any]:
        with lm.trace(torch.tensor(ids), use_cache=False):
            found = nnsight.save([])
            for layer in layers:
                found.append(layer.self_attn.output[0])
                found.append(layer.mlp.output)
                found.append(layer.output)
            logits = lm.output.logits.save()
        return [logits, *found]

    def intervention(ids: Any) -> Any:
        with lm.trace(torch.tensor(ids), use_cache=False):
            layers[middle].mlp.output = torch.zeros_like(layers[middle].mlp.output)
            logits = lm.output.logits.save()
        return logits

    def donated(ids: Any) -> Any:
        with lm.trace(torch.tensor(ids), use_cache=False):
            found = nnsight.save([])
            for layer in layers:
                found.append(layer.output)
        return found

    def grid(target: Any, donor: Any, cells: Cells) -> list[float]:
        values, tokens = donated(donor), torch.tensor(target)
        return [cell(values, tokens, *one) for one in cells]

    def cell(values: Any, tokens: Any, number: int, position: int) -> float:
        with lm.trace(tokens, use_cache=False):
            layers[number].output[:, position] = values[number][:, position]
            logits = lm.output.logits.save()
        return difference(logits)

    def batched(target: Any, donor: Any, cells: Cells) -> list[float]:
        values, tokens = donated(donor), torch.tensor(target)
        rows = max(1, 2048 // tokens.shape[1])  # of 256 to 8192 tokens a trace, this was the fastest
        parts = [cells[start : start + rows] for start in range(0, len(cells), rows)]
        return [one for part in parts for one in together(values, tokens, part)]

    def together(values: Any, tokens: Any, cells: Cells) -> list[float]:
        with lm.trace(use_cache=False) as tracer:
            found = nnsight.save([])
            for number, position in cells:
                with tracer.invoke(tokens):
                    layers[number].output[:, position] = values[number][:, position]
                    found.append(lm.output.logits[:, -1:])
        return [difference(logits) for logits in found]

    def ablation(ids: Any) -> list[list[int]]:
        return [continued(number, torch.tensor(ids)) for number in range(len(layers))]

    def continued(number: int, tokens: Any) -> list[int]:
        with lm.generate(max_new_tokens=NEW, do_sample=False) as tracer:
            with tracer.invoke(tokens):
                for _ in tracer.iter[0:NEW]:
                    layers[number].mlp.output = torch.zeros_like(layers[number].mlp.output)
            with tracer.invoke():
                found = tracer.result.save()
        return [int(token) for token in found[0, -NEW:]]

    return {
        "plain": plain,
        "capture": capture,
        "intervention": intervention,
        "grid": grid,
        "batched": batched,
        "ablation": ablation,
    }
