"""Saves what can be read of a damaged state: for taking a deployment down, never for going on with it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import StateError
from orchestrator.state.clock import Clock, utc_now
from orchestrator.state.durable_file import make_folder, storage_error, sync_folder
from orchestrator.state.journal import InstancePut, InstanceRemoved, instance_from_json, parse_entry
from orchestrator.state.local_store import LocalStateStore
from orchestrator.state.model import InstanceRecord
from orchestrator.state.session import DeploymentSession
from orchestrator.state.state_files import state_files
from orchestrator.state.upgrade import NewerFormError, UnreadableFormError

_LINEAGE = re.compile(rb'"lineage":"([0-9a-f]{32})"')


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What could be read.

    Attributes:
        lineage: By which everything of the deployment is found again; empty if it is not known for certain.
        records: Every instance that some line tells of and no later one removes, by address.
    """

    lineage: str
    records: dict[str, InstanceRecord]


def salvage(folder: Path) -> Salvaged:
    """Read every line by itself and take over what is whole; nothing is written.

    An instance that was removed may be among the records if the line that says so is damaged: whoever removes it again
    finds nothing, which is no error.
    """
    files = state_files(folder)
    lineages: set[bytes] = set()
    records: dict[str, InstanceRecord] = {}
    for path in (files.older_snapshot, files.older_journal, files.snapshot, files.journal):
        try:
            content = path.read_bytes()
        except OSError:
            continue
        lineages.update(_LINEAGE.findall(content))
        is_journal = path in (files.journal, files.older_journal)
        for change in _journal_steps(content) if is_journal else _snapshot_instances(content):
            if isinstance(change, InstanceRecord):
                records[change.address] = change
            else:
                records.pop(change, None)
    return Salvaged(lineages.pop().decode() if len(lineages) == 1 else "", records)


def _journal_steps(content: bytes) -> Iterator[InstanceRecord | str]:
    for line in content.split(b"\n"):
        try:
            record = parse_entry(line).record
        except (UnreadableFormError, NewerFormError):
            continue
        if isinstance(record, InstancePut):
            yield record.instance
        elif isinstance(record, InstanceRemoved):
            yield record.address


def _snapshot_instances(content: bytes) -> Iterator[InstanceRecord]:
    """A snapshot has one instance a line, so that a damaged one spoils only itself."""
    for line in content.split(b"\n"):
        try:
            (entry,) = json.loads(b"{" + line.strip().removesuffix(b",") + b"}").values()
            yield instance_from_json(entry)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue


def set_aside(folder: Path) -> Path:
    """Move a damaged state out of the way; it is kept beside its place, under a name that was not used before.

    Raises:
        StateError: If that is refused.
    """
    aside = _unused(folder)
    try:
        folder.rename(aside)
        sync_folder(folder.parent)
    except OSError as cause:
        raise storage_error("move", folder, cause) from cause
    return aside


def make_aside(folder: Path) -> Path:
    """Make a folder for the files of a damaged state that is kept elsewhere, under a name that was not used before.

    Raises:
        StateError: If that is refused.
    """
    aside = _unused(folder)
    make_folder(aside)
    return aside


def _unused(folder: Path) -> Path:
    number = 1
    while (aside := folder.with_name(f"{folder.name}.damaged-{number}")).exists():
        number += 1
    return aside


def begin_anew(folder: Path, deployment: str, salvaged: Salvaged, *, clock: Clock = utc_now) -> None:
    """Write a state of the salvaged records under the lineage that they had.

    Raises:
        StateError: If that is refused, or the lineage is not known.
    """
    if not salvaged.lineage:
        raise StateError("The lineage is not known.", detail=f"Nothing in {folder} tells it for certain.")
    store = LocalStateStore(folder, clock=clock)
    session = DeploymentSession(store, deployment, clock=clock, make_lineage=lambda: salvaged.lineage)
    # So that there is a state even if no record could be read.
    session.set_template("# The template could not be read.\n", "")
    for record in salvaged.records.values():
        session.record(record)
    session.snapshot()
