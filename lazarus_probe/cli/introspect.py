"""`lazarus introspect`: what goes on inside a model, and what training does to it."""

from __future__ import annotations

import typer

from lazarus_probe.cli.commands import lazy_group

# By command: its module here, and the first line of its help.
COMMANDS = {
    "analyze": (
        "lens.analyze",
        "Read a prompt by the logit lens: what the model would say if it stopped after each layer.",
    ),
    "compare": (
        "lens.compare",
        "Compare what two models make of one prompt, layer by layer, by the logit lens.",
    ),
    "logit-lens": (
        "lens.logit_lens",
        "Check by the logit lens whether words are on top after a layer, at each prompt's last token.",
    ),
    "tuned-lens": (
        "lens.tuned_lens",
        "Train a lens that translates each layer for the model's head, and read prompts through it.",
    ),
    "hooks": (
        "lens.hooks",
        "Capture hidden states and attention of layers on a prompt, and show what they hold.",
    ),
    "probe": (
        "probing.probe",
        "Probe every layer for two classes of prompts, and extract a direction between them.",
    ),
    "classifier": (
        "probing.classifier",
        "Train a linear probe for classes of prompts at every layer, and score it on held-out ones.",
    ),
    "neurons": (
        "probing.neurons",
        "Show what single neurons do at the last token of each prompt, and find those that tell labels apart.",
    ),
    "directions": (
        "steering.directions",
        "Compare saved directions by their cosines, beside those of random vectors.",
    ),
    "steer": (
        "steering.steer",
        "Take a direction of the residual stream from prompts, or push prompts along one.",
    ),
    "layer": (
        "geometry.layer",
        "Compare prompts at each layer, and say which layers hold groups of them apart.",
    ),
    "format-sensitivity": (
        "studies.format_sensitivity",
        "Ask prompts with and without a space at their end, and say what that changes.",
    ),
    "generate": (
        "studies.generate",
        "Let a model go on from prompts, and say at which token its answer begins.",
    ),
    "embedding": (
        "studies.embedding",
        "Test what token embeddings already say of task, operation, operands and answer.",
    ),
    "early-layers": (
        "studies.early_layers",
        "Compare expressions after early layers, and probe for operation, operands and answer.",
    ),
    "arithmetic": (
        "studies.arithmetic",
        "Ask 156 arithmetic questions, and find the layer at which each answer emerges.",
    ),
    "commutativity": (
        "geometry.commutativity",
        "Compare the states of a*b and b*a, beside pairs that share less or do not commute.",
    ),
    "ablate": (
        "ablation.ablate",
        "Ablate components of layers and see whether a behaviour breaks.",
    ),
    "patch": (
        "patching.patch",
        "Put one prompt's states into another's run, and see whose answer comes out.",
    ),
    "attribution-patch": (
        "patching.attribution_patch",
        "Estimate what patching every cell would do from one gradient, and patch the best cells exactly.",
    ),
    "path-patch": (
        "patching.path_patch",
        "Measure what senders tell one receiver directly, with all other paths frozen.",
    ),
    "logit-attribution": (
        "attribution.logit_attribution",
        "Split a logit, or a difference of two, into what each component adds to it directly.",
    ),
    "heads": (
        "attribution.heads",
        "Score heads on repeated random tokens: induction, duplicate-token and previous-token heads.",
    ),
    "weight-diff": (
        "geometry.weight_diff",
        "Compare every weight of a model before and after training.",
    ),
    "activation-diff": (
        "geometry.activation_diff",
        "Compare the residual streams of a model before and after training, prompt by prompt.",
    ),
    "dual-reward": (
        "training.dual_reward",
        "Train V and O so that the logit lens at a middle layer names the operation, and answers stay right.",
    ),
}

introspect = typer.Typer(
    cls=lazy_group(COMMANDS),
    rich_markup_mode=None,
    help="What goes on inside a model, and what training does to it.",
)


@introspect.callback()
def group() -> None:
    """What goes on inside a model, and what training does to it."""
