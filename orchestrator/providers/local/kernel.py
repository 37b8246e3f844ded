"""Whether this computer's kernel has what a real Kubernetes node in a container needs."""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import ProviderError

_CONTROLLERS = ("cpu", "memory", "pids")


def missing_features(root: Path = Path("/")) -> list[str]:
    """Names of what is missing, each with what it is for; empty if nothing is.

    Args:
        root: Folder that ``/proc`` and ``/sys`` are looked up in.
    """
    missing = []
    filesystems = (root / "proc/filesystems").read_text(encoding="ascii").split()
    if "overlay" not in filesystems:
        missing.append("overlay (layers of images; `modprobe overlay`)")
    if not (root / "proc/sys/net/bridge/bridge-nf-call-iptables").exists():
        missing.append("br_netfilter (services; `modprobe br_netfilter`)")
    if not (root / "proc/sys/net/netfilter/nf_conntrack_max").exists():
        missing.append("nf_conntrack (services; `modprobe nf_conntrack`)")
    present = _controllers(root)
    missing += [f"{name} cgroup (limits of pods)" for name in _CONTROLLERS if name not in present]
    return missing


def check_kernel(root: Path = Path("/")) -> None:
    """Raise if something is missing.

    Raises:
        ProviderError: Names everything that is missing.
    """
    missing = missing_features(root)
    if missing:
        raise ProviderError(
            "The kernel lacks what a Kubernetes node needs.",
            detail=f"Missing: {', '.join(missing)}. Containers share this computer's kernel.",
            resolution="Load what can be loaded, or rehearse with the stand-in for K3s (the default).",
        )


def _controllers(root: Path) -> set[str]:
    """Control groups that the kernel offers, in either version of the hierarchy."""
    unified = root / "sys/fs/cgroup/cgroup.controllers"
    if unified.is_file():
        return set(unified.read_text(encoding="ascii").split())
    rows = [line.split() for line in (root / "proc/cgroups").read_text(encoding="ascii").splitlines()]
    return {row[0] for row in rows if len(row) == 4 and row[3] == "1"}
