"""Takes secret values out of text before anybody sees it, in whichever of the usual forms they stand there."""

from __future__ import annotations

import base64
import functools
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus

MASK = "***"
"""Stands in the place of a secret value."""

_SHORTEST = 4
"""Characters of the shortest value that is masked; a shorter one would occur in text that has nothing to do with it."""

_SHORTEST_PART = 12
"""Characters of the shortest part of a value (a line, a piece of base64) that is masked by itself."""


_NEVER_PASSED_ON = ("DEPLOY_SECRETS_KEY",)
"""Variables that hold keys of our own."""


def mask(text: str, values: Iterable[str]) -> str:
    """``text`` with every secret value replaced by ``***``, the longest first.

    A value is found as it is, in base64 (also in the middle of a longer encoded text, as in an HTTP basic
    authentication header), URL-encoded, and escaped for JSON; of a value with several lines, every line.
    """
    pattern = _pattern(tuple(sorted(set(values))))
    return pattern.sub(MASK, text) if pattern else text


class SecretMask:
    """A logging filter that masks secret values; to be added to handlers, so that every logger's records go through it.

    Args:
        values: Gives the secret values known by now.
    """

    def __init__(self, values: Callable[[], Iterable[str]]) -> None:
        self._values = values

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask message, exception and stack of the record; every record passes."""
        values = tuple(self._values())
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):
            # Wrong arguments for the message's placeholders: show both, as logging would only complain.
            message = f"{record.msg} {record.args!r}"
        record.msg, record.args = mask(message, values), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = mask(record.exc_text, values)
        if record.stack_info:
            record.stack_info = mask(record.stack_info, values)
        return True


@functools.lru_cache(maxsize=8)
def _pattern(values: tuple[str, ...]) -> re.Pattern[str] | None:
    forms = {form for value in values for form in forms_of(value)}
    ordered = sorted(forms, key=lambda form: (-len(form), form))
    return re.compile("|".join(re.escape(form) for form in ordered)) if ordered else None


def forms_of(value: str) -> frozenset[str]:
    """Every form in which a secret value is looked for; none if it is too short to be told from ordinary text."""
    return frozenset(_forms(value)) if len(value) >= _SHORTEST else frozenset()


def without_secrets(environment: Mapping[str, str], values: Iterable[str]) -> dict[str, str]:
    """Environment variables for a child process, less those that hold a secret value."""
    known = tuple(values)
    return {
        name: text for name, text in environment.items() if name not in _NEVER_PASSED_ON and mask(text, known) == text
    }


def _forms(value: str) -> Iterator[str]:
    for text in (value, value.strip()):
        if len(text) < _SHORTEST:
            continue
        yield text
        yield from (quote(text), quote(text, safe=""), quote_plus(text))
        yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1])
        yield from _base64_forms(text.encode("utf-8", errors="surrogatepass"))
    lines = value.splitlines()
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= _SHORTEST_PART and not line.startswith("-----"))


def _base64_forms(content: bytes) -> Iterator[str]:
    whole = base64.b64encode(content).decode("ascii")
    yield from (whole, whole.rstrip("="))
    for before in range(3):
        # Text in front shifts the groups of three bytes; characters that also hold bits of a neighbour are left off.
        encoded = base64.b64encode(b"\0" * before + content).decode("ascii")
        first = (before * 8 + 5) // 6
        last = (before + len(content)) * 8 // 6
        part = encoded[first:last]
        if len(part) >= _SHORTEST_PART:
            yield from (part, part.translate(_URL_SAFE))
    yield from (whole.translate(_URL_SAFE), whole.translate(_URL_SAFE).rstrip("="))


_URL_SAFE = str.maketrans("+/", "-_")
