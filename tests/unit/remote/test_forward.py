"""Connections through OpenSSH's own server to what only the machine reaches."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from orchestrator.errors import RemoteError
from orchestrator.remote.forward import forwarded
from orchestrator.remote.keys import generate_key
from orchestrator.remote.target import SshTarget
from tests.unit.remote.openssh_server import openssh_server, write_key

LARGE = bytes(range(256)) * 8192


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(LARGE)))
        self.end_headers()
        self.wfile.write(LARGE)

    def log_message(self, *_arguments: object) -> None:
        """Nothing is told."""


@pytest.fixture
def inner() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[SshTarget]:
    with openssh_server(tmp_path / "gate", write_key(tmp_path / "key")) as server:
        yield server.target(tmp_path / "key")


def read(port: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


def test_several_connections_one_after_the_other_and_at_once(gate: SshTarget, inner: int) -> None:
    with forwarded(gate, "127.0.0.1", inner, 10) as port:
        assert read(port) == LARGE
        found: list[bytes] = []
        threads = [threading.Thread(target=lambda: found.append(read(port))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert found == [LARGE] * 4
    with pytest.raises(OSError, match="refused"):
        read(port)


def test_where_nothing_listens_the_connection_ends(gate: SshTarget, inner: int) -> None:
    with forwarded(gate, "127.0.0.1", 1, 10) as port, pytest.raises((OSError, http.client.HTTPException)):
        read(port)
    with forwarded(gate, "127.0.0.1", inner, 10) as port:
        assert read(port) == LARGE


def test_a_machine_that_is_not_the_one_is_refused(gate: SshTarget, inner: int) -> None:
    other = SshTarget(gate.host, gate.port, gate.user, gate.key_file, generate_key()[1])
    with pytest.raises(RemoteError, match="another host key"), forwarded(other, "127.0.0.1", inner, 10):
        pass
