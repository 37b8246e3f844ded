"""Seals the document of secrets: AES-256-GCM, bound to the deployment it belongs to and to the key it was made with."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from orchestrator.state.secret_file import damaged_secrets

KIND = "continuum-deploy secrets"
SCHEMA = 2
"""Version of the envelope and of what is in it; version 1 was a plain file."""

KEY_BYTES = 32
_CIPHER = "AES-256-GCM"
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A key of 256 random bits.

    Attributes:
        value: The 32 bytes.
    """

    value: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """Tells one key from another without giving it away: 16 hexadecimal digits."""
        return sha256(b"continuum-deploy key\0" + self.value).hexdigest()[:16]


def seal(plain: bytes, key: SecretKey, deployment: str) -> bytes:
    """The envelope.

    Args:
        plain: What is to be kept from everybody else.
        key: The key.
        deployment: Name of the deployment; the envelope cannot be opened in another one's place.

    Returns:
        JSON text: kind, schema, cipher, key identifier, nonce and ciphertext.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - not for `deploy --help`

    nonce = os.urandom(_NONCE_BYTES)
    sealed = AESGCM(key.value).encrypt(nonce, plain, _bound_to(key.id, deployment))
    envelope = {
        "kind": KIND,
        "schema": SCHEMA,
        "cipher": _CIPHER,
        "key": key.id,
        "nonce": base64.b64encode(nonce).decode("ascii"),
        "sealed": base64.b64encode(sealed).decode("ascii"),
    }
    return (json.dumps(envelope, indent=1) + "\n").encode("ascii")


def unseal(content: bytes, find_key: Callable[[str], SecretKey], deployment: str) -> bytes:
    """What :func:`seal` was given.

    Args:
        content: The envelope.
        find_key: Gives the key of an identifier, or raises StateError.
        deployment: Name of the deployment it is opened for.

    Raises:
        StateError: If it is damaged, belongs to another deployment, was changed, or the key is not there.
    """
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - not for `deploy --help`
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - the same

    where = f"The sealed secrets of {deployment}"
    try:
        envelope = json.loads(content)
        kind, schema, cipher, key_id = (envelope[name] for name in ("kind", "schema", "cipher", "key"))
        nonce = base64.b64decode(envelope["nonce"], validate=True)
        sealed = base64.b64decode(envelope["sealed"], validate=True)
    except (ValueError, KeyError, TypeError):
        raise damaged_secrets(f"{where} are cut off or have another form than expected.") from None
    if (kind, schema, cipher) != (KIND, SCHEMA, _CIPHER):
        raise damaged_secrets(f"{where} have form {schema!r} with {cipher!r}; this program reads {SCHEMA}, {_CIPHER}.")
    key = find_key(str(key_id))
    try:
        return AESGCM(key.value).decrypt(nonce, sealed, _bound_to(key.id, deployment))
    except (InvalidTag, ValueError):
        raise damaged_secrets(
            f"{where} were changed by somebody who has no key, are damaged, or belong to another deployment."
        ) from None


def key_of(content: bytes) -> str:
    """Identifier of the key that an envelope was made with; empty if it cannot be read."""
    try:
        return str(json.loads(content)["key"])
    except (ValueError, KeyError, TypeError):
        return ""


def _bound_to(key_id: str, deployment: str) -> bytes:
    return json.dumps([KIND, SCHEMA, _CIPHER, key_id, deployment]).encode("ascii")
