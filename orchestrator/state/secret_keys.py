"""Where the key that seals the secrets comes from: environment, file or keyring of the system."""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from orchestrator.errors import StateError
from orchestrator.state.durable_file import make_folder, read_if_there, replace_file, sync_folder
from orchestrator.state.secret_envelope import KEY_BYTES, SecretKey
from orchestrator.state.secret_file import check_private

KEY_VARIABLE = "DEPLOY_SECRETS_KEY"
FILE_VARIABLE = "DEPLOY_SECRETS_KEY_FILE"
KEYRING = "keyring:"
"""Value of the variable DEPLOY_SECRETS_KEY that means the keyring of the system."""

_SERVICE, _ACCOUNT = "continuum-deploy", "secrets-key"
_MARK = "cdk1-"
_HEADER = (
    "# Keys that seal the secrets of continuum-deploy's deployments, one a line; the first is used, the others are\n"
    "# only read with. Whoever has one can read the secrets sealed with it; without it nobody can.\n"
)


class SecretKeys(Protocol):
    """A place that holds keys, the one in use first. Every method raises StateError with what to do."""

    @property
    def place(self) -> str:
        """Where that is, for messages."""

    def read(self) -> tuple[SecretKey, ...]:
        """All keys, the one in use first; none if nothing is there yet."""

    def make(self) -> SecretKey:
        """Make the first key; of two processes that do so at once, both get the same."""

    def add(self) -> SecretKey:
        """Make a new key, to be used from now on; older ones stay, to read with."""


def find_keys(environment: Mapping[str, str] | None = None) -> SecretKeys:
    """The place that is set: DEPLOY_SECRETS_KEY, else DEPLOY_SECRETS_KEY_FILE, else a file of the user's own.

    Args:
        environment: Instead of the process's own.
    """
    variables = os.environ if environment is None else environment
    given = variables.get(KEY_VARIABLE, "").strip()
    if given == KEYRING:
        return KeyringKeys()
    if given:
        return GivenKeys(given)
    return FileKeys(Path(variables.get(FILE_VARIABLE) or default_key_file(variables)).expanduser().absolute())


def default_key_file(variables: Mapping[str, str]) -> Path:
    """``continuum-deploy/secrets.key`` in the user's folder of settings: never beside what it seals."""
    settings = variables.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(settings).expanduser() / "continuum-deploy" / "secrets.key"


def current_key(keys: SecretKeys) -> SecretKey:
    """The key in use; made if there is none yet."""
    found = keys.read()
    return found[0] if found else keys.make()


def find_key(keys: SecretKeys, key_id: str) -> SecretKey:
    """The key of an identifier.

    Raises:
        StateError: If it is not there; says where keys are looked for.
    """
    found = keys.read()
    for key in found:
        if key.id == key_id:
            return key
    there = f"holds {', '.join(key.id for key in found)}" if found else "holds none"
    raise StateError(
        "The secrets cannot be opened.",
        detail=f"They are sealed with the key {key_id}, and {keys.place} {there}. Keys are looked for in "
        f"{KEY_VARIABLE} (a key, or {KEYRING!r} for the keyring of the system), else in the file that "
        f"{FILE_VARIABLE} names, else in {default_key_file(os.environ)}. Nothing was changed.",
        resolution="Put the key back there, from the host or the person who sealed them. There is no way in without "
        "it: if it is lost, destroy what is left and apply anew.",
        doc="docs/secrets.md",
    )


class GivenKeys:
    """Keys in the variable DEPLOY_SECRETS_KEY; several are separated by commas."""

    def __init__(self, text: str) -> None:
        self._text = text

    @property
    def place(self) -> str:
        """The variable."""
        return f"the variable {KEY_VARIABLE}"

    def read(self) -> tuple[SecretKey, ...]:
        """The keys in it."""
        return _parsed(self._text, self.place)

    def make(self) -> SecretKey:
        """Refused, as it is never needed: the variable holds a key."""
        return self.add()

    def add(self) -> SecretKey:
        """Refused: a variable cannot be set for those who come later."""
        raise StateError(
            "The key cannot be made anew.",
            detail=f"It is given by {self.place}, which only you can change.",
            resolution=f"Put a new key in front of the old one, separated by a comma: {KEY_VARIABLE}=NEW,OLD. "
            f"`deploy secrets new-key` prints a fresh one. Then rotate again.",
            doc="docs/secrets.md",
        )


