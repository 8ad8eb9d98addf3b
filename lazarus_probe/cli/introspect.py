"""`lazarus introspect`: what happens inside a model, and what training changes in it."""

from __future__ import annotations

import typer

from lazarus_probe.cli.commands import lazy_group

# By command: its module here, and the first line of its help.
COMMANDS = {
    "analyze": (
        "lens.analyze",
        "Read a prompt with the logit lens: what the model would predict if it stopped after each layer.",
    ),
    "compare": (
        "lens.compare",
        "Compare two models on one prompt, layer by layer, with the logit lens.",
    ),
    "logit-lens": (
        "lens.logit_lens",
        "Check with the logit lens whether words rank first after a layer, at each prompt's last token.",
    ),
    "tuned-lens": (
        "lens.tuned_lens",
        "Train a tuned lens, which maps each layer to the final one, and read prompts through it.",
    ),
    "hooks": (
        "capture.hooks",
        "Capture hidden states and attention of layers on a prompt, and summarise them.",
    ),
    "probe": (
        "probing.probe",
        "Probe every layer for two classes of prompts, and extract a direction between them.",
    ),
    "classifier": (
        "probing.classifier",
        "Train a linear probe for classes of prompts at every layer, and score it on held-out prompts.",
    ),
    "neurons": (
        "probing.neurons",
        "Show activations of single neurons at the last token of each prompt, and find neurons that separate labels.",
    ),
    "directions": (
        "steering.directions",
        "Compare saved directions by cosine similarity, with random vectors as the control.",
    ),
    "erase-concept": (
        "steering.erase_concept",
        "Erase a concept from the last token's state, and see what a choice between two answers loses.",
    ),
    "steer": (
        "steering.steer",
        "Extract a direction of the residual stream from prompts, or steer prompts along one.",
    ),
    "layer": (
        "geometry.layer",
        "Compare prompts at each layer, and find the layers that separate groups of them.",
    ),
    "format-sensitivity": (
        "studies.format_sensitivity",
        "Run prompts with and without a trailing space, and report what that changes.",
    ),
    "generate": (
        "generation.generate",
        "Generate from prompts, and report the token at which the answer begins.",
    ),
    "embedding": (
        "studies.embedding",
        "Test what token embeddings already encode about task, operation, operands and answer.",
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
        "Compare the states of a*b and b*a, and of pairs that share less or do not commute.",
    ),
    "ablate": (
        "ablation.ablate",
        "Ablate components of layers and test whether a behaviour breaks.",
    ),
    "layer-edits": (
        "ablation.layer_edits",
        "Delete blocks, or swap neighbours, and count the predictions kept beyond random perturbations.",
    ),
    "patch": (
        "patching.patch",
        "Patch one prompt's states into another's run, and see whose answer comes out.",
    ),
    "attribution-patch": (
        "patching.attribution_patch",
        "Estimate the effect of patching every cell from one gradient, and patch the top cells exactly.",
    ),
    "path-patch": (
        "patching.path_patch",
        "Measure the direct effect of senders on one receiver, with all other paths frozen.",
    ),
    "knockout": (
        "patching.knockout",
        "Block attention from the last token to a part of the prompt, layer by layer, and measure the answer.",
    ),
    "causal-trace": (
        "patching.causal_trace",
        "Corrupt a part of the prompt, put clean states back layer by layer, and measure what comes back of the "
        "answer.",
    ),
    "das": (
        "patching.das",
        "Search the subspace whose interchange between two prompts gives the answers that a causal model says.",
    ),
    "rank-one-edit": (
        "editing.rank_one_edit",
        "Give facts another answer by a rank-one change of one MLP at a time, and measure what that changes.",
    ),
    "logit-attribution": (
        "attribution.logit_attribution",
        "Split a logit, or a logit difference, into the direct contribution of each component.",
    ),
    "heads": (
        "attribution.heads",
        "Score heads on repeated random tokens: induction, duplicate-token and previous-token heads.",
    ),
    "self-repair": (
        "attribution.self_repair",
        "Compare what heads contribute directly with what is lost without them, the final norm's scale frozen and not.",
    ),
    "function-vector": (
        "attribution.function_vector",
        "Sum the outputs of a few heads where a task is shown by examples, and add them to prompts without examples.",
    ),
    "head-circuits": (
        "attribution.head_circuits",
        "Score heads by their OV and QK circuits: copying, successor, previous-token, duplicate-token and "
        "induction.",
    ),
    "find-circuit": (
        "circuits.find_circuit",
        "Find the edges between heads and MLPs that make a model answer the clean prompts as it does, and "
        "measure them.",
    ),
    "show-circuit": (
        "circuits.show_circuit",
        "Show a saved circuit: for each block who writes into it, and on request a drawing or a page.",
    ),
    "test-circuit": (
        "circuits.tested_circuit",
        "Test whether a circuit from a file is faithful, complete, minimal, and better than random ones.",
    ),
    "sinks": (
        "geometry.sinks",
        "Measure attention sinks and massive activations on random tokens, and edit them.",
    ),
    "residual-stream": (
        "geometry.residual_stream",
        "Measure how norms grow by layer, and cosines of random tokens: raw, centred, without outlier dimensions.",
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
        "Train V and O so that the logit lens at a middle layer names the operation, and answers "
        "stay correct.",
    ),
}

# By folder of the modules, the heading of its commands in the group's help.
HEADINGS = {
    "lens": "Read layers with a lens",
    "capture": "Capture states",
    "probing": "Probe",
    "steering": "Find directions, erase them, steer along them",
    "generation": "Ask",
    "ablation": "Ablate",
    "patching": "Patch between prompts",
    "editing": "Edit weights",
    "attribution": "Attribute to heads and components",
    "circuits": "Find circuits",
    "geometry": "Compare states, prompts and models",
    "studies": "Whole studies",
    "training": "Train for what a layer says",
}
SECTIONS = {
    heading: [name for name, (module, _) in COMMANDS.items() if module.startswith(f"{folder}.")]
    for folder, heading in HEADINGS.items()
}

introspect = typer.Typer(
    cls=lazy_group(COMMANDS, SECTIONS),
    rich_markup_mode=None,
    help="Inspect what happens inside a model, and what training changes in it.",
)


@introspect.callback()
def group() -> None:
    """Inspect what happens inside a model, and what training changes in it."""
