"""What servers and agents do alike for the node of their own machine."""

from __future__ import annotations

import secrets
from pathlib import Path

from k3s_standin.images import import_images
from k3s_standin.machine import faults, is_machine, rooted, write_private
from k3s_standin.options import first
from k3s_standin.process import STOP, FatalError
from k3s_standin.traces import Traces

KUBELET_PORT = 10250


def apply_start_faults() -> None:
    """Wait or fail, if that is switched on."""
    switched = faults()
    STOP.wait(float(switched.get("start_delay", 0)))
    if switched.get("fail"):
        raise FatalError(str(switched["fail"]))


def node_password() -> str:
    """This node's own password, made at its first start."""
    path = rooted("/etc/rancher/node/password")
    if not path.is_file():
        write_private(path, secrets.token_hex(16) + "\n")
    return path.read_text().strip()


def prepare_node(data: Path, options: dict[str, list[str]]) -> None:
    """What the agent part does before its node is there."""
    import_images(data)
    if is_machine() and faults().get("traces", True):
        Traces(data, first(options, "flannel-backend", "vxlan")).make()


def keep_certificates(data: Path, certificates: dict[str, str]) -> None:
    """The kubelet's certificates that the server made."""
    for name, content in certificates.items():
        write_private(data / "agent" / name, content)
