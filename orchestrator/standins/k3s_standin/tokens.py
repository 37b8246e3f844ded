"""Join tokens and the cluster's password."""

from __future__ import annotations

import hashlib
import re
import secrets
from pathlib import Path

from k3s_standin.machine import write_private
from k3s_standin.options import first
from k3s_standin.process import FatalError


def parse_token(token: str) -> tuple[str, str, str]:
    """CA hash (empty if the token has none), user and password of a join token."""
    match = re.fullmatch(r"K10([0-9a-f]{64})::([^:]+):(.+)", token)
    return (match.group(1), match.group(2), match.group(3)) if match else ("", "node", token)


def given_token(options: dict[str, list[str]]) -> str:
    """The token of the configuration, or of the file that it names."""
    token = first(options, "token")
    if not token and "token-file" in options:
        token = Path(first(options, "token-file")).read_text().strip()
    return token


def server_password(options: dict[str, list[str]], data: Path) -> str:
    """The cluster's password: given, or kept from the last start, or made now; a changed one is fatal, as with K3s."""
    kept = data / "server" / "token"
    known = parse_token(kept.read_text().strip())[2] if kept.is_file() else ""
    given = given_token(options)
    wanted = parse_token(given)[2] if given else ""
    if known and wanted and known != wanted:
        raise FatalError(
            "starting kubernetes: preparing server: bootstrap data already found and encrypted with different token"
        )
    return wanted or known or secrets.token_hex(16)


def write_tokens(data: Path, ca: str, password: str) -> None:
    """``token``, and ``node-token`` beside it."""
    digest = hashlib.sha256(ca.encode()).hexdigest()
    write_private(data / "server" / "token", f"K10{digest}::server:{password}\n")
    link = data / "server" / "node-token"
    if not link.is_symlink():
        link.unlink(missing_ok=True)
        link.symlink_to("token")
