"""Changing a model: pre-training the organism, LoRA, and the dual reward."""
