"""Tells failures that may be gone a moment later from those that a repetition cannot mend."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses of a server that may do later what it does not do now."""

_LONGEST_ASKED = 3600.0
_PASSING_WORDS = re.compile(
    r"toomanyrequests|too many requests|\b(?:429|500|502|503|504) |timeout|timed out|deadline exceeded"
    r"|connection re(?:set|fused)|unexpected EOF|temporary failure in name resolution|server misbehaving",
    re.IGNORECASE,
)


def is_passing(reason: BaseException) -> bool:
    """Whether a connection that failed like this may work a moment later.

    A name that nobody knows, a certificate of somebody else and a file that is not there are not passing; refused,
    broken and silent connections are, and a name server that is busy.
    """
    if isinstance(reason, ssl.SSLCertVerificationError):
        return False
    if isinstance(reason, socket.gaierror):
        return reason.errno == socket.EAI_AGAIN
    if isinstance(reason, (FileNotFoundError, PermissionError)):
        return False
    return isinstance(reason, (OSError, EOFError, http.client.HTTPException))


def tells_of_passing(words: str) -> bool:
    """The same of what a container engine says when its own request to a registry failed: it passes words on."""
    return _PASSING_WORDS.search(words) is not None


def retry_after(value: str | None, now: Callable[[], float] = time.time) -> float:
    """Seconds that a ``Retry-After`` header asks to wait: a number or an HTTP date (RFC 9110, 10.2.3).

    Args:
        value: The header, if there is one.
        now: Seconds since the epoch.

    Returns:
        From 0 (none, or not to be understood) to an hour.
    """
    text = (value or "").strip()
    if text.isdigit() and text.isascii():
        return min(float(text), _LONGEST_ASKED)
    try:
        seconds = parsedate_to_datetime(text).timestamp() - now()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), _LONGEST_ASKED)
