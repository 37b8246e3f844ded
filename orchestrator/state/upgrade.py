"""Brings documents of older versions to the present form, one version at a time, and refuses newer ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from orchestrator.state.model import SCHEMA_VERSION

Document: TypeAlias = dict[str, Any]
Upgrade: TypeAlias = Callable[[Document], Document]
"""Takes a document of version N and gives the same content as version N + 1; ``schema`` is set by the caller."""


def _without_versions(snapshot: Document) -> Document:
    """Version 1 does not tell whether an apply was complete, so nothing in it is known to be good to go back to."""
    return {**snapshot, "versions": []}


def _as_it_is(document: Document) -> Document:
    """Nothing but the number changes."""
    return document


SNAPSHOT_UPGRADES: Mapping[int, Upgrade] = {1: _without_versions}
"""Upgrade of a snapshot by the version it starts from."""

ENTRY_UPGRADES: Mapping[int, Upgrade] = {1: _as_it_is}
"""Upgrade of a journal entry by the version it starts from. Version 2 has one kind more."""


class UnreadableFormError(ValueError):
    """The text is not what was written: cut off, altered, or never a state at all. The message says how."""


class NewerFormError(ValueError):
    """The document has a version that this program does not know.

    Attributes:
        version: The document's version.
    """

    def __init__(self, version: int) -> None:
        super().__init__(f"schema version {version}, while this program knows versions up to {SCHEMA_VERSION}")
        self.version = version


def upgrade_document(document: Document, upgrades: Mapping[int, Upgrade], *, target: int = SCHEMA_VERSION) -> Document:
    """The document in the present form.

    Raises:
        NewerFormError: If it is of a later version than ``target``.
        UnreadableFormError: If it has no usable version or there is no way up from it.
    """
    version = document.get("schema")
    if not isinstance(version, int) or isinstance(version, bool):
        raise UnreadableFormError("it does not say which schema version it has")
    if version > target:
        raise NewerFormError(version)
    while version < target:
        if version not in upgrades:
            raise UnreadableFormError(f"there is no upgrade from schema version {version}")
        document = upgrades[version](document)
        version += 1
        document = {**document, "schema": version}
    return document
