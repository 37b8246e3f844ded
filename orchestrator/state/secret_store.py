"""Secret values in one sealed document, wherever the state is kept; generated once, rotated when asked for."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.errors import DeployError, StateError
from orchestrator.state.clock import Clock, render_time, utc_now
from orchestrator.state.document_file import FileDocument
from orchestrator.state.document_store import DocumentStore, StoredDocument
from orchestrator.state.folders import secrets_folder
from orchestrator.state.secret_envelope import key_of, seal, unseal
from orchestrator.state.secret_file import PlainSecretFile, damaged_secrets
from orchestrator.state.secret_keys import SecretKeys, current_key, find_key, find_keys
from orchestrator.state.secrets import FIRST_VERSION, Secret, SecretKind, is_outside_reference

_RANDOM_BYTES = 24
"""Give 32 characters in base64."""

_ATTEMPTS = 5
"""How often a change is tried again when another process was faster."""

_Kept = dict[str, Secret]


def open_secrets(deployment: str, document: DocumentStore | None = None) -> SealedSecretStore:
    """The secrets of a deployment, with the key that is set for this user.

    Args:
        deployment: Its name.
        document: Keeps the sealed document; a file of the deployment's own if left out.
    """
    folder = secrets_folder(deployment)
    kept = document or FileDocument(folder / "sealed.json")
    return SealedSecretStore(kept, deployment, find_keys(), PlainSecretFile(folder))


class SealedSecretStore:
    """Named secrets in one document that is sealed with a key; safe to use from several threads.

    Every method but :meth:`values` raises StateError if the document cannot be read, written or opened. No message
    holds a value. The document is read once, and again when something is missing or somebody else has replaced it.

    Args:
        document: Keeps the sealed document.
        deployment: Name of the deployment, which the document is bound to.
        keys: Where the key is.
        plain: The unencrypted file of older versions; read as long as there is no sealed document, and removed once
            there is one.
        clock: Says when a value came.
    """

    def __init__(
        self,
        document: DocumentStore,
        deployment: str,
        keys: SecretKeys,
        plain: PlainSecretFile | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self._document = document
        self._deployment = deployment
        self._keys = keys
        self._plain = plain
        self._clock = clock
        self._guard = threading.RLock()
        self._stored: StoredDocument | None = None
        self._kept: _Kept | None = None
        self._seen: dict[str, None] = {}

    def get_or_create(self, name: str, version: int = 0) -> str:
        """The value of ``name``; 32 random URL-safe characters are made and stored the first time."""
        with self._guard:
            found = self.get(name, version)
            if found is not None:
                return found
            self._change(lambda kept: kept if name in kept else {**kept, name: self._generated(name)})
            return self._now()[name].at(version)

    def put(self, name: str, value: str, kind: SecretKind = SecretKind.SET) -> None:
        """Store a value made elsewhere, e.g. a private key; another value gets the next version."""

        def change(kept: _Kept) -> _Kept:
            old = kept.get(name)
            is_known = old is not None and (old.value, old.kind) == (value, kind)
            return kept if is_known else {**kept, name: self._next(name, kind, value, old)}

        with self._guard:
            self._change(change)

    def assign(self, name: str, value: str) -> Secret:
        """Store what a person gives: a value, or a reference (``env:NAME``, ``file:PATH``) that is looked up later.

        It gets the next version even if it is the same text: behind a reference there may be another value.
        """
        kind = SecretKind.REFERENCE if is_outside_reference(value) else SecretKind.SET
        with self._guard:
            self._change(lambda kept: {**kept, name: self._next(name, kind, value, kept.get(name))})
            return self._now()[name]

    def rotate(self, name: str) -> Secret:
        """Make a new value for a generated secret; the older one is kept for what runs with it."""
        with self._guard:
            fresh = secrets.token_urlsafe(_RANDOM_BYTES)
            self._change(lambda k: {**k, name: self._next(name, SecretKind.GENERATED, fresh, k.get(name))})
            return self._now()[name]

    def rotate_key(self) -> str:
        """Make a new key and seal the document anew with it; returns the key's identifier.

        Where keys are given by a variable, the first one there is taken, if the document has another.
        """
        with self._guard:
            self._now(fresh=True)
            stored = self._stored
            key = current_key(self._keys)
            if stored is None or key_of(stored.content) == key.id:
                key = self._keys.add()
            self._change(dict)
            return key.id

    def seal_plain(self) -> None:
        """Seal what only the unencrypted file of older versions holds, so that it can go where the document goes."""
        with self._guard:
            if self._now(fresh=True) and self._stored is None:
                self._change(dict)

    def forget_old(self, in_use: Mapping[str, set[int]]) -> None:
        """Drop values that nothing runs with any longer: of each secret, the newest one and those in use stay."""

        def change(kept: _Kept) -> _Kept:
            return {name: _without_old(secret, in_use.get(name, set())) for name, secret in kept.items()}

        with self._guard:
            if any(len(secret.values) > 1 for secret in self._now().values()):
                self._change(change)

    def get(self, name: str, version: int = 0) -> str | None:
        """The value of ``name`` (of a version, 0 for the newest), or ``None``; a reference is given as it is."""
        with self._guard:
            found = self._now().get(name)
            if found is None or (version and version not in found.values):
                found = self._now(fresh=True).get(name)
            return None if found is None else found.at(version)

    def entries(self) -> tuple[Secret, ...]:
        """Every secret, by name."""
        with self._guard:
            return tuple(sorted(self._now().values(), key=lambda secret: secret.name))

    def versions(self) -> dict[str, int]:
        """Name to newest version, of those that were rotated."""
        return {secret.name: secret.version for secret in self.entries() if secret.version != FIRST_VERSION}

    def values(self) -> tuple[str, ...]:
        """Every value that is known here, for masking; what cannot be opened cannot get out either."""
        with self._guard:
            if self._kept is None:
                try:
                    self._now()
                except DeployError:
                    return tuple(self._seen)
            return tuple(self._seen)

    def remember(self, value: str) -> None:
        """Mask this value as well: one that a reference stood for."""
        with self._guard:
            self._seen[value] = None

    def clear(self) -> None:
        """Remove every value, when the deployment is gone."""
        with self._guard:
            self._document.delete()
            if self._plain is not None:
                self._plain.remove()
            self._stored, self._kept = None, {}

    def _generated(self, name: str) -> Secret:
        value = secrets.token_urlsafe(_RANDOM_BYTES)
        return Secret(name, SecretKind.GENERATED, {FIRST_VERSION: value}, render_time(self._clock()))

    def _next(self, name: str, kind: SecretKind, value: str, old: Secret | None) -> Secret:
        earlier = dict(old.values) if old else {}
        version = old.version + 1 if old else FIRST_VERSION
        return Secret(name, kind, {**earlier, version: value}, render_time(self._clock()))

    def _now(self, *, fresh: bool = False) -> _Kept:
        if self._kept is None or fresh:
            stored = self._document.read()
            if stored is None:
                plain = self._plain.read() if self._plain else {}
                self._kept = {n: Secret(n, SecretKind.GENERATED, {FIRST_VERSION: v}) for n, v in plain.items()}
            elif self._kept is None or self._stored is None or stored.version != self._stored.version:
                content = unseal(stored.content, lambda key_id: find_key(self._keys, key_id), self._deployment)
                self._kept = _parsed(content, self._deployment)
            self._stored = stored
            self._learn(self._kept)
        return self._kept

    def _learn(self, kept: _Kept) -> None:
        for secret in kept.values():
            self._seen.update(dict.fromkeys(secret.parts))

    def _change(self, change: Callable[[_Kept], _Kept]) -> None:
        """Replace the document by what ``change`` makes of it; begun again if another process was faster."""
        for attempt in range(1, _ATTEMPTS + 1):
            kept = change(self._now(fresh=True))
            if kept is self._kept:
                return
            previous = self._stored.version if self._stored else ""
            content = seal(_rendered(kept), current_key(self._keys), self._deployment)
            try:
                version = self._document.write(content, previous)
            except StateError:
                found = self._document.read()
                if attempt == _ATTEMPTS or (found.version if found else "") == previous:
                    raise
                continue
            self._stored, self._kept = StoredDocument(content, version), kept
            self._learn(kept)
            # Only now are all values in the sealed document.
            if self._plain is not None:
                self._plain.remove()
            return


def _without_old(secret: Secret, in_use: set[int]) -> Secret:
    kept = {v: value for v, value in secret.values.items() if v in in_use or v == secret.version}
    return replace(secret, values=kept)


def _rendered(kept: _Kept) -> bytes:
    content = {
        secret.name: {
            "kind": secret.kind.value,
            "changed": secret.changed,
            "values": {str(version): value for version, value in sorted(secret.values.items())},
        }
        for secret in kept.values()
    }
    return json.dumps({"secrets": content}).encode("ascii")


def _parsed(content: bytes, deployment: str) -> _Kept:
    try:
        found: dict[str, Any] = json.loads(content)["secrets"]
        return {
            name: Secret(
                name,
                SecretKind(entry["kind"]),
                {int(version): str(value) for version, value in entry["values"].items()},
                str(entry["changed"]),
            )
            for name, entry in found.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise damaged_secrets(f"The secrets of {deployment} have another form than expected.") from None
