"""Activation, attribution and path patching between prompts."""
