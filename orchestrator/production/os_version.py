"""Writes an operating system's version the way TOSCA wants a version: at least two numbers."""

from __future__ import annotations

import re

_VERSION = re.compile(r"[^0-9]*([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?")


def render_version(text: str) -> str:
    """``12`` → ``12.0``, ``22.04`` → ``22.04``, ``Ubuntu 22.04.3 LTS`` → ``22.04.3``; empty if it holds no number."""
    found = _VERSION.match(text)
    if not found:
        return ""
    major, minor, fix = found.groups()
    return ".".join(part for part in (major, minor or "0", fix) if part)
