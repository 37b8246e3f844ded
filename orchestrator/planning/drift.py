"""Compares what was recorded with what is found, property by property, and says it in words. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from orchestrator.planning.observation import Difference, Observation, Presence
from orchestrator.topology.model import Value

_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([EPTGMk]i?|m)?")
_FACTORS = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_BINARY = {"ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60}
_LONGEST = 40


def compare(recorded: Mapping[str, Value], found: Mapping[str, Value]) -> tuple[Difference, ...]:
    """What of the recorded is found otherwise, or not at all; what is found beyond it is not looked at."""
    return tuple(
        Difference(name, value, found.get(name)) for name, value in recorded.items() if found.get(name) != value
    )


def compare_attributes(recorded: Mapping[str, Value], found: Mapping[str, Value]) -> tuple[Difference, ...]:
    """What of the found is recorded otherwise; what is not recorded was not known when it was made."""
    return tuple(
        Difference(name, recorded[name], value)
        for name, value in found.items()
        if name in recorded and recorded[name] != value
    )


def quantity(text: Value) -> float | None:
    """A quantity as Kubernetes writes it (``512Mi``, ``500m``) as a number; ``None`` if it is none."""
    found = _QUANTITY.fullmatch(str(text).strip())
    if found is None:
        return None
    unit = found[2] or ""
    return float(found[1]) * (_BINARY[unit] if unit in _BINARY else _FACTORS[unit])


def in_words(differences: Sequence[Difference]) -> str:
    """The differences as one clause, e.g. ``memory_mb is 512 instead of 256``."""
    return "; ".join(phrase for difference in differences for phrase in phrases(difference))


def phrases(difference: Difference) -> Iterator[str]:
    """A clause for each part that differs."""
    if _are_texts(difference.recorded) and _are_texts(difference.found):
        for name, recorded, found in parts(difference):
            if recorded is None:
                yield f"{name} has {_short(found)}, which it had not"
            elif found is None:
                yield f"{name} has no longer {_short(recorded)}"
            else:
                yield f"{name} is in another order"
        return
    for name, recorded, found in parts(difference):
        if found is None:
            yield f"{name} is not there (was {_short(recorded)})"
        elif recorded is None:
            yield f"{name} is there ({_short(found)}) and was not"
        else:
            yield f"{name} is {_short(found)} instead of {_short(recorded)}"


def parts(difference: Difference) -> Iterator[tuple[str, Value, Value]]:
    """Name, recorded and found value of what differs, entry by entry where both are mappings or lists of texts."""
    recorded, found = difference.recorded, difference.found
    if isinstance(recorded, Mapping) and isinstance(found, Mapping):
        for key in dict.fromkeys((*recorded, *found)):
            if recorded.get(key) != found.get(key):
                yield f"{difference.name}.{key}", recorded.get(key), found.get(key)
    elif isinstance(recorded, list) and isinstance(found, list) and _are_texts(recorded) and _are_texts(found):
        gone, new = [e for e in recorded if e not in found], [e for e in found if e not in recorded]
        yield from ((difference.name, entry, None) for entry in gone)
        yield from ((difference.name, None, entry) for entry in new)
        if not (gone or new):
            yield difference.name, recorded, found
    else:
        yield difference.name, recorded, found


def _are_texts(value: Value) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def drift_of(seen: Observation) -> tuple[Difference, ...]:
    """All that differs, also where only the whole of it is known: that it is gone, or not as it should be."""
    if seen.presence is Presence.MISSING and not seen.differences:
        return (Difference("presence", Presence.PRESENT.value, None),)
    if seen.presence is Presence.DEGRADED and not seen.differences:
        return (Difference("condition", "well", seen.detail or Presence.DEGRADED.value),)
    return seen.differences


def drifted(
    differences: tuple[Difference, ...], detail: str = "", attributes: Mapping[str, Value] | None = None
) -> Observation:
    """Present if nothing differs; else degraded, which an apply mends."""
    if not differences:
        return Observation(Presence.PRESENT, detail, attributes or {})
    return Observation(Presence.DEGRADED, in_words(differences), attributes or {}, differences)


def _short(value: Value) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else text[:18] + "…" + text[-18:]
