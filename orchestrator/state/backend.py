"""Where deployments keep their state: the table of back-ends by URL scheme, and which of them is chosen."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from orchestrator.errors import StateError, UsageError
from orchestrator.state.document_store import DocumentStore
from orchestrator.state.durable_file import make_folder, read_if_there, replace_file
from orchestrator.state.folders import deploy_home, deployment_folder
from orchestrator.state.lock import DeploymentLock
from orchestrator.state.shared_lock import RunLock, SharedLock
from orchestrator.state.store import StateStore

VARIABLE = "DEPLOY_STATE"
"""Names the back-end; a URL without a password."""

_BACKENDS = {
    "file": "orchestrator.state.local_backend:LocalBackend",
    "s3": "orchestrator.state.s3_backend:S3Backend",
    "postgresql": "orchestrator.state.postgres_backend:PostgresBackend",
    "postgres": "orchestrator.state.postgres_backend:PostgresBackend",
}
"""URL scheme to the class, imported only when it is chosen."""

_EXTRAS = {"psycopg": "postgresql", "boto3": "", "botocore": ""}
_FORMS = "`file:` (a folder, the default), `s3://BUCKET/PREFIX` or `postgresql://HOST/DATABASE`"
_SECRET_OPTIONS = {"password", "sslpassword", "aws_secret_access_key", "secret_key", "access_key"}


class Backend(Protocol):
    """Keeps the states of all deployments of a team, or of one folder."""

    @property
    def place(self) -> str:
        """Where that is, for people; holds no secret."""

    def deployments(self) -> tuple[str, ...]:
        """Names of all deployments that have a state, in order."""

    def state_store(self, name: str) -> StateStore:
        """Keeps the state of one of them."""

    def shared_lock(self, name: str) -> SharedLock | None:
        """The lock beside the state; ``None`` if the one in the deployment's own folder is all there is to hold."""

    def secrets_document(self, name: str) -> DocumentStore:
        """Keeps its sealed secrets."""

    def close(self) -> None:
        """Let go of connections; not of locks that are held."""


@dataclass(frozen=True, slots=True)
class BackendUrl:
    """A back-end's URL, taken apart.

    Attributes:
        text: As given.
        scheme: ``file``, ``s3`` or ``postgresql``.
        user: Login name; empty if none is given.
        host: Host, or bucket.
        port: Port; 0 if none is given.
        path: What follows, with its first slash.
        options: What stands after the question mark.
    """

    text: str
    scheme: str = "file"
    user: str = ""
    host: str = ""
    port: int = 0
    path: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    def refused(self, why: str) -> UsageError:
        """The error that says what is wrong with it.

        Args:
            why: A full sentence.
        """
        return UsageError(
            "This cannot be where the state is kept.",
            detail=f"{self.text}: {why}",
            resolution=f"Correct {VARIABLE} or the file {choice_file()}. It is {_FORMS}.",
            doc="docs/state.md",
        )

    def check_options(self, known: tuple[str, ...]) -> None:
        """Refuse options that mean nothing here.

        Raises:
            UsageError: If there is one.
        """
        for option in self.options:
            if option not in known:
                raise self.refused(f"The option {option!r} is not known.{_did_you_mean(option, known)}")


def choice_file() -> Path:
    """The file that names the back-end of all deployments of this folder; written by ``deploy state migrate``.

    Its name begins with a dot, as no deployment's does.
    """
    return deploy_home() / ".backend"


def chosen_url() -> str:
    """The URL that is set: DEPLOY_STATE, else what ``deploy state migrate`` wrote; empty for the folder itself.

    Raises:
        StateError: If the file cannot be read.
    """
    given = os.environ.get(VARIABLE, "").strip()
    if given:
        return given
    content = read_if_there(choice_file())
    return content.decode("utf-8", "replace").strip() if content else ""


def choose(url: str) -> None:
    """Have all deployments of this folder keep their state there from now on.

    Raises:
        StateError: If that cannot be written.
    """
    make_folder(deploy_home())
    replace_file(choice_file(), f"{url}\n".encode())


