"""What objects carry beside their content: identifiers, owners."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from k3s_standin.machine import now


def new_uid() -> str:
    """A random identifier in the usual form."""
    digits = secrets.token_hex(16)
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def metadata(name: str) -> dict[str, str]:
    """Metadata of an object of kube-system."""
    uid = hashlib.sha256(name.encode()).hexdigest()[:32]
    return {"name": name, "namespace": "kube-system", "uid": uid, "creationTimestamp": now()}


def owner_reference(owner: dict[str, Any]) -> dict[str, Any]:
    """What an owned object says of its owner."""
    name, uid = owner["metadata"]["name"], owner["metadata"]["uid"]
    return {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": name, "uid": uid, "controller": True}


def owns(owner: dict[str, Any], value: dict[str, Any]) -> bool:
    """Whether an object says that another is its owner."""
    return any(o["uid"] == owner["metadata"]["uid"] for o in value["metadata"].get("ownerReferences", []))
