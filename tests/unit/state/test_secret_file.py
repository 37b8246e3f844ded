"""Secrets in a file: the same value for ever, for the owner only, never in a message."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import pytest

from orchestrator.errors import StateError
from orchestrator.state.secret_file import FileSecretStore


def test_a_value_is_made_once_and_stays(tmp_path: Path) -> None:
    store = FileSecretStore(tmp_path / "secrets")
    assert store.get("oscar-password") is None
    assert not (tmp_path / "secrets").exists()
    value = store.get_or_create("oscar-password")
    assert re.fullmatch(r"[A-Za-z0-9_-]{32}", value)
    assert store.get_or_create("oscar-password") == value
    assert FileSecretStore(tmp_path / "secrets").get("oscar-password") == value
    assert store.get_or_create("other") != value
    assert set(store.values()) == {value, store.get("other")}


def test_values_made_elsewhere_are_kept_as_they_are(tmp_path: Path) -> None:
    key = "-----BEGIN KEY-----\nabc\u2028é\n-----END KEY-----\n"
    store = FileSecretStore(tmp_path)
    tmp_path.chmod(0o700)
    store.put("key", "old")
    store.put("key", key)
    assert FileSecretStore(tmp_path).get("key") == key


def test_another_process_that_adds_one_is_noticed(tmp_path: Path) -> None:
    first, second = FileSecretStore(tmp_path / "s"), FileSecretStore(tmp_path / "s")
    first.put("a", "1111")
    assert second.values() == ("1111",)
    first.put("b", "2222")
    second.put("c", "3333")
    assert set(first.values()) == {"1111", "2222", "3333"}


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        FileSecretStore(tmp_path / "secrets").put("a", "value")
    finally:
        os.umask(old)
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "secrets" / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["secrets.json"]


@pytest.mark.parametrize(("name", "mode", "mend"), [("secrets.json", 0o640, "chmod 600"), ("", 0o755, "chmod 700")])
def test_one_that_is_open_to_others_is_refused(tmp_path: Path, name: str, mode: int, mend: str) -> None:
    FileSecretStore(tmp_path / "secrets").put("a", "the-value")
    (tmp_path / "secrets" / name).chmod(mode)
    for use in (lambda s: s.get("a"), lambda s: s.put("b", "x"), lambda s: s.get_or_create("a"), lambda s: s.values()):
        with pytest.raises(StateError, match="open to others") as caught:
            use(FileSecretStore(tmp_path / "secrets"))
        assert f"{mode:04o}" in caught.value.detail
        assert mend in caught.value.resolution
        assert "the-value" not in str(caught.value)
    (tmp_path / "secrets" / name).chmod(0o700 if not name else 0o600)
    assert FileSecretStore(tmp_path / "secrets").get("a") == "the-value"


def test_one_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving a file away needs root")
    FileSecretStore(tmp_path / "secrets").put("a", "value")
    os.chown(tmp_path / "secrets" / "secrets.json", 65534, 65534)
    with pytest.raises(StateError, match="belong to another user"):
        FileSecretStore(tmp_path / "secrets").get("a")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"schema": 1, "secrets": {"a": "the-val',
        b"[]",
        b'{"schema": 1, "secrets": ["the-value"]}',
        b'{"schema": 1, "secrets": {"the-value": 3}}',
        b'{"schema": 2, "secrets": {"a": "the-value"}}',
        b"\xff\xfe",
    ],
)
def test_a_damaged_file_is_refused_without_showing_it(tmp_path: Path, content: bytes) -> None:
    store = FileSecretStore(tmp_path / "secrets")
    store.put("a", "value")
    path = tmp_path / "secrets" / "secrets.json"
    path.write_bytes(content)
    with pytest.raises(StateError, match="cannot be read") as caught:
        store.get_or_create("a")
    assert str(path) in caught.value.detail
    assert "the-val" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert path.read_bytes() == content, "a damaged file is never written over"


def test_threads_agree_on_one_value(tmp_path: Path) -> None:
    store = FileSecretStore(tmp_path / "secrets")
    seen: list[str] = []
    threads = [threading.Thread(target=lambda: seen.append(store.get_or_create("a"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(seen) == 8
    assert len(set(seen)) == 1


def test_clear_removes_every_value(tmp_path: Path) -> None:
    store = FileSecretStore(tmp_path / "secrets")
    store.clear()
    store.put("a", "value")
    store.clear()
    assert store.values() == ()
    assert list((tmp_path / "secrets").iterdir()) == []
