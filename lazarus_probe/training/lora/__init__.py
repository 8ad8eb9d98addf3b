"""LoRA on a subject's projections."""
