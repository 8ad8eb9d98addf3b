"""Does a head find repeated tokens in a tuned model that finds none in the model it was trained from?"""

import pytest

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.introspection.attribution.best_head import best_heads
from lazarus_probe.introspection.attribution.head_scores import attention_measured
from lazarus_probe.introspection.attribution.repeated_tokens import repeated_tokens
from lazarus_probe.introspection.geometry.tuning import Change, changed, widest

UNTRAINED = range(1000, 1007)  # seeds


@pytest.mark.claim("induction-head-forms-in-training")
def test_formed(subject, base, evidence):
    declared = evidence.claim.parameters
    drawn = repeated_tokens(subject, declared["length"], declared["rows"], seed=evidence.seed)
    units = [str(row) for row in range(declared["rows"] - declared["choosing"])]

    def gain(model):
        """Attention of the model's best induction head, beyond that in another order, on rows not chosen on."""
        measured = attention_measured(model, drawn)
        ((layer, head),) = best_heads(measured, "induction", declared["choosing"])
        score = measured.scores["induction"] - measured.controls["induction"]
        return score[declared["choosing"] :, layer, head]

    try:
        change = Change(gain(subject), gain(base), units)
        untrained = widest([gain(subject.untrained(seed)) for seed in UNTRAINED], change.units)
    except UnsupportedArchitecture as error:
        evidence.require(False, str(error))
    evidence.record(
        changed(
            subject,
            base,
            change,
            {"untrained": untrained},
            "attention gained by the best induction head",
            seed=evidence.seed,
            tokens=int(drawn.repeated.size),
        )
    )
