"""What a place that keeps the state must do, be it a folder, a bucket or a database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from orchestrator.state.journal import JournalEntry
from orchestrator.state.model import State


class StateStore(Protocol):
    """Keeps one deployment's state as a snapshot and the journal entries since then.

    Only the holder of the deployment's lock may call ``append``, ``compact`` and ``delete``; ``load`` needs no lock.
    Every method raises StateError with what is wrong and what to do, and leaves what is kept as it was then.
    """

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the last ``load`` came across and mended, in full sentences."""

    def load(self) -> State | None:
        """The state as last written, or ``None`` if there is none.

        Raises:
            StateVersionError: If a newer program wrote it.
            StateError: If it is damaged and cannot be rebuilt without losing anything.
        """

    def append(self, entries: Sequence[JournalEntry]) -> None:
        """Add entries, durable on return. The first one's serial must follow the last one kept.

        A store refuses entries that do not follow, since somebody else must have written then.
        """

    def compact(self, state: State) -> None:
        """Replace snapshot and journal by a snapshot of ``state``, which must be what they say already."""

    def install(self, state: State) -> None:
        """Put ``state`` in place of whatever is kept, be that damaged or of another lineage.

        A crash leaves what was there, or ``state``; where another lineage or a higher serial was there, it may also
        leave nothing.
        """

    def delete(self) -> None:
        """Remove everything kept; nothing there is no error."""
