"""What a container needs to be a machine: rights, limits, keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from docker.types import Mount

from orchestrator.images.base_image import LOGIN_USER
from orchestrator.providers.base import MachineRequest
from orchestrator.providers.local.firmware import KUBERNETES_NODE

CAPABILITIES = (
    # systemd mounts file systems and makes control groups; the firmware mounts files over what the kernel shows.
    "SYS_ADMIN",
    # A cluster node makes network interfaces and packet filter rules, in the network namespace of the machine alone.
    "NET_ADMIN",
)
"""Rights beyond the engine's defaults. Reboot needs none more: systemd ends and the engine starts the machine again."""

HOST_KEY_FILE = "/etc/ssh/ssh_host_ed25519_key"
AUTHORIZED_KEYS_FILE = f"/home/{LOGIN_USER}/.ssh/authorized_keys"
MODES = {HOST_KEY_FILE: 0o600, AUTHORIZED_KEYS_FILE: 0o644}
"""Permission bits that differ from the usual."""

MINIMUM_MEMORY_MB = 256
"""Less than this does not start systemd and a play reliably."""


def container_settings(request: MachineRequest, engine: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for making the container.

    Args:
        request: The machine that is wanted; its size is that of production and here only an upper bound.
        engine: What the engine says of itself and its computer.
    """
    return {
        "hostname": request.hostname,
        "stop_signal": "SIGRTMIN+3",
        "environment": {"container": "docker"},
        **(_node_rights() if request.settings.get(KUBERNETES_NODE) else _rights()),
        "cgroupns": "private",
        "tmpfs": {"/run": "exec,mode=755", "/run/lock": ""},
        # A machine that ends by itself reboots; one that was stopped from outside stays as it is.
        "restart_policy": {"Name": "unless-stopped"},
        **_limits(request, engine),
    }


def _rights() -> dict[str, Any]:
    # The engine's AppArmor profile forbids mounting, whatever the capabilities say.
    return {"cap_add": list(CAPABILITIES), "security_opt": ["apparmor=unconfined"]}


def _node_rights() -> dict[str, Any]:
    """What a real Kubernetes node needs to run containers of its own; still not a privileged container."""
    modules = Path("/lib/modules")
    return {
        "cap_add": ["ALL"],
        # Cannot be had where the engine itself does not have it, and no node needs it.
        "cap_drop": ["SYS_RESOURCE"],
        # System calls for mounts and name spaces. (The first program makes /proc/sys writable.)
        "security_opt": ["apparmor=unconfined", "seccomp=unconfined"],
        "devices": ["/dev/kmsg:/dev/kmsg:rwm"] if Path("/dev/kmsg").exists() else [],
        # Layers of images cannot lie on layers of images.
        "volumes": ["/var/lib/rancher", "/var/lib/kubelet"],
        "mounts": [Mount(str(modules), str(modules), type="bind", read_only=True)] if modules.is_dir() else [],
    }


def _limits(request: MachineRequest, engine: Mapping[str, Any]) -> dict[str, Any]:
    """Limits that the engine can enforce and its computer can hold."""
    limits: dict[str, Any] = {}
    if engine.get("MemoryLimit") and engine.get("MemTotal"):
        wanted = max(request.memory_mb, MINIMUM_MEMORY_MB) * 1024**2
        limits["mem_limit"] = min(wanted, int(engine["MemTotal"]))
    if engine.get("CpuCfsQuota") and engine.get("NCPU"):
        limits["nano_cpus"] = min(max(request.cpus, 1), int(engine["NCPU"])) * 10**9
    return limits


def generate_host_key() -> tuple[bytes, str]:
    """A new host key: the private half as a file of OpenSSH's, the public half as ``ssh-ed25519 AAAA…``."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return private, public.decode()


def ssh_files(private_host_key: bytes, public_host_key: str, authorized_key: str) -> dict[str, bytes]:
    """Absolute path to content of the files that let the right person in and prove which machine it is."""
    return {
        HOST_KEY_FILE: private_host_key,
        f"{HOST_KEY_FILE}.pub": f"{public_host_key}\n".encode(),
        AUTHORIZED_KEYS_FILE: f"{authorized_key.strip()}\n".encode(),
    }
