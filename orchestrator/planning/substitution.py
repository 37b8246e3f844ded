"""What a profile puts in the place of the real thing, on record."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Substitution:
    """One thing that did not run as it will in production.

    Attributes:
        address: The node template it concerns.
        what: The real thing.
        by: What took its place.
        why: Why.
    """

    address: str
    what: str
    by: str
    why: str
