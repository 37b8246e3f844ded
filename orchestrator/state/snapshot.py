"""The snapshot file: a whole state as JSON, one instance a line, with a checksum over all of it."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from orchestrator.state.journal import instance_from_json, instance_to_json, render_json
from orchestrator.state.model import SCHEMA_VERSION, State, Version
from orchestrator.state.upgrade import (
    SNAPSHOT_UPGRADES,
    Document,
    NewerFormError,
    UnreadableFormError,
    upgrade_document,
)

_CHECKSUM = re.compile(rb',\n"checksum":"([0-9a-f]{64})"\}\n?$')
_FIELDS = ("deployment", "lineage", "serial", "profile", "profile_options", "application_root", "template")


def render_snapshot(state: State, time: str) -> bytes:
    """The file's content. Valid JSON for other tools; the checksum covers every byte before it.

    Args:
        state: What to write.
        time: When, for people.
    """
    head: dict[str, Any] = {"schema": SCHEMA_VERSION, "time": time}
    head |= {name: getattr(state, name) for name in _FIELDS}
    head["versions"] = [_version_to_json(version, state.template) for version in state.versions]
    lines = [
        f"{render_json(address)}:{render_json(instance_to_json(record))}" for address, record in state.instances.items()
    ]
    body = render_json(head)[:-1] + ',\n"instances":{\n' + ",\n".join(lines) + "\n}"
    content = body.encode("ascii")
    return b'%s,\n"checksum":"%s"}\n' % (content, hashlib.sha256(content).hexdigest().encode("ascii"))


def parse_snapshot(content: bytes) -> State:
    """Read a snapshot.

    Raises:
        NewerFormError: If a newer program wrote it.
        UnreadableFormError: If it is empty, cut off or altered.
    """
    if not content.strip(b"\0 \t\r\n"):
        raise UnreadableFormError("it is empty")
    found = _CHECKSUM.search(content)
    intact = found is not None and hashlib.sha256(content[: found.start()]).hexdigest().encode("ascii") == found[1]
    try:
        document = json.loads(content)
    except ValueError as cause:
        raise UnreadableFormError("it is cut off or is no JSON") from cause
    if not isinstance(document, dict):
        raise UnreadableFormError("it is no JSON object")
    if not intact:
        version = document.get("schema")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise NewerFormError(version)
        raise UnreadableFormError("its checksum does not match: it was altered after it was written")
    document = upgrade_document(document, SNAPSHOT_UPGRADES)
    try:
        instances = {address: instance_from_json(entry) for address, entry in document["instances"].items()}
        versions = tuple(_version_from_json(entry, document["template"]) for entry in document["versions"])
        return State(**{name: document[name] for name in _FIELDS}, instances=instances, versions=versions)
    except (KeyError, TypeError, ValueError, AttributeError) as cause:
        raise UnreadableFormError(f"it lacks something or holds something else instead ({cause!r})") from cause


def _version_to_json(version: Version, template: str) -> Document:
    """A version as a JSON object; ``null`` is the text of the present template, so that it is not there twice."""
    content = {name: getattr(version, name) for name in Version.__slots__}
    return {**content, "template": None if version.template == template else version.template}


def _version_from_json(content: Document, template: str) -> Version:
    kept = content["template"]
    return Version(**{**content, "template": template if kept is None else kept})
