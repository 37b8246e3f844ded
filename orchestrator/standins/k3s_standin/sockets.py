"""Sockets beside the API's: systemd's, the ports that a node holds, and the machine's addresses."""

from __future__ import annotations

import contextlib
import os
import socket

from k3s_standin.machine import is_machine
from k3s_standin.process import FatalError


def notify(state: str) -> None:
    """Tell systemd."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.send(state.encode())


def local_addresses() -> list[str]:
    """IPv4 addresses of this machine, the one towards the default route first."""
    found: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))
        found.append(probe.getsockname()[0])
    with contextlib.suppress(OSError):
        found += [str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]
    return list(dict.fromkeys(address for address in found if not address.startswith("127."))) or ["127.0.0.1"]


def hold_ports(ports: tuple[int, ...]) -> list[socket.socket]:
    """Listen where kubelet and etcd listen, on a machine of its own; nobody is answered there."""
    held: list[socket.socket] = []
    for port in ports if is_machine() else ():
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("0.0.0.0", port))  # noqa: S104
        except OSError as reason:
            raise FatalError(f"listen tcp 0.0.0.0:{port}: bind: {(reason.strerror or '').lower()}") from reason
        listening.listen()
        held.append(listening)
    return held
