"""What cloud-init is told: a user, one key, one host key; YAML that says the same to any reader."""

from __future__ import annotations

import dataclasses
import re

import yaml

from orchestrator.providers.base import DeploymentTag, MachineRequest
from orchestrator.providers.cloud_init import USER, public_host_key, user_data
from orchestrator.remote.keys import generate_key

PRIVATE, PUBLIC = generate_key()
REQUEST = MachineRequest(
    DeploymentTag("shop", "0123456789abcdef"),
    "cloud[0]",
    "token",
    "cloud-0",
    "amd64",
    2,
    4096,
    "ssh-ed25519 AAAA of: 'the' \"deployment\"\n",
    host_key=PRIVATE,
)


def test_one_user_logs_in_with_one_key_and_may_do_everything() -> None:
    document = yaml.safe_load(user_data(REQUEST))
    assert [(u["name"], u["sudo"], u["lock_passwd"]) for u in document["users"]] == [
        (USER, "ALL=(ALL) NOPASSWD:ALL", True)
    ]
    assert document["users"][0]["ssh_authorized_keys"] == ["ssh-ed25519 AAAA of: 'the' \"deployment\""]
    assert (document["hostname"], document["ssh_pwauth"], document["disable_root"]) == ("cloud-0", False, True)
    assert not any(document[f"package_{what}"] for what in ("update", "upgrade", "reboot_if_required"))


def test_the_machine_has_the_host_key_that_is_given_and_no_other() -> None:
    text = user_data(REQUEST)
    assert text.startswith("#cloud-config\n")
    document = yaml.safe_load(text)
    assert document["ssh_deletekeys"] is True
    assert document["ssh_keys"] == {"ed25519_private": PRIVATE, "ed25519_public": PUBLIC}
    assert all(re.fullmatch("(rsa|ecdsa|ed25519)_(public|private|certificate)", key) for key in document["ssh_keys"])
    assert public_host_key(REQUEST) == PUBLIC


def test_the_private_half_shows_nowhere_else_and_fits() -> None:
    assert "PRIVATE KEY" not in repr(REQUEST)
    assert len(user_data(REQUEST)) < 4096, "clouds take 16 KiB at most, some of them as base64"
    assert "ssh_keys" not in yaml.safe_load(user_data(dataclasses.replace(REQUEST, host_key="")))
