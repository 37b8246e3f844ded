"""An operating system's version is written as TOSCA wants it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.production.os_version import render_version

TOSCA_VERSION = re.compile(r"[0-9]+\.[0-9]+(\.[0-9]+)?")


@pytest.mark.parametrize(
    ("written", "version"),
    [
        ("12", "12.0"),
        ("10", "10.0"),
        ("22.04", "22.04"),
        ("22.04.3", "22.04.3"),
        ("22.04 LTS", "22.04"),
        ("Ubuntu 22.04.3 LTS", "22.04.3"),
        ("v11", "11.0"),
        ("bookworm", ""),
        ("", ""),
    ],
)
def test_a_version_gets_two_numbers_at_least(written: str, version: str) -> None:
    assert render_version(written) == version


@given(st.text())
def test_whatever_is_written_a_tosca_version_or_nothing_comes_out(written: str) -> None:
    version = render_version(written)
    assert version == "" or TOSCA_VERSION.fullmatch(version)
