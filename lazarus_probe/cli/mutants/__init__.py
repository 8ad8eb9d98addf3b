"""The command `lazarus mutants`."""
