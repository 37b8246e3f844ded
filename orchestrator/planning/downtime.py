"""What a change costs while it is done: which work stops, and for how long. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance


class DowntimeKind(StrEnum):
    """How long work stops, from not at all to longest."""

    NONE = "none"
    RESTART = "restart"
    """For as long as it is configured and started again where it is."""

    UNTIL_REMADE = "until-remade"
    """From the removal of the old one, or its loss, until the new one is started."""


@dataclass(frozen=True, slots=True)
class Downtime:
    """What stops while a change is done.

    Attributes:
        kind: How long.
        text: The same in words, with what stops.
    """

    kind: DowntimeKind
    text: str


NO_DOWNTIME = Downtime(DowntimeKind.NONE, "none")


def downtime_of(action: Action, instance: DesiredInstance, *, was_there: bool, only_gains: bool) -> Downtime:
    """The rule, see ``docs/adr/0014-moves.md``.

    Args:
        action: What is done.
        instance: To what.
        was_there: Whether it is recorded, so that something may rely on it.
        only_gains: Whether nothing changes but where its results go, which machines it has more, and who reaches it.
    """
    name = instance.address
    if action is Action.REPLACE or (action is Action.CREATE and was_there):
        return Downtime(DowntimeKind.UNTIL_REMADE, f"{name}, and what runs on it, until it is made anew")
    if action is not Action.UPDATE:
        return NO_DOWNTIME
    if only_gains or not _is_running(instance):
        return NO_DOWNTIME
    return Downtime(DowntimeKind.RESTART, f"restart of {name}")


def _is_running(instance: DesiredInstance) -> bool:
    """Whether it does work of its own: it is a machine, or something configures or starts it."""
    return bool(instance.provider) or not {"configure", "start"}.isdisjoint(instance.operations)


def longest(downtimes: Iterable[Downtime]) -> tuple[Downtime, ...]:
    """Those that stop something, longest first; ties in the order given."""
    order = list(DowntimeKind)
    found = [d for d in downtimes if d.kind is not DowntimeKind.NONE]
    return tuple(sorted(found, key=lambda d: -order.index(d.kind)))