class FileKeys:
    """Keys in a file that only its owner can read.

    Args:
        path: The file; made with a fresh key when the first secrets are sealed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def place(self) -> str:
        """The file."""
        return f"the file {self._path}"

    def read(self) -> tuple[SecretKey, ...]:
        """The keys in it."""
        content = read_if_there(self._path)
        if content is None:
            return ()
        check_private(self._path)
        return _parsed(content.decode("utf-8", "replace"), self.place)

    def make(self) -> SecretKey:
        """Make the file with a fresh key, whole or not at all; never in the place of one made meanwhile."""
        make_folder(self._path.parent)
        try:
            with tempfile.NamedTemporaryFile(dir=self._path.parent, prefix=".secrets.key.") as temporary:
                temporary.write(_file_text(_fresh_key()))
                temporary.flush()
                os.fsync(temporary.fileno())
                with contextlib.suppress(FileExistsError):
                    os.link(temporary.name, self._path)
            sync_folder(self._path.parent)
        except OSError as cause:
            raise self._refused(cause) from cause
        return self.read()[0]

    def add(self) -> SecretKey:
        """Put a fresh key on top."""
        key = _fresh_key()
        replace_file(self._path, _file_text(key, *self.read()))
        return key

    def _refused(self, cause: OSError) -> StateError:
        return StateError(
            "The key for the secrets cannot be made.",
            detail=f"It would be kept in {self._path}, which cannot be written: {os.strerror(cause.errno or 0)}.",
            resolution=f"Name another file with {FILE_VARIABLE}, or give a key with {KEY_VARIABLE}; "
            "`deploy secrets new-key` prints a fresh one.",
            doc="docs/secrets.md",
        )


class KeyringKeys:
    """Keys in the keyring of the system, under the service ``continuum-deploy``."""

    @property
    def place(self) -> str:
        """The keyring."""
        return f"the keyring of the system (service {_SERVICE!r}, account {_ACCOUNT!r})"

    def read(self) -> tuple[SecretKey, ...]:
        """The keys in it."""
        text = self._ask("read", lambda ring: ring.get_password(_SERVICE, _ACCOUNT))
        return _parsed(text, self.place) if text else ()

    def make(self) -> SecretKey:
        """Put the first key there."""
        return self.add()

    def add(self) -> SecretKey:
        """Put a fresh key in front."""
        key = _fresh_key()
        text = ",".join(render_key(k) for k in (key, *self.read()))
        self._ask("written", lambda ring: ring.set_password(_SERVICE, _ACCOUNT, text))
        return key

    @staticmethod
    def _ask(done: str, call: Callable[[Any], str | None]) -> str | None:
        try:
            import keyring  # noqa: PLC0415 - an extra
            from keyring.errors import KeyringError  # noqa: PLC0415 - an extra
        except ImportError as cause:
            raise StateError(
                "The keyring cannot be used.",
                detail=f"{KEY_VARIABLE} is {KEYRING!r}, and the package keyring is not installed.",
                resolution="Install continuum-deploy[keyring], or use a key file.",
            ) from cause
        try:
            return call(keyring)
        except KeyringError as cause:
            raise StateError(
                "The keyring cannot be used.",
                detail=f"The key could not be {done}: {type(cause).__name__}: {cause}.",
                resolution=f"Unlock the keyring of your session, or unset {KEY_VARIABLE} to use a key file.",
            ) from cause


def _fresh_key() -> SecretKey:
    return SecretKey(secrets.token_bytes(KEY_BYTES))


def _file_text(*keys: SecretKey) -> bytes:
    return (_HEADER + "".join(render_key(key) + "\n" for key in keys)).encode("ascii")


def render_key(key: SecretKey) -> str:
    """A key as text: a mark and 43 URL-safe characters."""
    return _MARK + base64.urlsafe_b64encode(key.value).decode("ascii").rstrip("=")


def _parsed(text: str, place: str) -> tuple[SecretKey, ...]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    words = [word for line in lines for word in re.split(r"[\s,]+", line) if word]
    keys = tuple(_key(word) for word in words)
    if not keys or None in keys:
        # What is there is not shown: it may be most of a key.
        raise StateError(
            "The key for the secrets cannot be read.",
            detail=f"In {place} there is something else than keys of the form {_MARK}… with 43 characters after it.",
            resolution="Put the key back as it was. `deploy secrets new-key` prints a fresh one for a new deployment.",
            doc="docs/secrets.md",
        )
    return tuple(key for key in keys if key is not None)


def _key(word: str) -> SecretKey | None:
    try:
        value = base64.b64decode(word.removeprefix(_MARK) + "=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return SecretKey(value) if word.startswith(_MARK) and len(value) == KEY_BYTES else None
