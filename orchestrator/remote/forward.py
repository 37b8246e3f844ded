"""Carries connections to a port of this computer over SSH to a port that only a machine reaches."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import paramiko

from orchestrator.remote.connection import connected
from orchestrator.remote.target import SshTarget

_CHUNK = 65536
_WAITING = 5


@contextmanager
def forwarded(target: SshTarget, host: str, port: int, timeout: float) -> Iterator[int]:
    """The port on 127.0.0.1 that leads to ``host`` and ``port`` as the machine sees them, for the time of the block.

    Args:
        target: The machine.
        host: Address, from there.
        port: Port there.
        timeout: Seconds for each step of connecting.

    Raises:
        RemoteError: If the machine cannot be reached.
    """
    with connected(target, timeout) as transport, socket.create_server(("127.0.0.1", 0), backlog=_WAITING) as server:
        Thread(target=_accept, args=(server, transport, (host, port), timeout), name="forward", daemon=True).start()
        try:
            yield server.getsockname()[1]
        finally:
            # Closing alone does not wake who waits for a connection.
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)


def _accept(server: socket.socket, transport: paramiko.Transport, place: tuple[str, int], timeout: float) -> None:
    while True:
        try:
            connection, source = server.accept()
        except OSError:
            return
        try:
            channel = transport.open_channel("direct-tcpip", place, source, timeout=timeout)
        except (OSError, EOFError, paramiko.SSHException):
            # Whoever connected finds the connection closed, as if nothing listened over there.
            connection.close()
            continue
        for reader, writer in ((connection, channel), (channel, connection)):
            Thread(target=_carry, args=(reader, writer), name="forward", daemon=True).start()


def _carry(reader: socket.socket | paramiko.Channel, writer: socket.socket | paramiko.Channel) -> None:
    """Everything that comes from one side to the other; at its end both are closed."""
    with contextlib.suppress(OSError, EOFError):
        while data := reader.recv(_CHUNK):
            writer.sendall(data)
    for side in (reader, writer):
        with contextlib.suppress(OSError, EOFError):
            side.close()
