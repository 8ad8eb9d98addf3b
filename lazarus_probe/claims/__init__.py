"""Claims, the evidence a test collects for them, and the verdicts they come to."""
