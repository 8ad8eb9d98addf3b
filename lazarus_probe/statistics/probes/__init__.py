"""Linear probes of arrays: fitted, scored on groups held out, and held against controls."""
