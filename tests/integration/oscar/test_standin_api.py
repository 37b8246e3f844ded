"""The stand-in's interface, as OSCAR's clients see it."""

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.clients.oscar import OscarClient, OscarRefusedError, OscarUnreachableError

SERVICE: dict[str, Any] = {
    "name": "blur",
    "image": "example/blur:1",
    "script": "/opt/blur/script.sh",
    "memory": "512Mi",
    "cpu": "0.9",
    "input": [{"storage_provider": "minio", "path": "blur/input"}],
    "output": [{"storage_provider": "minio", "path": "blur/output"}],
}


def test_a_service_is_registered_replaced_and_removed(standin: Any) -> None:
    client = standin.client()
    assert client.read_service("blur") is None
    client.put_service(SERVICE)
    assert (client.read_service("blur") or {})["memory"] == "512Mi"
    client.put_service({**SERVICE, "memory": "1Gi"})
    assert (client.read_service("blur") or {})["memory"] == "1Gi"
    with standin.store() as store:
        assert [b["Name"] for b in store.client.list_buckets()["Buckets"]] == ["blur"]
    assert client.delete_service("blur") is True
    assert client.delete_service("blur") is False


def test_services_survive_a_kill(make_standin: Callable[..., Any]) -> None:
    standin = make_standin()
    standin.client().put_service(SERVICE)
    standin.stop(kill=True)
    standin.start()
    assert standin.client().read_service("blur") is not None


def test_a_duplicate_is_a_conflict(standin: Any) -> None:
    import json

    client = standin.client()
    client.put_service(SERVICE)
    status, _ = client._call("POST", "/system/services", (409,), json.dumps(SERVICE).encode())
    assert status == 409


def test_replacing_what_is_not_there_is_not_found(standin: Any) -> None:
    import json

    assert standin.client()._call("PUT", "/system/services", (404,), json.dumps(SERVICE).encode())[0] == 404


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "x" * 40},
        {"name": "Capital"},
        {"image": None},
        {"script": None},
        {"enable_gpu": "False"},
        {"enable_sgx": 1},
        {"cpu": 0.9},
        {"cpu": "lots"},
        {"memory": "2 GB"},
        {"environment": {"Variables": {"A": 1}}},
        {"output": [{"storage_provider": "minio.unknown", "path": "a/b"}]},
        {"output": [{"storage_provider": "minio", "path": "/"}]},
        {"storage_providers": {"minio": {"other": {"endpoint": "https://x", "verify": "true"}}}},
    ],
)
def test_what_oscar_would_not_take_is_refused(shared_standin: Any, change: dict[str, Any]) -> None:
    with pytest.raises(OscarRefusedError) as caught:
        shared_standin.client().put_service({**SERVICE, **change})
    assert caught.value.status == 400


def test_a_wrong_password_is_refused(standin: Any) -> None:
    with pytest.raises(OscarRefusedError, match="refused") as caught:
        standin.client(password="wrong").read_version()
    assert caught.value.status == 401
    assert "wrong" not in str(caught.value)


def test_it_says_that_it_is_a_standin(standin: Any) -> None:
    assert "standin" in standin.client().read_version()


def test_an_untrusted_certificate_is_an_error(standin: Any) -> None:
    with pytest.raises(OscarUnreachableError, match="certificate"):
        OscarClient(standin.endpoint, "oscar", "x").check_health()


def test_a_stopped_one_is_unreachable(standin: Any) -> None:
    standin.stop()
    with pytest.raises(OscarUnreachableError):
        standin.client().check_health()
