"""What a place that keeps one small document, replaced as a whole, must do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as read.

    Attributes:
        content: Its bytes.
        version: Tells one content from the next; opaque, given back when the document is replaced.
    """

    content: bytes
    version: str


class DocumentStore(Protocol):
    """Keeps one document. Every method raises StateError with what is wrong and what to do."""

    def read(self) -> StoredDocument | None:
        """The document, or ``None`` if there is none."""

    def write(self, content: bytes, previous: str) -> str:
        """Replace the document, durable on return.

        Args:
            content: The new document.
            previous: Version that was read, empty if there was none; if another one is kept now, nothing is written.

        Returns:
            The new version.

        Raises:
            StateError: If somebody else replaced it meanwhile, or it cannot be written.
        """

    def delete(self) -> None:
        """Remove the document; nothing there is no error."""
