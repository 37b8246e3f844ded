"""The state as one run works with it: in memory, and on the disk before anybody may rely on it."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Protocol

from orchestrator.errors import StateError
from orchestrator.state.clock import Clock, render_time, utc_now
from orchestrator.state.journal import (
    Begun,
    InstancePut,
    InstanceRemoved,
    JournalEntry,
    Record,
    TemplateSet,
    VersionKept,
    advance,
    parse_entry,
    render_entry,
)
from orchestrator.state.model import InstanceRecord, State
from orchestrator.state.store import StateStore


class StateWriter(Protocol):
    """What the engine needs: the state, and steps that are durable when the call returns."""

    @property
    def state(self) -> State:
        """The state as it is now; a value that later steps do not alter."""

    def record(self, record: InstanceRecord) -> None:
        """Put the instance in place of what was at its address."""

    def remove(self, address: str) -> None:
        """Leave nothing at the address."""


def new_lineage() -> str:
    """A fresh random identity."""
    return uuid.uuid4().hex


class DeploymentSession:
    """The state of one deployment for the length of a run; safe to use from several threads.

    A step is on the disk when its call returns; if it cannot be put there, StateError is raised and the state in memory
    stays as it was. Nothing is written before the first step: a deployment that was only looked at leaves no trace.

    Args:
        store: Where the state is kept. Who writes must hold the deployment's lock.
        deployment: Name of the deployment.
        clock: For the stamps in the journal.
        make_lineage: Gives the identity of a state that is begun.
    """

    def __init__(
        self,
        store: StateStore,
        deployment: str,
        *,
        clock: Clock = utc_now,
        make_lineage: Callable[[], str] = new_lineage,
    ) -> None:
        self._store = store
        self._clock = clock
        self._guard = threading.RLock()
        loaded = store.load()
        self._warnings = store.warnings
        if loaded is not None and loaded.deployment != deployment:
            raise StateError(
                "The state belongs to another deployment.",
                detail=f"It was asked for as {deployment}, and says of itself that it is {loaded.deployment}.",
                resolution="A deployment's folder must keep its name: put it back under the name it had.",
            )
        self._is_new = loaded is None
        self._state = loaded if loaded is not None else State(deployment=deployment, lineage=make_lineage())

    @property
    def state(self) -> State:
        """The state as it is now; a value that later steps do not alter."""
        with self._guard:
            return self._state

    @property
    def is_new(self) -> bool:
        """Whether nothing was kept of this deployment when the session began."""
        return self._is_new

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was mended while the state was read, in full sentences."""
        return self._warnings

    def record(self, record: InstanceRecord) -> None:
        """Put the instance in place of what was at its address."""
        self._take(InstancePut(record))

    def remove(self, address: str) -> None:
        """Leave nothing at the address; one where nothing is costs no step."""
        with self._guard:
            if address in self._state.instances:
                self._take(InstanceRemoved(address))

    def set_template(
        self,
        template: str,
        profile: str,
        profile_options: Mapping[str, str] | None = None,
        application_root: str = "",
    ) -> None:
        """Set what is being applied from here on; the same as before costs no step."""
        wanted = TemplateSet(template, profile, dict(profile_options or {}), application_root)
        with self._guard:
            now = self._state
            if wanted != TemplateSet(now.template, now.profile, dict(now.profile_options), now.application_root):
                self._take(wanted)

    def keep_version(self, run: str) -> None:
        """Keep what was applied as a version to go back to, for the end of an apply that did everything.

        The same as the newest one kept costs no step.
        """
        with self._guard:
            now = self._state
            images = {a: str(r.attributes["digest"]) for a, r in now.instances.items() if _is_image(r)}
            newest = now.versions[-1] if now.versions else None
            if newest is None or not now.is_at(newest) or newest.images != images:
                self._take(VersionKept(run, images))

    def snapshot(self) -> None:
        """Write the whole state as a snapshot, so that the next run reads it fast; for the end of a run."""
        with self._guard:
            if self._state.serial:
                self._store.compact(self._state)

    def delete(self) -> None:
        """Remove what is kept, for the end of a destroy that left nothing; the session is of no use afterwards."""
        with self._guard:
            self._store.delete()

    def _take(self, record: Record) -> None:
        with self._guard:
            if not self._state.serial:
                # The snapshot that follows at once keeps the lineage, by which everything is found again, in two files.
                self._append(Begun(self._state.deployment))
                self._store.compact(self._state)
            self._append(record)

    def _append(self, record: Record) -> None:
        """Write one step, then take it over as it was written, so that memory and disk cannot differ."""
        state = self._state
        entry = JournalEntry(state.serial + 1, state.lineage, render_time(self._clock()), record)
        self._store.append([entry])
        written = parse_entry(render_entry(entry)[:-1])
        self._state = advance(state if state.serial else None, written)


def _is_image(record: InstanceRecord) -> bool:
    """Whether the record is of an image: it has a reference and an identifier."""
    return {"reference", "digest"} <= record.attributes.keys()
