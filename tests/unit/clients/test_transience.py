"""Which failures are worth another attempt, and when."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl

import docker.errors
import pytest
import requests
from botocore.exceptions import ClientError, EndpointConnectionError, SSLError

from orchestrator.clients.engine import translated_errors
from orchestrator.clients.object_store import ObjectStore, ObjectStoreError
from orchestrator.clients.oscar import OscarClient, OscarRefusedError, OscarUnreachableError
from orchestrator.clients.transience import is_passing, retry_after, tells_of_passing
from orchestrator.errors import DeployError


@pytest.mark.parametrize(
    ("reason", "passing"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), True),
        (ConnectionResetError(errno.ECONNRESET, "reset"), True),
        (TimeoutError("timed out"), True),
        (EOFError(), True),
        (http.client.RemoteDisconnected("closed"), True),
        (socket.gaierror(socket.EAI_AGAIN, "the name server is busy"), True),
        (socket.gaierror(socket.EAI_NONAME, "no such name"), False),
        (ssl.SSLCertVerificationError(1, "self-signed"), False),
        (FileNotFoundError(errno.ENOENT, "no socket"), False),
        (PermissionError(errno.EACCES, "not ours"), False),
        (ValueError("the endpoint must be an https address"), False),
    ],
)
def test_what_may_work_a_moment_later(reason: Exception, passing: bool) -> None:
    assert is_passing(reason) is passing


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("7", 7),
        (" 120 ", 120),
        ("-3", 0),
        ("999999999", 3600),
        ("soon", 0),
        ("Thu, 01 Jan 1970 00:01:30 GMT", 60),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0),
        ("Thu, 99 Jan 1970 00:00:10 GMT", 0),
    ],
)
def test_what_a_server_asks_to_wait(header: str | None, seconds: float) -> None:
    assert retry_after(header, lambda: 30.0) == seconds


def answer(status: int, headers: dict[str, str] | None = None) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response.headers.update(headers or {})
    return response


@pytest.mark.parametrize(
    ("error", "transient", "asked"),
    [
        (requests.exceptions.ReadTimeout("read timed out"), True, 0),
        (requests.exceptions.ConnectionError("the engine went away"), True, 0),
        (docker.errors.APIError("later", answer(503, {"Retry-After": "4"})), True, 4),
        (docker.errors.APIError("too many requests", answer(429)), True, 0),
        (docker.errors.APIError("no such image", answer(404)), False, 0),
        (docker.errors.APIError("whatever went wrong", answer(500)), False, 0),
    ],
)
def test_of_the_container_engine(error: Exception, transient: bool, asked: float) -> None:
    with pytest.raises(DeployError) as caught, translated_errors("starting the machine edge-0"):
        raise error
    assert (caught.value.transient, caught.value.retry_after) == (transient, asked)


def client_error(status: int, **headers: str) -> ClientError:
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": headers}
    return ClientError({"Error": {"Code": "X"}, "ResponseMetadata": metadata}, "PutObject")  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (EndpointConnectionError(endpoint_url="https://store"), True),
        (client_error(503), True),
        (client_error(403), False),
        (SSLError(endpoint_url="https://store", error="certificate"), False),
    ],
)
def test_of_an_object_store(error: Exception, transient: bool) -> None:
    class Failing:
        def put_object(self, **_arguments: object) -> None:
            raise error

    with pytest.raises(ObjectStoreError) as caught:
        ObjectStore("https://store", Failing()).put("bucket", "key", b"")
    assert caught.value.transient is transient


def test_a_store_that_names_a_time_is_heard() -> None:
    class Failing:
        def put_object(self, **_arguments: object) -> None:
            raise client_error(503, **{"retry-after": "9"})

    with pytest.raises(ObjectStoreError) as caught:
        ObjectStore("https://store", Failing()).put("bucket", "key", b"")
    assert caught.value.retry_after == 9


def test_of_an_oscar_that_nobody_listens_for() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(OscarUnreachableError) as caught:
        OscarClient(f"https://127.0.0.1:{port}").check_health()
    assert caught.value.transient
    with pytest.raises(OscarUnreachableError) as caught:
        OscarClient("http://plain").check_health()
    assert not caught.value.transient


@pytest.mark.parametrize(("status", "transient"), [(429, True), (503, True), (401, False), (404, False), (501, False)])
def test_of_an_oscar_that_refuses(status: int, transient: bool) -> None:
    error = OscarRefusedError("https://oscar", "PUT /system/services", status, "no", 5)
    assert error.transient is transient
    assert error.retry_after == (5 if transient else 0)


@pytest.mark.parametrize(
    ("words", "passing"),
    [
        ("toomanyrequests: You have reached your pull rate limit.", True),
        ("received unexpected HTTP status: 503 Service Unavailable", True),
        ('Get "https://registry.example/v2/": net/http: TLS handshake timeout', True),
        ("read tcp 10.0.0.2:443: connection reset by peer", True),
        ("dial tcp: lookup registry.example: Temporary failure in name resolution", True),
        ("dial tcp: lookup registry.example: no such host", False),
        ("manifest for shop/detector:7 not found: manifest unknown", False),
        ("pull access denied for shop/detector, repository does not exist", False),
        ("x509: certificate signed by unknown authority", False),
    ],
)
def test_of_a_registry_as_the_engine_passes_it_on(words: str, passing: bool) -> None:
    assert tells_of_passing(words) is passing
