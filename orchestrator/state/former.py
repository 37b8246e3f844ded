"""Former instances: what was at an address before it moved, kept in the state until it is removed."""

from __future__ import annotations

import re
from collections.abc import Iterable

_FORMER = re.compile(r"^(?P<address>.+)@(?P<generation>[1-9][0-9]*)$")


def former_address(address: str, generation: int) -> str:
    """Where the object of that generation is kept once another one has taken its address: ``service@1``."""
    return f"{address}@{generation}"


def is_former(address: str) -> bool:
    """Whether something moved away from under the address: nothing that is wanted has one like it."""
    return "@" in address and _FORMER.match(address) is not None


def present_address(address: str) -> str:
    """The address that a former instance had, or the address itself."""
    found = _FORMER.match(address) if "@" in address else None
    return found["address"] if found else address


def former_generation(address: str) -> int:
    """Generation of a former instance; 0 if it is none."""
    found = _FORMER.match(address) if "@" in address else None
    return int(found["generation"]) if found else 0


def newest_former(addresses: Iterable[str]) -> dict[str, int]:
    """Address to the highest generation of its former instances, for each that has one."""
    newest: dict[str, int] = {}
    for address in addresses:
        if generation := former_generation(address):
            present = present_address(address)
            newest[present] = max(generation, newest.get(present, 0))
    return newest
