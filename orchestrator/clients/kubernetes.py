"""Reads from a cluster's API with a kubeconfig's CA and client certificate."""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import os
import ssl
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from orchestrator.errors import DeployError
from orchestrator.topology.plain_yaml import load_plain


class KubernetesError(DeployError):
    """A cluster's API does not answer as it should, or its kubeconfig cannot be used."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            "A cluster's API does not answer.",
            detail=detail,
            resolution="See that the cluster's first machine runs and that its address can be reached from here.",
        )


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """How to reach a cluster: URL of its API, its CA, and an administrator's certificate and key, all as PEM text."""

    server: str
    ca: str
    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A node as the API tells: whether it is Ready, why not, version and architecture."""

    name: str
    ready: bool
    reason: str
    version: str
    architecture: str


def load_kubeconfig(path: Path) -> Kubeconfig:
    """Read the first cluster and user of a kubeconfig.

    Raises:
        KubernetesError: If the file is not there or not a kubeconfig with a client certificate.
    """
    try:
        loaded = load_plain(path.read_text(encoding="utf-8"))
        cluster, user = loaded["clusters"][0]["cluster"], loaded["users"][0]["user"]
        return Kubeconfig(
            cluster["server"],
            _decode(cluster["certificate-authority-data"]),
            _decode(user["client-certificate-data"]),
            _decode(user["client-key-data"]),
        )
    except FileNotFoundError as reason:
        raise KubernetesError(f"The kubeconfig {path} is not there.") from reason
    except (OSError, yaml.YAMLError, KeyError, IndexError, TypeError, ValueError, binascii.Error) as reason:
        raise KubernetesError(f"The kubeconfig {path} cannot be used: {reason!r}.") from reason


class KubernetesClient:
    """Verified TLS with the cluster's own CA only.

    Args:
        kubeconfig: Where and as whom.
        timeout: Seconds for one call, connecting included.
    """

    def __init__(self, kubeconfig: Kubeconfig, timeout: float) -> None:
        self._timeout = timeout
        parts = urlsplit(kubeconfig.server)
        self._host, self._port = parts.hostname or "", parts.port or 443
        self._server = kubeconfig.server
        try:
            self._context = ssl.create_default_context(cadata=kubeconfig.ca)
            _load_certificate(self._context, kubeconfig)
        except (ssl.SSLError, ValueError) as reason:
            raise KubernetesError(f"The certificates for {kubeconfig.server} cannot be used: {reason}.") from reason

    def read(self, path: str) -> tuple[int, str]:
        """GET ``path``; HTTP status and text.

        Raises:
            KubernetesError: If nothing answers in time, or with a certificate of somebody else.
        """
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._context)
        try:
            connection.request("GET", path, headers={"Accept": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except ssl.SSLError as reason:
            raise KubernetesError(
                f"{self._server} shows a certificate that its kubeconfig does not know: {reason}."
            ) from reason
        except (OSError, http.client.HTTPException) as reason:
            why = f"nothing within {self._timeout:.1f} s" if isinstance(reason, TimeoutError) else str(reason)
            raise KubernetesError(f"{self._server} does not answer: {why or type(reason).__name__}.") from reason
        finally:
            connection.close()

    def _read_well(self, path: str) -> str:
        status, text = self.read(path)
        if status != 200:
            raise KubernetesError(f"{self._server}{path} answers with HTTP status {status}: {text[:200]}")
        return text

    def read_nodes(self) -> tuple[ClusterNode, ...]:
        """Every node, once ``/readyz`` says that the API is ready; for one call a client.

        Raises:
            KubernetesError: If the API does not answer or is not ready.
        """
        started = time.monotonic()
        self._read_well("/readyz")
        self._timeout = max(0.5, self._timeout - (time.monotonic() - started))
        text = self._read_well("/api/v1/nodes")
        try:
            return tuple(_parse_node(item) for item in json.loads(text)["items"])
        except (ValueError, KeyError, TypeError) as reason:
            raise KubernetesError(
                f"{self._server} answers with something that is not a list of nodes: {reason!r}."
            ) from reason


def _parse_node(item: dict[str, Any]) -> ClusterNode:
    ready: dict[str, Any] = next((c for c in item["status"].get("conditions", []) if c["type"] == "Ready"), {})
    details = item["status"].get("nodeInfo", {})
    return ClusterNode(
        name=item["metadata"]["name"],
        ready=ready.get("status") == "True",
        reason=ready.get("message") or ready.get("reason") or "it has not reported yet",
        version=details.get("kubeletVersion", ""),
        architecture=details.get("architecture", ""),
    )


def _decode(text: str) -> str:
    return base64.b64decode(text, validate=True).decode()


def _load_certificate(context: ssl.SSLContext, kubeconfig: Kubeconfig) -> None:
    # The ssl module takes a client certificate from a file only; it is gone again before the first connection.
    descriptor, name = tempfile.mkstemp(prefix="deploy-")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(kubeconfig.certificate + "\n" + kubeconfig.key)
        context.load_cert_chain(name)
    finally:
        Path(name).unlink()
