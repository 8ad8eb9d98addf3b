"""Kept while callers move to `lazarus_probe.taps`."""

from lazarus_probe.taps import Tap, tapped  # noqa: F401
