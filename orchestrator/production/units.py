"""Sizes as the input files write them."""

from __future__ import annotations

import re

_SIZE = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?i?B?)\s*$", re.IGNORECASE)
_GIGABYTES = {"": 1.0, "B": 1e-9, "K": 1e-6, "M": 1e-3, "G": 1.0, "T": 1e3}


def parse_gigabytes(text: str) -> float | None:
    """Storage in GB: ``25``, ``0.512``, ``64GB``, ``"25 GB"``, ``512 MB``; ``None`` if it is no size."""
    found = _SIZE.match(text)
    if not found:
        return None
    number, unit = float(found[1]), found[2].upper().replace("IB", "").rstrip("B")
    if found[2].upper() == "B":
        unit = "B"
    return number * _GIGABYTES[unit]


def parse_megabytes(text: str) -> float | None:
    """Memory in MB: ``4096`` means MB, ``4GB`` is turned into MB; ``None`` if it is no size."""
    found = _SIZE.match(text)
    if not found:
        return None
    if not found[2]:
        return float(found[1])
    gigabytes = parse_gigabytes(text)
    return None if gigabytes is None else gigabytes * (1024 if found[2].upper().startswith("G") else 1000)


def render_size(gigabytes: float) -> str:
    """Storage as TOSCA writes it, e.g. ``64 GB`` or ``512 MB``."""
    if gigabytes == int(gigabytes):
        return f"{int(gigabytes)} GB"
    return f"{round(gigabytes * 1000)} MB"
