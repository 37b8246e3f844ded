"""What a machine of a cloud does at its first start, for cloud-init: who logs in, and which host key it shows."""

from __future__ import annotations

import json
from typing import Any

from orchestrator.providers.base import MachineRequest

USER = "deploy"
"""Who logs in to machines of clouds; may do everything by ``sudo``, without a password."""


def user_data(request: MachineRequest) -> str:
    """The user data of a machine. It holds a private key: it goes into the call that makes the machine only."""
    document: dict[str, Any] = {
        "hostname": request.hostname,
        "preserve_hostname": False,
        "users": [
            {
                "name": USER,
                "gecos": "continuum-deploy",
                "shell": "/bin/bash",
                "lock_passwd": True,
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "ssh_authorized_keys": [request.authorized_key.strip()],
            }
        ],
        "disable_root": True,
        "ssh_pwauth": False,
        "package_update": False,
        "package_upgrade": False,
        "package_reboot_if_required": False,
    }
    if request.host_key:
        # The machine then has this key only: no other kind that nobody knows could be shown in its place.
        document["ssh_deletekeys"] = True
        document["ssh_keys"] = {
            "ed25519_private": request.host_key,
            "ed25519_public": public_host_key(request),
        }
    # JSON is YAML whatever is in it.
    return "#cloud-config\n" + json.dumps(document, indent=1) + "\n"


def public_host_key(request: MachineRequest) -> str:
    """The public half of the host key that is asked for, ``ssh-ed25519 AAAA…``; what tags may show."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - takes long, and a look does not need it

    key = serialization.load_ssh_private_key(request.host_key.encode(), password=None).public_key()
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
