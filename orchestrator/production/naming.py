"""Turns names of the input into names for hosts, services and deployments."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache

MAX_DEPLOYMENT = 40
MAX_SERVICE = 39
MAX_RESOURCE = 40
"""Leaves room in a host name (63 characters) for the layer's number before and the machine's number behind."""

_PARTITION = re.compile(r"^(?P<base>.+?)[-_](?P<partition>partition[0-9X]+[-_]\d+)$")


@lru_cache(maxsize=4096)
def sanitise(name: str) -> str:
    """The name in ``[a-z0-9-]``: accents dropped, everything else that is not a letter or digit becomes one dash."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def shorten(name: str, longest: int) -> str:
    """The name if it is short enough, else its beginning and six digits that tell it from others."""
    if len(name) <= longest:
        return name
    digits = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{name[: longest - 7].rstrip('-')}-{digits}"


def partition_of(component: str) -> tuple[str, str]:
    """Component and partition that a segment's name is made of, e.g. ``blurry-faces``, ``partition1_1``."""
    found = _PARTITION.match(component)
    return (found["base"], found["partition"].replace("-", "_")) if found else (component, "")


def segment_order(component: str) -> tuple[str, int]:
    """Sorts segments of a component by partition, then by the segment's number."""
    _, partition = partition_of(component)
    head, _, number = partition.rpartition("_")
    return (head, int(number)) if number.isdigit() else (partition, 0)


def resource_node(layer: int, resource: str) -> str:
    """Name of a resource's machines."""
    return f"layer{layer}-{sanitise(resource)}"
