"""What a remote place must do to keep a state: numbered snapshots, and the segments of the journal after them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Index:
    """What is there.

    Attributes:
        snapshots: Serial of each snapshot, ascending.
        segments: Serial of the first entry of each segment of the journal, ascending.
    """

    snapshots: tuple[int, ...] = ()
    segments: tuple[int, ...] = ()


class RemoteStorage(Protocol):
    """Keeps the state of one deployment. Every method raises StateError with what to do; a write is durable on return.

    Every reader sees what was written before it began to read.
    """

    @property
    def place(self) -> str:
        """Where that is, for people."""

    def index(self) -> Index:
        """What is there."""

    def read_snapshot(self, serial: int) -> bytes | None:
        """A snapshot, or ``None`` if it is not there any longer."""

    def read_segments(self, first: Sequence[int]) -> Mapping[int, bytes]:
        """Segments by their first serial; those that are not there any longer are left out."""

    def add_segment(self, first: int, lines: Sequence[bytes]) -> bool:
        """Keep the lines of new entries, all or none; ``False`` if somebody else has put an entry of that serial there.

        Args:
            first: Serial of the first entry; the others follow without a gap.
            lines: One an entry, each with its end.
        """

    def put_snapshot(self, serial: int, content: bytes, older: int) -> None:
        """Keep a snapshot, then drop what is not needed any longer.

        Args:
            serial: Its serial.
            content: The snapshot.
            older: Serial of the snapshot to keep as a backup, with all that comes after it; 0 if there is none, then
                the whole journal is kept.
        """

    def install(self, serial: int, content: bytes) -> None:
        """Keep a snapshot as the only thing there is; a crash leaves the old state, or the new one, or none."""

    def clear(self) -> None:
        """Remove everything of the state; a crash leaves it either whole or gone. Nothing there is no error."""

    def describe_snapshot(self, serial: int) -> str:
        """What a person calls it, e.g. a key or a row."""

    def describe_segment(self, first: int) -> str:
        """What a person calls it."""
