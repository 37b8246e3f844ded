"""The deployment's key pair: made once, kept sealed, on the disk only while a program needs a file."""

from __future__ import annotations

import threading
from pathlib import Path

import paramiko
import pytest

from orchestrator.errors import OperationError, RemoteError
from orchestrator.executors.ssh_key import authorized_key, key_file, private_key
from orchestrator.remote.keys import generate_key, public_half
from tests.secrets_in_memory import memory_secrets


def test_a_key_is_made_once_and_kept_with_the_secrets(tmp_path: Path) -> None:
    store = memory_secrets()
    public = authorized_key(store, tmp_path)
    assert public.startswith("ssh-ed25519 ")
    assert authorized_key(store, tmp_path) == public == public_half(private_key(store, tmp_path))
    assert store.get("ssh-key") == private_key(store, tmp_path)
    assert list(tmp_path.iterdir()) == [], "nothing is in the deployment's folder"


def test_none_is_made_for_machines_that_are_there_already(tmp_path: Path) -> None:
    store = memory_secrets()
    with pytest.raises(OperationError, match="A secret is not there") as caught:
        private_key(store, tmp_path)
    assert "the key that logs in to the machines is secret:ssh-key" in caught.value.detail
    assert store.entries() == ()


def test_a_second_host_with_the_same_secrets_has_the_same_key(tmp_path: Path) -> None:
    store = memory_secrets()
    assert authorized_key(store, tmp_path / "one") == authorized_key(store, tmp_path / "two")


def test_the_file_of_an_older_version_is_taken_over_and_removed(tmp_path: Path) -> None:
    private, public = generate_key()
    folder = tmp_path / "ssh"
    folder.mkdir()
    (folder / "id_ed25519").write_text(private, encoding="utf-8")
    (folder / "id_ed25519.pub").write_text(public + "\n", encoding="utf-8")
    store = memory_secrets()
    assert authorized_key(store, tmp_path) == public
    assert store.get("ssh-key") == private
    assert list(folder.iterdir()) == []


def test_a_file_that_a_crash_left_behind_does_not_count(tmp_path: Path) -> None:
    store = memory_secrets()
    private = private_key(store, tmp_path, make=True)
    (tmp_path / "ssh").mkdir()
    (tmp_path / "ssh" / "id_ed25519").write_text(generate_key()[0], encoding="utf-8")
    assert private_key(store, tmp_path) == private
    assert list((tmp_path / "ssh").iterdir()) == []


def test_a_program_gets_a_file_that_goes_with_the_block() -> None:
    private, public = generate_key()
    with key_file(private) as path:
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert paramiko.PKey.from_path(path).get_base64() == public.split()[1]
    assert not path.parent.exists()
    with pytest.raises(KeyError), key_file(private) as path:
        raise KeyError
    assert not path.parent.exists()


def test_threads_agree_on_one_key(tmp_path: Path) -> None:
    store = memory_secrets()
    seen: list[str] = []
    threads = [threading.Thread(target=lambda: seen.append(authorized_key(store, tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(seen) == 8
    assert len(set(seen)) == 1


@pytest.mark.parametrize("text", ["", "no key", "-----BEGIN OPENSSH PRIVATE KEY-----\nabcd\n"])
def test_what_is_no_key_is_told_without_showing_it(text: str) -> None:
    with pytest.raises(RemoteError, match="A private key cannot be read") as caught:
        public_half(text)
    assert "abcd" not in str(caught.value)
    assert caught.value.__cause__ is None
