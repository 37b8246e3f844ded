"""Writes exported documents as YAML: sorted keys, no aliases, the same bytes for the same input.

A deployment's templates are many and nearly the same, so each distinct text is looked at once.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from orchestrator.topology.located import implicit_tag

_PLAIN = re.compile(r"[A-Za-z/_](?:[A-Za-z0-9 _./()@+-]|:(?=[^ ]))*")
_UNSAFE = re.compile("[^ -~\xa1-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")

_MAX_KEY = 1000
"""A longer key must be marked as one: readers look no further than 1024 characters for its colon."""


def render_yaml(value: Any) -> str:
    """A document as YAML text; it is made of mappings with text keys, sequences and plain values."""
    return "\n".join(_block(value)) + "\n"


def render_documents(values: list[Any]) -> str:
    """Several documents as one YAML text."""
    return "".join(f"---\n{render_yaml(value)}" for value in values)


def _block(value: Any) -> Iterator[str]:
    """Lines of a value that stands on lines of its own."""
    if isinstance(value, Mapping) and value:
        for key in sorted(value):
            head = _scalar(key)
            if len(head) <= _MAX_KEY:
                yield from _entry(f"{head}:", value[key])
            else:
                yield f"? {head}"
                yield from _entry(":", value[key])
    elif _is_sequence(value) and value:
        for item in value:
            lines = _block(item)
            yield f"- {next(lines)}"
            yield from (f"  {line}" for line in lines)
    else:
        yield _inline(value)


def _entry(head: str, value: Any) -> Iterator[str]:
    """Lines of a key and its value."""
    if isinstance(value, Mapping) and value:
        yield head
        yield from (f"  {line}" for line in _block(value))
    elif _is_sequence(value) and value:
        yield head
        yield from _block(value)
    else:
        yield f"{head} {_inline(value)}"


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{}"
    return "[]" if _is_sequence(value) else _scalar(value)


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return _number(value)
    return _text(str(value))


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(value)  # one with hundreds of digits is no float
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    mantissa, mark, exponent = repr(value).partition("e")
    if mark and "." not in mantissa:
        mantissa += ".0"  # YAML 1.1 takes 1e-06 for a text
    return mantissa + mark + exponent


@lru_cache(maxsize=100_000)
def _text(text: str) -> str:
    is_plain = _PLAIN.fullmatch(text) and not text.endswith((" ", ":")) and text.lower() not in ("y", "n")
    if is_plain and implicit_tag(text) == "str":
        return text
    return _UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", json.dumps(text, ensure_ascii=False))
