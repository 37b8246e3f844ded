"""The way to a machine that is reached through another one, as that one is recorded now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import RemoteError
from orchestrator.executors.login import host_key_attributes, login_to
from orchestrator.state.model import InstanceRecord
from tests.secrets_in_memory import memory_secrets

KEY = Path("of the deployment")
FRONT = InstanceRecord(
    "cloud[0]",
    "cloud",
    "T",
    attributes={"host": "198.51.100.4", "port": 22, "user": "deploy", "host_key": "ssh-ed25519 FRONT"},
)
BEHIND = InstanceRecord(
    "cloud[1]",
    "cloud",
    "T",
    inputs={"requirements.front": ["cloud[0]"]},
    attributes={
        "host": "10.0.0.7",
        "port": 22,
        "user": "deploy",
        "host_key": "ssh-ed25519 BEHIND",
        "jump_host_keys": ["ssh-ed25519 OLD"],
    },
)


def test_the_way_is_the_present_front_end_with_its_present_key() -> None:
    moved = replace(FRONT, attributes={**FRONT.attributes, "host": "198.51.100.9", "host_key": "ssh-ed25519 NEW"})
    for front in (FRONT, moved):
        target = login_to(BEHIND, memory_secrets({}), KEY, {"cloud[0]": front, "cloud[1]": BEHIND})
        assert (target.host, target.host_key, target.key_file) == ("10.0.0.7", "ssh-ed25519 BEHIND", KEY)
        assert target.jump is not None
        assert (target.jump.host, target.jump.host_key) == (front.attributes["host"], front.attributes["host_key"])
        assert (target.jump.user, target.jump.key_file, target.jump.jump) == ("deploy", KEY, None)
        assert host_key_attributes(target, with_way=False) == {"host_key": "ssh-ed25519 BEHIND"}


@pytest.mark.parametrize("known", [{}, {"cloud[0]": replace(FRONT, attributes={})}])
def test_a_front_end_that_is_gone_is_said(known: dict[str, InstanceRecord]) -> None:
    with pytest.raises(RemoteError, match=r"cloud\[1\] .* is reached through cloud\[0\], which is gone") as caught:
        login_to(BEHIND, memory_secrets({}), KEY, known)
    assert "makes cloud[0] anew" in caught.value.resolution
