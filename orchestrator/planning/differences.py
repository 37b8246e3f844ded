"""What differs between what an instance was made from and what is wanted, in words. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from orchestrator.planning.desired import SECRETS
from orchestrator.planning.records import FRONT

_LONGEST = 40
_FRONT = f"requirements.{FRONT}"


def differences(
    before: Mapping[str, object], after: Mapping[str, object], without: Collection[str] = ()
) -> tuple[str, ...]:
    """One phrase for every input that differs, in the order of the wanted ones.

    Args:
        before: Recorded inputs, by ``kind.name``.
        after: Wanted inputs.
        without: Keys that are told in other words.
    """
    if before == after:
        return ()
    phrases: dict[str, None] = {}
    for key in dict.fromkeys((*after, *before)):
        if key.startswith(SECRETS):
            phrases[f"secret {_name(key)!r} was rotated"] = None
        elif key == _FRONT:
            phrases.update(dict.fromkeys(_reached(before.get(key), after.get(key))))
        elif key not in without:
            phrases.update(dict.fromkeys(_difference(_name(key), key, before, after)))
    return tuple(phrases)


def differing_keys(before: Mapping[str, object], after: Mapping[str, object]) -> frozenset[str]:
    """Keys of the inputs that differ."""
    if before == after:
        return frozenset()
    absent = object()
    return frozenset(k for k in (*after, *before) if before.get(k, absent) != after.get(k, absent))


def _name(key: str) -> str:
    """What a person knows an input by: what a profile adds is told from a property of the same name."""
    kind, _, name = key.partition(".")
    return f"setting {name}" if kind == "settings" else name or key


def _difference(name: str, key: str, before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[str]:
    if key not in before:
        yield f"{name!r} added"
    elif key not in after:
        yield f"{name!r} removed"
    elif before[key] != after[key]:
        yield from _changed(name, before[key], after[key])


def _changed(name: str, before: object, after: object) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys((*after, *before)):
            yield from _difference(f"{name}.{key}", key, before, after)
    elif isinstance(before, list) and isinstance(after, list) and _are_names(before, after):
        gained, lost = [i for i in after if i not in set(before)], [i for i in before if i not in set(after)]
        if len(before) == len(after) == 1 or not (gained or lost):
            yield f"{name!r} changed: {_short(', '.join(before))} → {_short(', '.join(after))}"
            return
        if gained:
            yield f"{name!r} gains {_several(gained)}"
        if lost:
            yield f"{name!r} loses {_several(lost)}"
    else:
        yield f"{name!r} changed: {_short(before)} → {_short(after)}"


def _reached(before: object, after: object) -> Iterator[str]:
    """Another way to a machine: through those after it, through none any longer."""
    if before != after:
        way = after if isinstance(after, list) else before if isinstance(before, list) else []
        yield f"is {'' if way is after else 'no longer '}reached through {', '.join(map(str, way))}"


def _are_names(*lists: list[object]) -> bool:
    return all(isinstance(item, str) for items in lists for item in items)


def _several(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]}, {names[1]} and {len(names) - 2} more"


def _short(value: object) -> str:
    text = "nothing" if value is None or value == "" else str(value)
    return text if len(text) <= _LONGEST else text[:18] + "…" + text[-18:]
