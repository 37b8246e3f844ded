"""Scalars of YAML."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any


class YamlError(ValueError):
    """Text that is not YAML, or uses more of it than manifests do."""


_NUMBERS: tuple[tuple[str, Callable[[str], Any]], ...] = (
    (r"[-+]?(?:0|[1-9][0-9]*)", int),
    (r"0o?[0-7]+", lambda text: int(text.replace("o", ""), 8)),
    (r"0x[0-9a-fA-F]+", lambda text: int(text, 16)),
    (r"[-+]?(?:[0-9]*\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+)(?:[eE][-+]?[0-9]+)?", float),
)


def unquote(text: str) -> str:
    """A YAML scalar as text."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        return str(json.loads(text.replace("\t", "\\t")))
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    return text


def parse_scalar(text: str) -> Any:
    """What a scalar stands for."""
    text = text.strip()
    if text[:1] in {'"', "'"}:
        return unquote(text)
    if text[:1] in {"&", "*", "!"}:
        raise YamlError(f"anchors and tags are more than this stand-in reads: {text}")
    if text[:1] in {"@", "`", "%"}:
        raise YamlError("found character that cannot start any token")
    if text in {"", "~", "null", "Null", "NULL"}:
        return None
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    return next((make(text) for pattern, make in _NUMBERS if re.fullmatch(pattern, text)), text)
