"""Thin, typed access to OSCAR's HTTP API, with a TLS certificate to trust and a bound on every wait."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from orchestrator.clients.transience import PASSING_STATUSES, is_passing, retry_after
from orchestrator.errors import OperationError, RemoteError
from orchestrator.planning.observation import Observation, Presence
from orchestrator.state.model import InstanceRecord
from orchestrator.topology.model import Value

LOOK_TIMEOUT = 4.0
"""Seconds that a look may wait for an answer, so that it ends within 5 s."""

_CALL_TIMEOUT = 30.0
_LARGEST_ANSWER = 16 * 1024 * 1024


class OscarUnreachableError(RemoteError):
    """OSCAR did not answer."""

    def __init__(self, endpoint: str, reason: str, *, transient: bool = False) -> None:
        super().__init__(
            "OSCAR does not answer.",
            detail=f"{endpoint}: {reason}.",
            resolution="Look at the cluster with `deploy status`; applying again mends what is not as it should be.",
        )
        self.transient = transient


class OscarRefusedError(OperationError):
    """OSCAR answered that it will not do it; ``status`` is the HTTP status."""

    def __init__(self, endpoint: str, action: str, status: int, answer: str, asked_to_wait: float = 0.0) -> None:
        self.status = status
        hint = "Check user and password of the cluster." if status == 401 else "Mend what the answer names, and repeat."
        super().__init__(
            "OSCAR refused.",
            detail=f"{action} at {endpoint} was answered with status {status}: {answer.strip() or 'no words'}",
            resolution=hint,
        )
        if status in PASSING_STATUSES:
            self.passing(asked_to_wait)


@dataclass(frozen=True, slots=True)
class OscarClient:
    """One OSCAR.

    Attributes:
        endpoint: ``https://host:port``.
        user: Login name of the API.
        password: Its password.
        ca_cert: PEM of the certificate to trust; empty for the machine's own authorities.
        timeout: Seconds to wait for any answer.
    """

    endpoint: str
    user: str = "oscar"
    password: str = field(default="", repr=False)
    ca_cert: str = ""
    timeout: float = _CALL_TIMEOUT

    def check_health(self) -> None:
        """Return if OSCAR answers; needs no password."""
        self._call("GET", "/health", (200,), login=False)

    def read_version(self) -> str:
        """Its version; a stand-in says that it is one."""
        answer = json.loads(self._call("GET", "/system/info", (200,))[1])
        return str(answer.get("version", ""))

    def read_service(self, name: str) -> dict[str, Value] | None:
        """The service, or None if there is none of that name."""
        status, body = self._call("GET", f"/system/services/{quote(name, safe='')}", (200, 404))
        answer = json.loads(body) if status == 200 else None
        return answer if isinstance(answer, dict) else None

    def put_service(self, service: Mapping[str, Value]) -> None:
        """Register the service, or replace the one of that name."""
        name = str(service["name"])
        body = json.dumps(service).encode()
        first, second = ("PUT", "POST") if self.read_service(name) is not None else ("POST", "PUT")
        status, _ = self._call(first, "/system/services", (200, 201, 204, 404, 409), body)
        if status in (404, 409):
            # Somebody else made or removed it since the look: the other verb is right now.
            self._call(second, "/system/services", (200, 201, 204), body)

    def replace_service(self, service: Mapping[str, Value]) -> bool:
        """Replace a registered service; False if there is none of that name any longer."""
        return self._call("PUT", "/system/services", (200, 204, 404), json.dumps(service).encode())[0] != 404

    def delete_service(self, name: str) -> bool:
        """Remove a service, with its buckets and all that is in them; False if it was gone already."""
        return self._call("DELETE", f"/system/services/{quote(name, safe='')}", (204, 200, 404))[0] != 404

    def read_jobs(self, service: str) -> dict[str, dict[str, str]]:
        """Status of the service's jobs by name: ``status``, ``creation_time``, …; empty if there is no such service."""
        status, body = self._call("GET", f"/system/logs/{quote(service, safe='')}", (200, 404))
        answer = json.loads(body) if status == 200 else {}
        jobs = answer.get("jobs", answer) if isinstance(answer, dict) else {}
        return {str(k): v for k, v in jobs.items() if isinstance(v, dict)} if isinstance(jobs, dict) else {}

    def read_log(self, service: str, job: str) -> str:
        """What a job printed; empty if it is not remembered."""
        path = f"/system/logs/{quote(service, safe='')}/{quote(job, safe='')}"
        status, body = self._call("GET", path, (200, 404))
        return body.decode("utf-8", "replace") if status == 200 else ""

    def _call(
        self, method: str, path: str, accepted: tuple[int, ...], body: bytes = b"", *, login: bool = True
    ) -> tuple[int, bytes]:
        headers = {"Accept": "application/json"}
        if body:
            headers["Content-Type"] = "application/json"
        if login:
            token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        try:
            connection = self._connect()
            try:
                connection.request(method, path, body=body or None, headers=headers)
                response = connection.getresponse()
                status, answer = response.status, response.read(_LARGEST_ANSWER)
                asked_to_wait = retry_after(response.getheader("Retry-After"))
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = str(error) or type(error).__name__
            if isinstance(error, TimeoutError):
                reason = f"{method} {path} got no answer within {self.timeout:g} s"
            raise OscarUnreachableError(self.endpoint, reason, transient=is_passing(error)) from error
        if status not in accepted:
            words = answer[:2000].decode("utf-8", "replace")
            raise OscarRefusedError(self.endpoint, f"{method} {path}", status, words, asked_to_wait)
        return status, answer

    def _connect(self) -> http.client.HTTPConnection:
        url = urlsplit(self.endpoint)
        if url.scheme != "https" or not url.hostname:
            raise ValueError("the endpoint must be an https address")
        context = ssl.create_default_context(cadata=self.ca_cert or None)
        return http.client.HTTPSConnection(url.hostname, url.port or 443, timeout=self.timeout, context=context)


def observe_oscar(record: InstanceRecord) -> Observation:
    """Look whether the OSCAR of a record answers, within 5 s and without a password.

    Args:
        record: A record with the attributes ``endpoint`` and ``ca_cert``.
    """
    endpoint = str(record.attributes.get("endpoint") or record.inputs.get("properties.endpoint") or "")
    if not endpoint:
        return Observation(Presence.UNKNOWN, "its address is not known")
    client = OscarClient(endpoint, ca_cert=str(record.attributes.get("ca_cert") or ""), timeout=LOOK_TIMEOUT)
    try:
        client.check_health()
    except (OscarUnreachableError, OscarRefusedError) as error:
        return Observation(Presence.DEGRADED, f"OSCAR does not answer: {error.detail}")
    return Observation(Presence.PRESENT)
