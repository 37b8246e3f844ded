"""References: one way to a value, whoever asks; what is missing is told with who needs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import OperationError
from orchestrator.state.secret_references import SecretResolver
from orchestrator.state.secrets import is_outside_reference, referenced_secrets, references
from tests.secrets_in_memory import memory_secrets

WHERE = "edge-oscar: property 'password'"


def test_what_is_a_reference_and_what_is_not() -> None:
    assert is_outside_reference("env:OSCAR_PASSWORD")
    assert is_outside_reference("file:/run/secrets/oscar")
    assert is_outside_reference("file:~/a b")
    for text in (
        "env:",
        "env:1A",
        "env:A B",
        "env:A-B",
        "file:",
        "file:///x",
        "file: /x",
        "environment",
        "x env:A",
        "",
    ):
        assert not is_outside_reference(text), text


def test_references_are_found_however_deep() -> None:
    value = {"a": ["secret:x", {"b": "env:E"}], "c": "secret:y", "d": 3, "e": ("file:/f", "secret:x", "no secret:z")}
    assert references(value) == ("secret:x", "env:E", "secret:y", "file:/f", "secret:x")
    assert referenced_secrets(value) == ("x", "y")


def test_a_variable_is_read_when_it_is_needed_and_masked_from_then_on() -> None:
    store = memory_secrets()
    assert SecretResolver(store, environment={"A": "the value"}).resolve("env:A", WHERE) == "the value"
    assert "the value" in store.values()
    assert store.entries() == ()


def test_a_file_is_read_when_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "one").write_text("the value\n", encoding="utf-8")
    (tmp_path / "two").write_text("-----BEGIN\nabc\n", encoding="utf-8")
    resolver = SecretResolver(memory_secrets())
    assert resolver.resolve(f"file:{tmp_path}/one", WHERE) == "the value", "the end of its only line is not part of it"
    assert resolver.resolve("file:~/two", WHERE) == "-----BEGIN\nabc\n", "several lines are kept as they are"


def test_a_stored_reference_is_followed() -> None:
    store = memory_secrets({"a": "env:A"})
    resolver = SecretResolver(store, environment={"A": "the value"})
    assert resolver.resolve("secret:a", WHERE) == "the value"
    assert resolver.resolve("secret:a", WHERE, make=True) == "the value"
    assert resolver.check("secret:a", WHERE) is None


def test_a_secret_is_made_only_by_those_who_install_something() -> None:
    store = memory_secrets()
    resolver = SecretResolver(store)
    assert resolver.check("secret:a", WHERE) is None, "it will be made"
    with pytest.raises(OperationError, match="A secret is not there") as caught:
        resolver.resolve("secret:a", WHERE)
    assert caught.value.detail == f"{WHERE} is secret:a: no such secret is stored."
    assert "deploy secrets set" in caught.value.resolution
    assert resolver.resolve("secret:a", WHERE, make=True) == store.get("a")


def test_the_version_that_something_was_made_with_is_the_one_it_gets() -> None:
    store = memory_secrets({"a": "first"})
    store.rotate("a")
    assert SecretResolver(store).resolve("secret:a", WHERE) == "first"
    assert SecretResolver(store, {"a": 2}).resolve("secret:a", WHERE) == store.get("a") != "first"


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("env:NOT_SET", "the environment variable NOT_SET is not set"),
        ("env:EMPTY", "the environment variable EMPTY is empty"),
        ("file:relative", "its path is relative"),
        ("file:/none/such", "/none/such cannot be read (No such file or directory)"),
        ("secret:a", "which is env:NOT_SET: the environment variable NOT_SET is not set"),
    ],
)
def test_what_is_missing_is_told_with_who_needs_it(reference: str, reason: str) -> None:
    resolver = SecretResolver(memory_secrets({"a": "env:NOT_SET"}), environment={"EMPTY": ""})
    missing = resolver.check(reference, WHERE)
    assert missing is not None
    assert missing.detail.startswith(f"{WHERE} is {reference}")
    assert reason in missing.detail
    assert missing.resolution


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe secret", b"s" * 70_000])
def test_a_file_that_holds_no_secret_is_told_without_showing_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(OperationError, match="A secret is not there") as caught:
        SecretResolver(memory_secrets()).resolve(f"file:{path}", WHERE)
    assert "sss" not in str(caught.value)
    assert caught.value.__cause__ is None
