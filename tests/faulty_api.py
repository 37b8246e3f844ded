"""A stand-in for the troubles of a cloud: a proxy before a server that refuses, breaks off and alters as it is told.

What is not to fail goes through unchanged. It knows operations by the ``Action`` of a request, as EC2 and STS have it,
or else by its method and path, without the version and with a star for each identifier: ``PUT /networks/*/tags``.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Lock
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

from tests.http_server import serving

_VERSION = re.compile(r"^/v\d[\d.]*(?=/)")
_IDENTIFIER = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
_KEPT = {"connection", "content-length", "transfer-encoding"}
"""Headers that are a connection's own."""

_ERROR = """<?xml version="1.0" encoding="UTF-8"?>
<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors><RequestID>1</RequestID></Response>"""


@dataclass
class Fault:
    """A trouble that operations meet.

    Attributes:
        operation: Which one; ``*`` for all.
        skip: How many go through first.
        times: How many meet it.
        answer: Status, body and headers to answer with, and nothing is carried out; ``None`` to carry it out.
        cut: Whether the connection ends in place of an answer.
        change: What becomes of the body of the answer.
    """

    operation: str
    skip: int = 0
    times: int = 1
    answer: tuple[int, bytes, dict[str, str]] | None = None
    cut: bool = False
    change: Callable[[bytes], bytes] = lambda body: body


@dataclass
class FaultyApi:
    """The proxy as tests see it.

    Attributes:
        url: Where clients find it.
        calls: Operations that arrived, in order.
    """

    url: str = ""
    calls: list[str] = field(default_factory=list)
    _faults: list[Fault] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def refuse(
        self,
        operation: str,
        code: str,
        message: str = "as the test wants it",
        *,
        status: int = 400,
        times: int = 1,
        skip: int = 0,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Answer with an error of EC2."""
        body = _ERROR.format(code=code, message=message).encode()
        self._faults.append(Fault(operation, skip, times, (status, body, headers or {})))

    def answer(
        self,
        operation: str,
        status: int,
        content: object = None,
        *,
        times: int = 1,
        skip: int = 0,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Answer with JSON."""
        told = {"Content-Type": "application/json", **(headers or {})}
        body = json.dumps({} if content is None else content).encode()
        self._faults.append(Fault(operation, skip, times, (status, body, told)))

    def cut_after(self, operation: str, *, times: int = 1, skip: int = 0) -> None:
        """Carry it out, and end the connection without an answer."""
        self._faults.append(Fault(operation, skip, times, cut=True))

    def change(self, operation: str, change: Callable[[bytes], bytes], *, times: int = 1, skip: int = 0) -> None:
        """Carry it out, and let the answer be another one."""
        self._faults.append(Fault(operation, skip, times, change=change))

    def mend(self) -> None:
        """No trouble any longer."""
        with self._lock:
            self._faults.clear()

    def count(self) -> Counter[str]:
        """How often each operation arrived."""
        return Counter(self.calls)

    def meet(self, operation: str) -> Fault | None:
        """What the operation meets that arrives now."""
        with self._lock:
            self.calls.append(operation)
            for fault in self._faults:
                if fault.operation not in {operation, "*"} or fault.times == 0:
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return None


def operation_of(method: str, path: str) -> str:
    """What a request without an action is for."""
    return f"{method} {_IDENTIFIER.sub('*', _VERSION.sub('', urlsplit(path).path))}"


@contextmanager
def faulty_api(behind: str, certificate: tuple[Path, Path] | None = None) -> Iterator[FaultyApi]:
    """Runs one on a free port of loopback, in front of the server at ``behind``; with a certificate over TLS."""
    api = FaultyApi()
    address = urlsplit(behind).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version: ClassVar[str] = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            operation = parse_qs(body.decode(errors="replace")).get("Action", [""])[0]
            operation = operation or self.headers.get("X-Amz-Target", "").rpartition(".")[2]
            operation = operation or operation_of(self.command, self.path)
            fault = api.meet(operation)
            if fault is not None and fault.answer is not None:
                self._send(*fault.answer)
                return
            try:
                status, content, headers = self._forward(body)
            except OSError:
                self._end()
                return
            if fault is not None and fault.cut:
                self._end()
                return
            self._send(status, fault.change(content) if fault is not None else content, headers)

        def _end(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        do_GET = do_PUT = do_PATCH = do_DELETE = do_POST  # noqa: N815 - as the class below looks for them

        def _forward(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
            connection = http.client.HTTPConnection(address, timeout=60)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _KEPT}
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            content = response.read()
            connection.close()
            told = {k: v for k, v in response.headers.items() if k.lower() not in _KEPT | {"date", "server"}}
            return response.status, content, told

        def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in ({"Content-Type": "text/xml"} | headers).items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Quiet."""

    with serving(Handler, *(certificate or ())) as api.url:
        yield api
