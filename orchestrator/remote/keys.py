"""Key pairs for logging in to machines."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization.ssh import SSHPrivateKeyTypes

from orchestrator.errors import RemoteError

_OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_LARGEST = 64 * 1024


class PassphraseError(RemoteError):
    """A private key has a passphrase that was not given, or another one.

    Args:
        path: The key.
        given: Whether there was one.
    """

    def __init__(self, path: Path, *, given: bool) -> None:
        super().__init__(
            "A private key cannot be read.",
            detail=f"{path} has a passphrase, and {'the one that is given is another' if given else 'none is given'}.",
            resolution="Give it as `key_passphrase` of the machine, which is a reference such as env:NAME or "
            "secret:NAME, or load the key into your agent with `ssh-add` and leave it out.",
        )


def generate_key() -> tuple[str, str]:
    """A new ed25519 key pair: the private half in OpenSSH's form, and the public half as one line."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return private.decode(), public.decode()


def public_half(private: str) -> str:
    """The public half of a private key in OpenSSH's form, as one line.

    Raises:
        RemoteError: If it is no such key.
    """
    try:
        key = serialization.load_ssh_private_key(private.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The cause is left out: it might hold a part of the key.
        raise RemoteError(
            "A private key cannot be read.",
            detail="The key that logs in to the machines is no private key in OpenSSH's form without a passphrase.",
            resolution="Put it back as it was; the machines know no other.",
        ) from None
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return public.decode()


def load_private(path: Path, passphrase: str) -> tuple[str, str]:
    """A private key without its passphrase, in OpenSSH's form, and its public half as one line.

    Args:
        path: The key, in OpenSSH's form or as PEM.
        passphrase: What opens it; not looked at if it needs none.

    Raises:
        PassphraseError: If it needs another one.
        RemoteError: If it cannot be read, or is no private key.
    """
    key = _loaded(path, passphrase)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return private.decode(), public.decode()


def public_of_file(path: Path) -> str:
    """The public half that belongs to a private key, as far as it can be told without a passphrase; else empty."""
    try:
        return load_private(path, "")[1]
    except PassphraseError:
        pass
    except RemoteError:
        return ""
    beside = path.with_name(path.name + ".pub")
    try:
        return beside.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return _public_part(path)


def fingerprint(public: str) -> str:
    """``SHA256:…`` of a public key, given as ``ssh-ed25519 AAAA…``, as OpenSSH shows it.

    Raises:
        ValueError: If it is no public key.
    """
    blob = base64.b64decode(public.split()[1], validate=True)
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _public_part(path: Path) -> str:
    """The public half that OpenSSH's form holds in the clear; empty in another form."""
    blob = _openssh_fields(path.read_bytes())[1]
    kind = blob[4 : 4 + int.from_bytes(blob[:4], "big")]
    return f"{kind.decode(errors='replace')} {base64.b64encode(blob).decode()}" if blob else ""


def _loaded(path: Path, passphrase: str) -> SSHPrivateKeyTypes:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST)
    except OSError as cause:
        raise _unreadable(path, cause.strerror or str(cause)) from cause
    is_openssh = content.lstrip().startswith(_OPENSSH)
    is_encrypted = _openssh_fields(content)[0] not in {b"", b"none"} if is_openssh else b"ENCRYPTED" in content
    if is_encrypted and not passphrase:
        raise PassphraseError(path, given=False)
    load = serialization.load_ssh_private_key if is_openssh else serialization.load_pem_private_key
    try:
        return load(content, passphrase.encode() if is_encrypted else None)  # type: ignore[return-value]  # what logs in
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The cause is left out: it might hold a part of the key.
        if is_encrypted:
            raise PassphraseError(path, given=True) from None
        raise _unreadable(path, "it is no private key of a kind that is known") from None


def _openssh_fields(content: bytes) -> tuple[bytes, bytes]:
    """Cipher and public half of a key in OpenSSH's form; empty in another form."""
    if not content.lstrip().startswith(_OPENSSH):
        return b"", b""
    try:
        blob = base64.b64decode(b"".join(content.strip().splitlines()[1:-1]))
    except ValueError:
        return b"", b""
    fields = []
    position = len(b"openssh-key-v1\0")
    # Cipher, key derivation and its options stand before the number of keys, the first of which follows.
    for index in range(4):
        position += 4 if index == 3 else 0
        end = position + 4 + int.from_bytes(blob[position : position + 4], "big")
        fields.append(blob[position + 4 : end])
        position = end
    return fields[0], fields[3]


def _unreadable(path: Path, reason: str) -> RemoteError:
    return RemoteError(
        "A private key cannot be read.",
        detail=f"{path}: {reason}.",
        resolution="It must be a private key in OpenSSH's form or as PEM, readable for you.",
    )
