"""Statistics for honest claims: grouped probes with nulls, intervals, permutation, power, families."""

from lazarus_probe.statistics.bootstrap import cluster_bootstrap_means
from lazarus_probe.statistics.bounded import (
    bounded_mean_interval,
    count_units,
    fewest_units,
    take_units,
)
from lazarus_probe.statistics.clustered import paired_interval, proportion_interval
from lazarus_probe.statistics.controls import (
    bag_of_tokens,
    majority_predictions,
    mean_predictions,
    paired_control,
)
from lazarus_probe.statistics.folds import Folds, Kind, grouped_folds, halves
from lazarus_probe.statistics.intervals import Interval, exact, wilson
from lazarus_probe.statistics.multiplicity import Adjusted, benjamini_hochberg
from lazarus_probe.statistics.null import PermutationTest, permutation_null
from lazarus_probe.statistics.permutation import (
    Alternative,
    group_permutations,
    max_statistic_p,
    permutation_p,
    sign_flip,
)
from lazarus_probe.statistics.power import implied_p, required_groups
from lazarus_probe.statistics.probes.capped import (
    NumberErrors,
    capped_gain_interval,
    capped_r2_interval,
    number_errors,
)
from lazarus_probe.statistics.probes.codelength import Codelength, codelength
from lazarus_probe.statistics.probes.control_task import control_numbers, control_task, memorable
from lazarus_probe.statistics.probes.out_of_fold import (
    OutOfFold,
    out_of_fold,
    out_of_fold_classification,
    out_of_fold_regression,
)

__all__ = [
    "Adjusted",
    "Alternative",
    "Codelength",
    "Folds",
    "Interval",
    "Kind",
    "NumberErrors",
    "OutOfFold",
    "PermutationTest",
    "bag_of_tokens",
    "benjamini_hochberg",
    "bounded_mean_interval",
    "capped_gain_interval",
    "capped_r2_interval",
    "cluster_bootstrap_means",
    "codelength",
    "control_numbers",
    "control_task",
    "count_units",
    "exact",
    "fewest_units",
    "group_permutations",
    "grouped_folds",
    "halves",
    "implied_p",
    "majority_predictions",
    "max_statistic_p",
    "mean_predictions",
    "memorable",
    "number_errors",
    "out_of_fold",
    "out_of_fold_classification",
    "out_of_fold_regression",
    "paired_control",
    "paired_interval",
    "permutation_null",
    "permutation_p",
    "proportion_interval",
    "required_groups",
    "sign_flip",
    "take_units",
    "wilson",
]