def open_backend(url: str | None = None) -> Backend:
    """The back-end of a URL; nothing is asked of it yet.

    Args:
        url: Instead of the one that is set.

    Raises:
        UsageError: If the URL means nothing or holds a password.
        StateError: If a library for it is not installed.
    """
    parsed = parse_url(chosen_url() if url is None else url)
    module, _, name = _BACKENDS[parsed.scheme].partition(":")
    try:
        backend: Backend = getattr(import_module(module), name)(parsed)
    except ImportError as cause:
        # The driver of PostgreSQL without the library that it wraps says so without a name.
        library = "psycopg" if "libpq" in str(cause) else (cause.name or "").partition(".")[0]
        if library not in _EXTRAS:
            raise
        raise _not_installed(parsed, library) from cause
    return backend


def lock_of(name: str, *backends: Backend) -> RunLock:
    """What is to be held while something works on a deployment.

    Args:
        name: The deployment.
        backends: Where its state is kept; two while it is copied from one to the other.
    """
    shared = [lock for backend in backends if (lock := backend.shared_lock(name)) is not None]
    return RunLock(DeploymentLock(deployment_folder(name)), shared)


def parse_url(text: str) -> BackendUrl:
    """Take a URL apart.

    Raises:
        UsageError: If its scheme is not known or it holds a password.
    """
    if not text:
        return BackendUrl("")
    try:
        parts = urlsplit(text)
        port = parts.port or 0
    except ValueError:
        # The cause would show what it took for a port, which may be a part of a password.
        raise BackendUrl(_without_password(text)).refused("It is no URL: its host or port cannot be read.") from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.password is not None or _SECRET_OPTIONS & {key.lower() for key in options}:
        raise _holds_password(text)
    scheme = parts.scheme.lower()
    if scheme not in _BACKENDS:
        what = f"The scheme {scheme!r} is not known." if scheme else "It has no scheme."
        raise BackendUrl(text).refused(what + _did_you_mean(scheme or text, tuple(_BACKENDS)))
    host = unquote((parts.netloc.rpartition("@")[2]).partition(":")[0]) if scheme == "s3" else parts.hostname or ""
    user = unquote(parts.username or "")
    return BackendUrl(text, scheme, user, host, port, unquote(parts.path), options)


def _holds_password(text: str) -> UsageError:
    return UsageError(
        "The URL of the state holds a password.",
        detail=f"{_without_password(text)}: URLs end up in files, process lists and messages, so a password in one is "
        "refused.",
        resolution=(
            "Take it out. PostgreSQL finds it in ~/.pgpass (or the file PGPASSFILE names), or in a service of "
            "PGSERVICEFILE (PGSERVICE names it); S3 finds its keys where AWS clients look: AWS_PROFILE and "
            "~/.aws/credentials, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the role of the machine. If anybody "
            "else may have seen it, change it."
        ),
        doc="docs/state.md",
    )


def _without_password(text: str) -> str:
    """The URL with everything left out that may be one."""
    shown = re.sub(r"//([^/@:?#]*):.*@", r"//\1:…@", text)
    return re.sub(r"(?i)([?&](?:\w*password|\w*key)=)[^&#]*", r"\1…", shown)


def _did_you_mean(text: str, known: tuple[str, ...]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only needed after a slip

    close = get_close_matches(text, known, n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def _not_installed(url: BackendUrl, module: str) -> StateError:
    extra = _EXTRAS[module]
    wanted = f"continuum-deploy[{extra}]" if extra else module
    return StateError(
        "A library for the state is not installed.",
        detail=f"{url.text} needs {module}, which this installation does not have.",
        resolution=f"Install it into the same environment, e.g. `pip install '{wanted}'` or, where the program was "
        f"installed with pipx, `pipx inject continuum-deploy '{wanted if not extra else 'psycopg[binary]'}'`.",
        doc="docs/state.md",
    )
