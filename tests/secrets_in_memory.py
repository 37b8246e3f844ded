"""The real store of secrets over a document that is kept nowhere."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.errors import StateError
from orchestrator.state.document_store import StoredDocument
from orchestrator.state.secret_envelope import SecretKey
from orchestrator.state.secret_keys import GivenKeys, render_key
from orchestrator.state.secret_store import SealedSecretStore

KEY = SecretKey(bytes(range(32)))


class MemoryDocument:
    """A document in memory."""

    def __init__(self) -> None:
        self._contents: list[bytes] = []
        self._is_there = False

    def read(self) -> StoredDocument | None:
        return StoredDocument(self._contents[-1], str(len(self._contents))) if self._is_there else None

    def write(self, content: bytes, previous: str) -> str:
        if previous != (str(len(self._contents)) if self._is_there else ""):
            raise StateError("Somebody else has changed the same thing.")
        self._contents.append(content)
        self._is_there = True
        return str(len(self._contents))

    def delete(self) -> None:
        self._is_there = False


def memory_secrets(values: Mapping[str, str] | None = None) -> SealedSecretStore:
    """A store of its own.

    Args:
        values: What is in it from the start.
    """
    store = SealedSecretStore(MemoryDocument(), "demo", GivenKeys(render_key(KEY)))
    for name, value in (values or {}).items():
        store.assign(name, value)
    return store
