"""Small pieces of text: durations in words, and what may go to a terminal."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """``8 s``, ``1 min 12 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def about(seconds: float) -> str:
    """A duration that is only estimated, as coarse as it deserves: ``less than 10 s``, ``about 3 min``."""
    if seconds < 10:
        return "less than 10 s"
    if seconds < 90:
        return f"about {round(seconds / 10) * 10} s"
    if seconds < 5400:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"


def one_line(text: str) -> str:
    """The text on one line, with what would steer a terminal written as an escape."""
    joined = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in joined)
