"""A cloud in memory under the name of one that is real."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.providers.registry import PROVIDERS
from tests.unit.pretend_cloud import PROVIDER, Sky


@pytest.fixture
def sky(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sky]:
    """What exists at all places of ``aws``."""
    monkeypatch.setitem(PROVIDERS, "aws", PROVIDER)
    Sky.current = Sky()
    yield Sky.current
    del Sky.current
