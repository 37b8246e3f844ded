"""Writes exports of a deployment, and resolves secrets for those who ask for it."""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.diagnostics import Diagnostic, has_errors
from orchestrator.errors import DeployError, InvalidInputError, UsageError
from orchestrator.production.dialects.companions import companion_file, mapping_at, physical_entries, worker_entries
from orchestrator.production.dialects.export import export, mark
from orchestrator.production.dialects.settings import ExportSettings, Secrets
from orchestrator.production.load import Loaded
from orchestrator.production.placement import place_components
from orchestrator.services.compile import ForeignFileError, OutputError
from orchestrator.services.load import LoadedTopology
from orchestrator.state.backend import lock_of, open_backend
from orchestrator.state.secret_references import SecretResolver
from orchestrator.state.secret_store import SealedSecretStore, open_secrets
from orchestrator.state.secrets import PREFIX

_PRIVATE = 0o600


class NoProductionFileError(UsageError):
    """An export was asked of a template."""

    def __init__(self) -> None:
        super().__init__(
            "A template cannot be exported.",
            detail="Exports are made from a production file; what was given is a service template.",
            resolution="Give the production file that the template was compiled from.",
        )


class GivenSecretMissingError(DeployError):
    """A secret that somebody else gave is in none of the files."""

    exit_code = 2

    def __init__(self, name: str, source: str, reason: str) -> None:
        super().__init__(
            "A secret is not there.",
            detail=f"secret:{name} stands for {source}, {reason}.",
            resolution="Put it there, or export without --with-secrets.",
        )


@dataclass(frozen=True, slots=True)
class ResolvedSecrets:
    """Values in place of secrets: generated ones of the deployment's store, given ones of the operator's files.

    Attributes:
        store: The deployment's secrets.
        known: Given secrets by name; a value that is the path of a file stands for what the file holds.
        root: The application's folder, which paths are relative to.
    """

    store: SealedSecretStore
    known: Mapping[str, str] = field(repr=False)
    root: Path

    def generated(self, name: str) -> str:
        """The value in the store; made and stored the first time."""
        self.store.get_or_create(name)
        return self._stored(name)

    def given(self, name: str, source: str) -> str:
        """The value that an operator's file holds, else the one in the store."""
        value = self.known.get(name) or (self._stored(name) if self.store.get(name) else "")
        if not value:
            raise GivenSecretMissingError(name, source, "which is not there or empty")
        if not name.endswith("-ssh-key") or value.lstrip().startswith("-----BEGIN"):
            return value
        path = self.root / Path(value).expanduser()
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            raise GivenSecretMissingError(name, source, f"which names {path}, that cannot be read") from None

    def _stored(self, name: str) -> str:
        resolver = SecretResolver(self.store, self.store.versions())
        return resolver.resolve(PREFIX + name, f"the secret {name!r}")


def write_export(
    loaded: LoadedTopology,
    folder: Path,
    dialect: str,
    settings: ExportSettings,
    *,
    with_secrets: bool = False,
    token_file: Path | None = None,
) -> tuple[tuple[Path, ...], tuple[Diagnostic, ...]]:
    """Write a deployment in a dialect; a second run over the same input changes no byte.

    Args:
        loaded: A topology without errors, of a production file.
        folder: Where to write; made if it is not there.
        dialect: ``im`` or ``fdl``.
        settings: Choices for the export.
        with_secrets: Whether values take the place of references; files are open to their owner only then.
        token_file: Holds the token of the InfluxDB that the top layer sends to.

    Returns:
        The files, and what was found on the way.

    Raises:
        NoProductionFileError: It is a template.
        InvalidInputError: The deployment cannot be written in this dialect.
        GivenSecretMissingError: A secret is in none of the files.
        ForeignFileError: A file of somebody else is in the way; nothing was written then.
        OutputError: The folder cannot be written.
    """
    production = loaded.production
    if production is None:
        raise NoProductionFileError
    name = loaded.topology.name
    found = export(production, loaded.topology, dialect, settings)
    if has_errors(found.diagnostics):
        raise InvalidInputError(found.diagnostics)
    paths = {folder / file: text for file, text in found.files.items()}
    try:
        for path in paths:
            _check_mark(path, mark(dialect, name).encode())
        if not with_secrets:
            _write(folder, paths, 0o644)
            return tuple(paths), found.diagnostics
        _make_private(folder)
        backend = open_backend()
        with lock_of(name, backend).acquire("compile --with-secrets"):
            store = open_secrets(name, backend.secrets_document(name))
            secrets: Secrets = ResolvedSecrets(store, _given(production, token_file), production.root)
            found = export(production, loaded.topology, dialect, settings, secrets)
        _write(folder, {folder / file: text for file, text in found.files.items()}, _PRIVATE)
    except OSError as cause:
        raise OutputError(folder, cause) from cause
    return tuple(paths), found.diagnostics


