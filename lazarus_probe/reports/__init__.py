"""Where runs land: run.json, summary.md and the tables in them."""
