"""Time stamps as the state writes them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]
"""Gives the present moment with a time zone; tests put their own in."""


def utc_now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(UTC)


def render_time(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds, e.g. ``2025-11-21T03:05:01.123Z``.

    Stamps are for people; nothing is put in order by them, since a clock may be set back.
    """
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
