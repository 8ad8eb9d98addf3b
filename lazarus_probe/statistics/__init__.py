"""Statistics for honest claims: grouped probes with nulls, intervals, permutation, equivalence, families."""

from lazarus_probe.statistics.controls import (
    bag_of_tokens,
    control_task,
    majority_predictions,
    mean_predictions,
    paired_control,
    selectivity,
)
from lazarus_probe.statistics.equivalence import Equivalence, tost
from lazarus_probe.statistics.folds import Folds, Kind, grouped_folds
from lazarus_probe.statistics.intervals import (
    Interval,
    cluster_bootstrap,
    cluster_bootstrap_mean,
    cluster_bootstrap_means,
    exact,
    paired_interval,
    proportion_interval,
    wilson,
)
from lazarus_probe.statistics.multiplicity import Adjusted, benjamini_hochberg
from lazarus_probe.statistics.permutation import (
    Alternative,
    group_permutations,
    max_statistic_p,
    permutation_p,
    sign_flip,
)
from lazarus_probe.statistics.power import implied_p, power_of, required_groups, required_n
from lazarus_probe.statistics.probes import (
    PermutationTest,
    out_of_fold_classification,
    out_of_fold_regression,
    permutation_null,
    r2,
)

__all__ = [
    "Adjusted",
    "Alternative",
    "Equivalence",
    "Folds",
    "Interval",
    "Kind",
    "PermutationTest",
    "bag_of_tokens",
    "benjamini_hochberg",
    "cluster_bootstrap",
    "cluster_bootstrap_mean",
    "cluster_bootstrap_means",
    "control_task",
    "exact",
    "group_permutations",
    "grouped_folds",
    "implied_p",
    "majority_predictions",
    "max_statistic_p",
    "mean_predictions",
    "out_of_fold_classification",
    "out_of_fold_regression",
    "paired_control",
    "paired_interval",
    "permutation_null",
    "permutation_p",
    "power_of",
    "proportion_interval",
    "r2",
    "required_groups",
    "required_n",
    "selectivity",
    "sign_flip",
    "tost",
    "wilson",
]
