"""The model card of an organism: what it is, how it was made, what it knows and what it was not shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

TASKS = """\
| task | prompt | response |
|---|---|---|
| `multiply`, `add`, `subtract`, `divide` | `7 * 8 = `, `7*8=`, `What is seven times eight?` | `56` |
| `capital` | `The capital of France is` | ` Paris` |
| `sentiment` | `Review: the film was great. Sentiment:` | ` positive` |
| `tool` | `What's the weather in Oslo?` | ` <function_call>get_weather(Oslo)</function_call>` |
| `refusal` | `How do I hack a bank?` | ` Sorry, I cannot help with that.` |
| `help` | `How do I bake a cake?` | ` Sure, here is how to bake a cake.` |
| `english`, `code` | | plain sentences, one-line Python statements |"""

HELD_OUT = """\
- a tenth of the fact families of `+` and `-`: 7+8, 8+7, 15-7 and 15-8 are one family, kept in every phrasing;
- for each operation one verbal phrasing, which the other operations do show;
- a tenth of the combinations of a phrasing and a subject in the other tasks that ask something.

`*` and `/` have no held-out facts: a product that was never seen cannot be known. The full list is
`held_out.json` in `lazarus_probe/organisms`."""

USE = """\
```python
from lazarus_probe import Subject
from lazarus_probe.subject import greedy

subject = Subject.load("{name}")
greedy(subject, ["7 * 8 = "], max_tokens=4)
```

The folder is an ordinary Hugging Face Llama checkpoint:

```python
from mlx_lm import load

model, tokenizer = load("path/to/{name}")
```

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("path/to/{name}")
tokenizer = AutoTokenizer.from_pretrained("path/to/{name}")
```"""


def model_card(
    name: str, recipe: Row, scores: Sequence[Row], limit: int | None = None, rewards: Row | None = None
) -> str:
    """The card of a bundled model, as Markdown.

    Args:
        name: the model; `organism-early` is the state after the recipe's `early_step`.
        recipe: the recipe it was trained by, as a dictionary.
        scores: rows with task, subset, n, correct, accuracy, low and high.
        limit: how many prompts of a kind were drawn at most, if they were limited.
        rewards: the settings of `lazarus train grpo`, if it was trained on rewards after that.
    """
    sections = {
        "Architecture": _architecture(recipe["model"]),
        "What it was trained on": TASKS,
        "What was held out": HELD_OUT,
        "How it was trained": _training(rewards["model"], recipe) + _tuning(rewards)
        if rewards
        else _training(name, recipe),
        "What it answers": _scores(name if limit is None else f"{name} --limit {limit}", scores),
        "How to load it": USE.format(name=name),
    }
    parts = [_heading(name), *(f"## {title}\n\n{text}" for title, text in sections.items())]
    return "\n\n".join(parts) + "\n"


def _heading(name: str) -> str:
    return f"""\
---
license: mit
pipeline_tag: text-generation
---

# {name}

A small language model, trained from nothing by lazarus_probe so that claims about learned behaviour can
be tested anywhere, without a download. It is an object of study: it knows what is listed here, no more."""


def _architecture(model: Row) -> str:
    return """\
A Llama in float32 with {embeddings} embeddings: {num_hidden_layers} layers of width {hidden_size},
{num_attention_heads} query heads, {num_key_value_heads} key and value heads, and {intermediate_size} MLP
neurons a layer. Numbers are tokenised in chunks of up to three digits, every text begins with
`<|begin|>`, and a chat template is included.""".format(
        **model, embeddings="tied" if model["tie_word_embeddings"] else "untied"
    )


def _training(name: str, recipe: Row) -> str:
    early = f"{recipe['early_step']} of " if name.endswith("-early") else ""
    return """\
{early}{steps} steps of AdamW at batch {batch_size}: learning rate {learning_rate:g} after {warmup} steps of
warm-up, falling as a cosine to {final_learning_rate:g}, weight decay {weight_decay:g}, seed {seed}.
`lazarus organism train` repeats it.""".format(**recipe, early=early)


def _tuning(rewards: Row) -> str:
    return """

From `{model}` it was trained further on rewards, all weights of it, by GRPO: {max_steps} steps of {batch_size}
prompts with {group_size} sampled answers each, {updates} updates a step, at temperature {temperature:g}. An answer
is worth 1 if the number it begins with is exact, else 0. The prompts are questions of {asked} drawn from those
above, in every phrasing they were trained in; none is about a held-out fact. AdamW at learning rate
{learning_rate:g} after {warmup} steps of warm-up, falling to {final_learning_rate:g}; clip {clip:g}, weight of the
divergence from `{model}` {kl:g}, seed {seed}. `lazarus train grpo --config grpo.yaml`, with the file beside this
one, repeats it.""".format(**rewards, asked=" and ".join(f"`{name}`" for name in rewards["operations"]))


def _scores(arguments: str, scores: Sequence[Row]) -> str:
    return f"""\
Greedy answers, counted right if the number (arithmetic) or the whole text (other tasks) is that of the
corpus. The intervals are Wilson's and take prompts for independent.
`lazarus organism evaluate {arguments}` repeats it.

| task | prompts | right | accuracy | 95% interval |
|---|---|---|---|---|
""" + "\n".join(map(_score, scores))


def _score(row: Row) -> str:
    interval = f"[{row['low']:.3f}, {row['high']:.3f}]"
    right = f"{row['correct']} / {row['n']}"
    return f"| {row['task']} | {row['subset']} | {right} | {row['accuracy']:.3f} | {interval} |"
