"""Routes that a model takes from another one of its architecture."""

from __future__ import annotations

import pytest

from lazarus_probe.sweep import route_of, routes
from lazarus_probe.sweep.routes import share_route


def test_an_untrained_model_takes_the_route_of_its_origin(organism, monkeypatch):
    """Where code and settings are the same nothing is tested again, and another model is refused."""
    origin, model = route_of(organism), organism.untrained(3)
    monkeypatch.setattr(routes, "_fastest", lambda _: pytest.fail("tested again"))
    share_route(model, organism)
    assert route_of(model) is origin


def test_a_route_of_another_architecture_is_refused(organism, grouped):
    """What was found for one model's code says nothing of another's."""
    with pytest.raises(ValueError, match="is of another architecture than organism"):
        share_route(grouped, organism)
