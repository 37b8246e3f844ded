"""The order in which addresses of node instances are shown."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"(\d+)")


def address_order(address: str) -> tuple[tuple[str, int], ...]:
    """Sorting key: machines before what runs on them (``edge[0]``, ``edge-k3s``), ``edge[2]`` before ``edge[10]``."""
    parts = _NUMBER.split(address.replace("[", " "))
    return tuple((words, int(number)) for words, number in zip(parts[::2], [*parts[1::2], "0"], strict=True))