def _check_mark(path: Path, wanted: bytes) -> None:
    if not path.exists() and not path.is_symlink():
        return
    if path.is_symlink() or not path.is_file():
        raise ForeignFileError(path, "is no ordinary file")
    with path.open("rb") as file:
        if file.read(len(wanted)) != wanted:
            raise ForeignFileError(path, "was not written by an export of this deployment in this dialect")


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o077:
        raise UsageError(
            "The folder is open to others.",
            detail=f"{folder} has mode {mode:04o}, and files with secrets are to be written to it.",
            resolution=f"Choose a folder that is not there yet, or close it with `chmod 700 {folder}`.",
        )


def _write(folder: Path, files: Mapping[Path, str], mode: int) -> None:
    """Each in one step, unless it holds these bytes already; files of mode 0600 are never open to others."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as temporary:
        for path, text in files.items():
            content = text.encode()
            if mode == _PRIVATE and path.exists():
                path.chmod(mode)
            if path.is_file() and path.read_bytes() == content:
                continue
            fresh = Path(temporary) / path.name
            fresh.write_bytes(content)
            if mode == _PRIVATE:
                fresh.chmod(mode)
            fresh.replace(path)


def _given(production: Loaded, token_file: Path | None) -> dict[str, str]:
    """Secrets that the operator's files hold, by the names that references have."""
    found: dict[str, str] = {}
    if token_file is not None:
        found["im-top-influx-token"] = _file(token_file, "--influx-token-file")
    accounts = companion_file(production.layout, "accounts") or production.root / "im" / "auth.dat"
    if accounts.is_file():
        lines = _file(accounts, "im/auth.dat").splitlines()
        # The service's own way to have several lines in one value.
        found["im-auth"] = "\\n".join(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    entries = physical_entries(companion_file(production.layout, "physical_nodes"))
    for placed in place_components(production.model).values() if production.model else ():
        entry = entries.get((placed.layer.number, placed.resource.name.casefold()))
        if entry is not None:
            found |= _physical(entry, placed.platform, placed.machines, is_functions=placed.runs_in_cloud_functions)
    return {name: value for name, value in found.items() if value}


def _physical(entry: dict[str, Any], platform: str, machines: str, *, is_functions: bool) -> dict[str, str]:
    keys = mapping_at(entry, "aws" if is_functions else "minio")
    found: dict[str, Any] = {
        f"{platform}-store-access-key": keys.get("access_key"),
        f"{platform}-store-key": keys.get("secret_key"),
        f"{platform}-influx-token": mapping_at(entry, "influx").get("token"),
        f"{machines}-front-ssh-key": mapping_at(entry, "fe_node").get("ssh_key"),
    }
    for number, worker in enumerate(worker_entries(entry), start=1):
        found[f"{machines}-worker{number}-ssh-key"] = worker.get("ssh_key")
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def _file(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else "it is no text"
        raise UsageError(
            "A file with secrets cannot be read.",
            detail=f"{what} is {path}: {reason}.",
            resolution="Mend the file, or export without --with-secrets.",
        ) from None
