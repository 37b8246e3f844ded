"""Whether an image can be had, asked of a registry on loopback."""

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from orchestrator.images.registry import Reference, image_available
from tests.http_server import serving


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("debian", ("registry-1.docker.io", "library/debian", "latest")),
        ("grycap/oscar:4.1", ("registry-1.docker.io", "grycap/oscar", "4.1")),
        ("registry.example.org/a/b", ("registry.example.org", "a/b", "latest")),
        ("localhost:5000/a:1", ("localhost:5000", "a", "1")),
        ("r.example.org/a:1@sha256:00", ("r.example.org", "a", "sha256:00")),
    ],
)
def test_references_are_taken_apart(text: str, expected: tuple[str, str, str]) -> None:
    reference = Reference.parse(text)
    assert (reference.registry, reference.name, reference.version) == expected


class _Registry(BaseHTTPRequestHandler):
    delay = 0.0

    def do_HEAD(self) -> None:
        time.sleep(self.delay)
        known = self.path == "/v2/shop/blur/manifests/1"
        if known and self.headers.get("Authorization") != "Basic dTpw":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="registry"')
        else:
            self.send_response(200 if known else 404)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        del args


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setattr(_Registry, "delay", 0.0)
    with serving(_Registry) as url:
        address = url.removeprefix("http://")
        (tmp_path / "config.json").write_text(json.dumps({"auths": {address: {"auth": "dTpw"}}}))
        yield address


def test_a_registry_is_asked_with_the_stored_login(registry: str) -> None:
    assert image_available(f"{registry}/shop/blur:1")
    assert not image_available(f"{registry}/shop/blur:2")


def test_without_a_login_it_cannot_be_had(registry: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert not image_available(f"{registry}/shop/blur:1")


def test_a_slow_registry_is_not_waited_for(registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Registry, "delay", 1.0)
    began = time.monotonic()
    assert not image_available(f"{registry}/shop/blur:1", timeout=0.2)
    assert time.monotonic() - began < 0.9
    time.sleep(1.0)


def test_no_registry_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine")
    assert not image_available("127.0.0.1:1/a:1")
