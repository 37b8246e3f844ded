"""A node's connection to the servers of its cluster."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from k3s_standin.machine import faults
from k3s_standin.process import FatalError, log
from k3s_standin.tokens import parse_token


class RefusedError(Exception):
    """The server did not let this node in, or cannot be reached yet."""


class Supervisor:
    """A connection to a server, kept open between heartbeats; another server is tried when one does not answer."""

    def __init__(self, url: str, token: str, *, user: str = "", others: list[str] | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise FatalError(f"invalid server URL {url}: it must begin with https://")
        self._servers = list(dict.fromkeys([f"{parts.hostname}:{parts.port or 443}", *(others or [])]))
        self._hash, told, password = parse_token(token)
        self._authorization = "Basic " + base64.b64encode(f"{user or told}:{password}".encode()).decode()
        self._connection: http.client.HTTPSConnection | None = None

    @property
    def url(self) -> str:
        """The server that is spoken to."""
        return f"https://{self._servers[0]}"

    def learn(self, servers: list[str]) -> None:
        """Note further servers."""
        self._servers = list(dict.fromkeys([self._servers[0], *servers, *self._servers]))

    def turn(self) -> None:
        """Try the next server first."""
        self._servers = [*self._servers[1:], self._servers[0]]

    def connect(self) -> None:
        """Check the CA against the token, then the token against the server."""
        if faults().get("fail_join"):
            raise RefusedError(str(faults()["fail_join"]))
        host, _, port = self._servers[0].rpartition(":")
        blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        blind.check_hostname = False
        blind.verify_mode = ssl.CERT_NONE
        first_look = http.client.HTTPSConnection(host, int(port), timeout=10, context=blind)
        try:
            first_look.request("GET", "/cacerts")
            ca = first_look.getresponse().read().decode()
        except (OSError, http.client.HTTPException) as reason:
            raise RefusedError(f'failed to get CA certs: Get "{self.url}/cacerts": {reason}') from reason
        finally:
            first_look.close()
        found = hashlib.sha256(ca.encode()).hexdigest()
        if self._hash and self._hash != found:
            raise RefusedError(f"token CA hash does not match the Cluster CA certificate hash: {self._hash} != {found}")
        if not self._hash:
            log(
                "warning",
                "Cluster CA certificate is not trusted by the host CA bundle, but the token does not include a CA "
                "hash. Use the full token from the server's node-token file to enable Cluster CA validation.",
            )
        context = ssl.create_default_context(cadata=ca)
        self._connection = http.client.HTTPSConnection(host, int(port), timeout=10, context=context)
        self.read("/v1-k3s/config")

    def read(self, path: str) -> str:
        """What the server has at ``path``; raises RefusedError if it does not give it."""
        code, text = self.call("GET", path)
        if code == 401:
            raise RefusedError(f"{self.url}{path}: 401 Unauthorized: the token is not the server's")
        if code != 200:
            raise RefusedError(f"{self.url}{path}: {code} {text}")
        return text

    def call(self, method: str, path: str, headers: dict[str, str] | None = None, body: str = "") -> tuple[int, str]:
        """One request; raises RefusedError when the server does not answer."""
        if self._connection is None:
            raise RefusedError("not connected")
        try:
            self._connection.request(method, path, body, {"Authorization": self._authorization, **(headers or {})})
            answer = self._connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException) as reason:
            self._connection.close()
            raise RefusedError(f"{self.url}{path}: {reason!r}") from reason

    def join(self, facts: dict[str, Any], password: str, *, register: bool) -> dict[str, Any]:
        """Ask to be let in, or say that this node lives."""
        headers = {"K3s-Node-Name": facts["name"], "K3s-Node-Password": password, "K3s-Node-IP": facts["address"]}
        body = json.dumps({**facts, "register": register})
        code, text = self.call("POST", "/v1-k3s/serving-kubelet.crt", headers, body)
        if code == 403:
            raise RefusedError(text)
        if code != 200:
            raise RefusedError(f"{self.url}/v1-k3s/serving-kubelet.crt: {code} {text}")
        answer: dict[str, Any] = json.loads(text)
        return answer


def known_servers(data: Path) -> list[str]:
    """Servers that this agent has heard of, so that it finds another when its own is gone."""
    path = data / "agent" / "etc" / "k3s-agent-load-balancer.json"
    try:
        return [str(server) for server in json.loads(path.read_text())["ServerAddresses"]]
    except (OSError, ValueError, KeyError):
        return []
