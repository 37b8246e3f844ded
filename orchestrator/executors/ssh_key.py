"""The key pair that logs in to a deployment's machines: kept with the secrets, a file only while one is needed."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from orchestrator.executors.ansible_process import DEPLOYMENT_KEY, private_folder, remove_leftovers, write_private
from orchestrator.state.durable_file import storage_error
from orchestrator.state.secret_references import MissingSecretError
from orchestrator.state.secrets import PREFIX, SSH_KEY, SecretKind, SecretStore

_GUARD = Lock()


def private_key(secrets: SecretStore, deployment_folder: Path, *, make: bool = False) -> str:
    """The private half in OpenSSH's form.

    Args:
        secrets: The deployment's secrets.
        deployment_folder: Where older versions kept the key as a file; one that is there is taken over and removed.
        make: Whether one is made if there is none, for machines that are to be made.

    Raises:
        MissingSecretError: If there is none.
        StateError: If the secrets, or the file, cannot be read or written.
    """
    with _GUARD:
        found = secrets.get(SSH_KEY)
        if found is None:
            found = _older(deployment_folder) or (_generated() if make else "")
            if not found:
                raise MissingSecretError(
                    PREFIX + SSH_KEY,
                    "the key that logs in to the machines",
                    "no such secret is stored",
                    "Put the sealed secrets of this deployment back from a copy of your own. Without them nobody can "
                    "log in to its machines: they have to be destroyed and made anew.",
                )
            secrets.put(SSH_KEY, found, SecretKind.GENERATED)
        _remove_older(deployment_folder)
        return found


def authorized_key(secrets: SecretStore, deployment_folder: Path) -> str:
    """The public half as one line, for a machine's list of those who may log in; made the first time."""
    from orchestrator.remote.keys import public_half  # noqa: PLC0415 - takes long, and only what makes machines needs it

    return public_half(private_key(secrets, deployment_folder, make=True))


@contextmanager
def key_folder(private: str) -> Iterator[Path]:
    """A folder that only this user can look into, in memory where that can be had, for the time of the block.

    Args:
        private: The private half, which is in it as ``DEPLOYMENT_KEY``; empty for none.
    """
    remove_leftovers()
    folder = private_folder()
    try:
        if private:
            write_private(folder / DEPLOYMENT_KEY, private)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def key_file(private: str) -> Iterator[Path]:
    """A file with the private half in such a folder; mode 0600."""
    with key_folder(private) as folder:
        yield folder / DEPLOYMENT_KEY


def _older_file(deployment_folder: Path) -> Path:
    return deployment_folder / "ssh" / "id_ed25519"


def _older(deployment_folder: Path) -> str:
    path = _older_file(deployment_folder)
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except OSError as cause:
        raise storage_error("read", path, cause) from cause


def _remove_older(deployment_folder: Path) -> None:
    path = _older_file(deployment_folder)
    for old in (path, path.with_suffix(".pub")):
        with contextlib.suppress(FileNotFoundError):
            old.unlink()


def _generated() -> str:
    from orchestrator.remote.keys import generate_key  # noqa: PLC0415 - the same

    return generate_key()[0]
