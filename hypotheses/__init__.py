"""The claims that come with the package, each with its test; a wheel holds them as `lazarus_probe.hypotheses`."""
