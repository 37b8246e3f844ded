"""Reads im/auth.dat: which services there are accounts for. Its lines hold secrets: none is kept or shown."""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.diagnostics import Location
from orchestrator.production.model import Account
from orchestrator.topology.located import MAX_BYTES
from orchestrator.topology.reading import Findings

_PART = re.compile(r"""\s*([A-Za-z_][A-Za-z0-9_]*)\s*=\s*("[^"]*"|'[^']*'|file\([^)]*\)|[^;]*)\s*(?:;|$)""")
_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
_ID = re.compile(r"[^=\"']{0,200}")
_HOST = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://)?[A-Za-z0-9.:\[\]/_~%-]*")
"""What the values that are kept may be: another value is one that a forgotten ``;`` has joined with a secret."""


def read_accounts(path: Path, findings: Findings) -> tuple[Account, ...]:
    """One account a line, ``id = …; type = …; host = …``; values may be quoted, ``#`` begins a comment line.

    A place in this file is given without the line's text.
    """
    start = Location(str(path), 1, 1)
    try:
        if path.stat().st_size > MAX_BYTES:
            findings.error("The file is too large.", f"At most {MAX_BYTES} bytes are read.", start)
            return ()
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as problem:
        findings.error("The file cannot be read.", f"{problem.strerror or 'It cannot be opened'}.", start)
        return ()
    except UnicodeDecodeError:
        findings.error("The file is not UTF-8.", "Save the file as UTF-8.", start)
        return ()
    found: list[Account] = []
    for number, line in enumerate(re.split(r"\r\n|[\r\n]", text), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            account = _account(line, Location(str(path), number, 1), findings)
            if account is not None:
                found.append(account)
    return tuple(found)


def _account(line: str, place: Location, findings: Findings) -> Account | None:
    values: dict[str, str] = {}
    position = 0
    while position < len(line) and line[position:].strip():
        part = _PART.match(line, position)
        if part is None or part.end() == position:
            detail = "A line is written as 'id = …; type = …; host = …'. Its text is not shown, as it may hold secrets."
            findings.error("An account is not understood.", detail, place)
            return None
        values.setdefault(part[1].casefold(), part[2].strip().strip("\"'"))
        position = part.end()
    host = _without_secrets(values.get("host", ""))
    kept = ((values.get("id", ""), _ID), (values.get("type") or "none", _TYPE), (host, _HOST))
    if not all(pattern.fullmatch(value) for value, pattern in kept):
        detail = "Its id, type or host holds what none can; is a ';' missing? It is not shown, as it may hold secrets."
        findings.error("An account is not understood.", detail, place)
        return None
    if not values.get("type"):
        detail = "A line must say the type of the service: InfrastructureManager, OpenStack, EC2, OSCAR, Lambda, …"
        findings.error("An account has no type.", detail, place)
        return None
    return Account(values.get("id", ""), values["type"], host, place)


def _without_secrets(host: str) -> str:
    """The address without a user, a password, a query or a fragment."""
    plain = re.split(r"[?#]", host, maxsplit=1)[0]
    head, separator, rest = plain.rpartition("://")
    authority, slash, path = rest.partition("/")
    return f"{head}{separator}{authority.rpartition('@')[2]}{slash}{path}"
