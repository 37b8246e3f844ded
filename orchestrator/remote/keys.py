"""Key pairs for logging in to machines."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrator.errors import RemoteError


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
