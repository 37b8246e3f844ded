"""Searches whatever a deployment leaves behind for the values of its secrets, in every form they may take there."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from orchestrator.remote.keys import generate_key
from orchestrator.state.document_file import FileDocument
from orchestrator.state.masking import forms_of
from orchestrator.state.secret_keys import find_keys
from orchestrator.state.secret_store import SealedSecretStore


def known_secrets(home: Path, deployment: str) -> dict[str, str]:
    """Every value that the deployment's store has: name, newest version and number to value."""
    document = FileDocument(home / deployment / "secrets" / "sealed.json")
    entries = SealedSecretStore(document, deployment, find_keys()).entries()
    return {
        f"{entry.name}@{entry.version}.{number}": value for entry in entries for number, value in enumerate(entry.parts)
    }


class SecretSearch:
    """Looks for secret values.

    Args:
        secrets: Name to value.
    """

    def __init__(self, secrets: Mapping[str, str]) -> None:
        # Every private key begins with the same line.
        common = forms_of(generate_key()[0])
        self._forms = {
            form.encode("utf-8", "surrogatepass"): name
            for name, value in secrets.items()
            for form in forms_of(value) - common
        }

    def names_in(self, content: bytes) -> set[str]:
        """Names of the secrets whose value is in it, in whatever form; archives are looked into."""
        found = {name for form, name in self._forms.items() if form in content}
        return found.union(*(self.names_in(part) for part in _parts(content)))

    def files(self, folder: Path, allowed: Iterable[str] = ()) -> dict[str, set[str]]:
        """Every file under a folder with the secrets in it or in its name, as paths below the folder.

        Args:
            folder: Where to look.
            allowed: First parts of paths that may hold secrets.
        """
        found: dict[str, set[str]] = {}
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(folder)
            if any(relative.is_relative_to(name) for name in allowed):
                continue
            names = self.names_in(str(relative).encode())
            if path.is_file() and not path.is_symlink():
                names |= self.names_in(path.read_bytes())
            if names:
                found[str(relative)] = names
        return found


def _parts(content: bytes) -> Iterator[bytes]:
    if content[:2] == b"\x1f\x8b":
        try:
            yield gzip.decompress(content)
        except (OSError, EOFError):
            return
    elif content[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file is not None:
                    inner = file.read()
                    if inner[:2] == b"\x1f\x8b" or inner[257:262] == b"ustar":
                        yield inner
