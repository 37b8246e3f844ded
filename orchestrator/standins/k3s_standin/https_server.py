"""The TLS server: who asks, and for what."""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from k3s_standin.api import status_object
from k3s_standin.front import MISDIRECTED, Front
from k3s_standin.process import VERSION, log


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server
    timeout = 60

    def handle(self) -> None:
        """Shake hands in the connection's own thread, so that a silent client holds up nobody."""
        try:
            self.connection.settimeout(10)
            self.connection.do_handshake()
            self.connection.settimeout(self.timeout)
            super().handle()
        except (OSError, ValueError):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep the journal for what matters."""

    def _who(self) -> str:
        """Who asks: the name in a client certificate, the user of a right token, or nobody."""
        certificate = self.connection.getpeercert()
        if certificate:
            return next((v for pair in certificate["subject"] for k, v in pair if k == "commonName"), "")
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            user, _, password = base64.b64decode(value).decode(errors="replace").partition(":")
            right = secrets.compare_digest(password.encode(), self.server.front.password.encode())
            return user if right and user in {"node", "server"} else ""
        return ""

    def _answer(self, code: int, value: Any) -> None:
        body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if isinstance(value, str) else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _serve(self, method: str) -> None:
        path = urlsplit(self.path).path
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        front = self.server.front
        if method == "GET" and path in {"/cacerts", "/ping"}:
            self._answer(200, front.ca if path == "/cacerts" else "pong")
            return
        who = self._who()
        if not who:
            self._answer(401, status_object(401, "Unauthorized", "Unauthorized"))
        elif path.startswith("/v1-k3s/"):
            self._answer(*self._supervise(who, method, path, body))
        elif path in {"/readyz", "/livez", "/healthz"}:
            self._answer(*front.state_of_health())
        elif who in {"node", "server"} or who.startswith("system:node:"):
            self._answer(403, status_object(403, "Forbidden", f'User "{who}" cannot access {path}'))
        else:
            accept = self.headers.get("Accept", "")
            asked = {"what": "api", "method": method, "target": self.path, "accept": accept, "body": body}
            self._answer(*front.ask(asked))

    def _supervise(self, who: str, method: str, path: str, body: str) -> tuple[int, Any]:
        """What nodes and other servers ask for."""
        front = self.server.front
        if (method, path) == ("GET", "/v1-k3s/config"):
            return 200, {"ServerVersion": VERSION}
        if (method, path) == ("GET", "/v1-k3s/readyz"):
            return front.state_of_health()
        if (method, path) == ("POST", "/v1-k3s/serving-kubelet.crt"):
            name, password = self.headers.get("K3s-Node-Name", ""), self.headers.get("K3s-Node-Password", "")
            facts = json.loads(body)
            code, value = front.ask({"what": "join", "name": name, "password": password, "facts": facts})
            if code == 200 and facts.get("register"):
                value = {**value, "certificates": front.kubelet_certificates(name, facts["address"])}
            return code, value
        return self._serve_peer(method, path, body) if who == "server" else (403, "Forbidden")

    def _serve_peer(self, method: str, path: str, body: str) -> tuple[int, Any]:
        front = self.server.front
        if (method, path) == ("GET", "/v1-k3s/server-bootstrap"):
            return 200, front.bootstrap()
        if (method, path) == ("GET", "/v1-k3s/peer/status"):
            return 200, front.store.status
        if (method, path) == ("POST", "/v1-k3s/peer/state"):
            return (200, {}) if front.store.adopt(body) else (409, "this server has something newer")
        if (method, path) == ("POST", "/v1-k3s/peer/member"):
            return front.ask(json.loads(body))
        if (method, path) == ("POST", "/v1-k3s/peer/ask"):
            return front.reply(json.loads(body)) if front.decides() else (MISDIRECTED, "another server decides")
        return 404, "404 page not found"

    def do_GET(self) -> None:
        """Serve."""
        self._serve("GET")

    def do_POST(self) -> None:
        """Serve."""
        self._serve("POST")

    def do_PUT(self) -> None:
        """Serve."""
        self._serve("PUT")

    def do_PATCH(self) -> None:
        """Serve."""
        self._serve("PATCH")

    def do_DELETE(self) -> None:
        """Serve."""
        self._serve("DELETE")


class Server(ThreadingHTTPServer):
    """TLS with optional client certificates."""

    daemon_threads = True
    request_queue_size = 64
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext, front: Front) -> None:
        self._context = context
        self.front = front
        super().__init__(address, Handler)

    def get_request(self) -> tuple[Any, Any]:
        """Wrap the connection; the handshake comes later."""
        connection, address = super().get_request()
        return self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Say what went wrong in one line."""
        log("error", f"request of {client_address[0]} failed: {sys.exc_info()[1]!r}")
