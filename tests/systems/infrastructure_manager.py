"""The real Infrastructure Manager as a process, the files it fetches, and a client for its REST interface."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

UPSTREAM = "https://raw.githubusercontent.com"
START_TIMEOUT = 60.0
STOP_TIMEOUT = 30.0
CONFIGURE_TIMEOUT = 60.0
CLEAR_TIMEOUT = 20.0

_AUTHORISATION = "type = InfrastructureManager; username = tests; password = tests\\nid = dummy; type = Dummy"
_PLAY = re.compile(rf"{re.escape(UPSTREAM)}(/\S+/artifacts/[\w./-]+)")
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class FileServer(ThreadingHTTPServer):
    """Answers on loopback for the host that templates fetch from: types for real, plays as empty ones.

    Args:
        types: Text of the file of types.
        known: Texts that name every play there is; one that none of them names is not found.
    """

    daemon_threads = True

    def __init__(self, types: str, known: tuple[str, ...]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.plays = {path for text in (types, *known) for path in _PLAY.findall(text)}
        self.types = self.local(types)
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def local(self, text: str) -> str:
        """The text with everything upstream fetched from here."""
        return text.replace(UPSTREAM, self.url)


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path.endswith("/custom_types.yaml"):
            self._answer(200, self.server.types)
        elif self.path in self.server.plays:
            self._answer(200, "---\n- tasks: []\n")
        else:
            self._answer(404, "not found")

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by the base class
        """Keep quiet."""


@contextmanager
def file_server(types: str, known: tuple[str, ...]) -> Iterator[FileServer]:
    """A file server that ends with the block."""
    with FileServer(types, known) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Answer:
    """Status and body of a response."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.text)


@dataclass(frozen=True)
class InfrastructureManager:
    """Client of a running service."""

    url: str
    files: FileServer

    def ask(self, method: str, path: str, body: str = "", timeout: float = 60) -> Answer:
        """One request; ``path`` may be the full address that an answer gave."""
        request = urllib.request.Request(  # noqa: S310 - always loopback
            path if path.startswith(self.url) else self.url + path,
            data=body.encode() or None,
            method=method,
            headers={"Authorization": _AUTHORISATION, "Content-Type": "text/yaml", "Accept": "application/json"},
        )
        try:
            with _DIRECT.open(request, timeout=timeout) as response:
                return Answer(response.status, response.read().decode())
        except urllib.error.HTTPError as refusal:
            with refusal:
                return Answer(refusal.code, refusal.read().decode())

    def create(self, template: str) -> Answer:
        """Post a template, with what it fetches upstream fetched from loopback."""
        return self.ask("POST", "/infrastructures", self.files.local(template))

    def wait_for_state(self, infrastructure: str) -> str:
        """The state it comes to rest in."""
        ends = time.monotonic() + CONFIGURE_TIMEOUT
        while True:
            answer = self.ask("GET", f"{infrastructure}/state")
            assert answer.status == 200, answer.text
            state = answer.json["state"]["state"]
            if state not in ("pending", "running") or time.monotonic() > ends:
                return str(state)
            time.sleep(0.1)

    def listed(self) -> list[str]:
        """Addresses of all infrastructures there are."""
        return [entry["uri"] for entry in self.ask("GET", "/infrastructures").json["uri-list"]]

    def clear(self) -> list[str]:
        """Delete all there is; returns what stays.

        A deleted infrastructure may come back once: the thread that brought it up saves it as its last act.
        """
        ends = time.monotonic() + CLEAR_TIMEOUT
        while (left := self.listed()) and time.monotonic() < ends:
            for infrastructure in left:
                self.ask("DELETE", infrastructure)
            time.sleep(0.1)
        return left


@contextmanager
def running(python: Path, folder: Path, files: FileServer) -> Iterator[InfrastructureManager]:
    """The service as a process that ends with the block, whatever happens in it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "output.txt"
    environment = {
        **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
        "HOME": str(folder),
        "NO_PROXY": "127.0.0.1",
    }
    program = Path(__file__).with_name("im_server.py")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, program, folder, str(port)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        manager = InfrastructureManager(f"http://127.0.0.1:{port}", files)
        _wait_until_it_answers(manager, process, log)
        yield manager
    finally:
        _stop(process)


def _wait_until_it_answers(manager: InfrastructureManager, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + START_TIMEOUT
    while time.monotonic() < ends and process.poll() is None:
        with contextlib.suppress(OSError):
            if manager.ask("GET", "/version", timeout=2).status == 200:
                return
        time.sleep(0.1)
    raise AssertionError(f"The Infrastructure Manager did not start:\n{log.read_text(errors='replace')}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process that was started, and what is left of its session."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_TIMEOUT)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
