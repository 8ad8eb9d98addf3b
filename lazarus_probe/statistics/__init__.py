"""Statistics for honest claims: grouped probes with nulls, intervals, permutation, power, families."""
