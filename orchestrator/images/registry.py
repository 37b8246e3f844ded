"""Asks whether an image can be had from an engine here or from a registry, within a bound and starting nothing."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from orchestrator.clients.engine_daemon import OwnEngine

_ACCEPT = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Reference:
    """An image reference, taken apart: registry host, name, and tag or digest."""

    registry: str
    name: str
    version: str

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Take ``[host[:port]/]name[:tag][@digest]`` apart, filling in what is left out as container engines do."""
        rest, _, digest = text.partition("@")
        first, slash, after = rest.partition("/")
        if slash and ("." in first or ":" in first or first == "localhost"):
            registry, rest = first, after
        else:
            registry = "registry-1.docker.io"
        head, colon, tag = rest.rpartition(":")
        if not colon or "/" in tag:
            head, tag = rest, "latest"
        if registry == "registry-1.docker.io" and "/" not in head:
            head = f"library/{head}"
        return cls(registry, head, digest or tag)

    @property
    def manifest_url(self) -> str:
        """Where the registry describes it; plain HTTP only on this machine."""
        host = self.registry.partition(":")[0]
        scheme = "http" if host in ("localhost", "127.0.0.1") else "https"
        return f"{scheme}://{self.registry}/v2/{quote(self.name)}/manifests/{quote(self.version, safe=':')}"


def image_available(reference: str, timeout: float = 5.0) -> bool:
    """Whether an engine on this machine has the image, or a registry that answers within ``timeout`` seconds."""
    answers: list[bool] = []

    def ask() -> None:
        answers.append(_engine_has(reference, timeout) or _registry_has(reference, timeout))

    # Resolving a name cannot be given a bound of its own.
    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout)
    return bool(answers) and answers[0]


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a socket in the file system."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _engine_has(reference: str, timeout: float) -> bool:
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    usual = ("unix:///var/run/docker.sock", f"unix://{runtime}/docker.sock", OwnEngine().address)
    chosen = os.environ.get("DOCKER_HOST", "")
    for address in (chosen,) if chosen else usual:
        connection = _UnixConnection(address.removeprefix("unix://"), timeout)
        try:
            connection.request("GET", f"/images/{quote(reference)}/json")
            if connection.getresponse().status == 200:
                return True
        except (OSError, http.client.HTTPException):
            continue
        finally:
            connection.close()
    return False


def _registry_has(text: str, timeout: float) -> bool:
    try:
        reference = Reference.parse(text)
        headers = {"Accept": _ACCEPT}
        status, challenge = _head(reference.manifest_url, headers, timeout)
        if status == 401 and challenge:
            login = _stored_login(reference.registry)
            authorization = _answer_challenge(challenge, reference, login, timeout)
            if authorization:
                status, _ = _head(reference.manifest_url, {**headers, "Authorization": authorization}, timeout)
    except (OSError, ValueError, http.client.HTTPException):
        return False
    return status == 200


def _head(url: str, headers: dict[str, str], timeout: float) -> tuple[int, str]:
    request = urllib.request.Request(url, headers=headers, method="HEAD")  # noqa: S310 - the scheme is HTTP(S)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310
            return int(response.status), ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get("WWW-Authenticate", "")


def _answer_challenge(challenge: str, reference: Reference, login: str, timeout: float) -> str:
    """The header value that a registry asks for: a token from its token service, or the stored login itself."""
    scheme, _, rest = challenge.partition(" ")
    if scheme.lower() == "basic":
        return f"Basic {login}" if login else ""
    fields = dict(_CHALLENGE.findall(rest))
    realm = fields.get("realm", "")
    if scheme.lower() != "bearer" or urlsplit(realm).scheme != "https":
        return ""
    wanted = {"scope": f"repository:{reference.name}:pull"}
    if "service" in fields:
        wanted["service"] = fields["service"]
    headers = {"Authorization": f"Basic {login}"} if login else {}
    request = urllib.request.Request(f"{realm}?{urlencode(wanted)}", headers=headers)  # noqa: S310 - checked above
    with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310
        answer: dict[str, Any] = json.loads(response.read(1024 * 1024))
    token = answer.get("token") or answer.get("access_token") or ""
    return f"Bearer {token}" if token else ""


def _stored_login(registry: str) -> str:
    """The login that the container client keeps for a registry, as ``Basic`` wants it; empty if there is none."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        document = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    names = {registry, f"https://{registry}"}
    if registry == "registry-1.docker.io":
        names.add("https://index.docker.io/v1/")
    for name, entry in (document.get("auths") or {}).items():
        login = str(entry.get("auth") or "")
        if name.rstrip("/") in {n.rstrip("/") for n in names} and base64.b64decode(login):
            return login
    return ""
