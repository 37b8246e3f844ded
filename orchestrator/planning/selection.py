"""Which instances a person means by an address, a node template or a component; plans narrowed down to them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.errors import DeployError
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.plan import Change
from orchestrator.state.former import is_former
from orchestrator.state.model import InstanceRecord


class NoSuchTargetError(DeployError):
    """Nothing is called like that."""

    exit_code = 2

    def __init__(self, option: str, name: str, known: Sequence[str]) -> None:
        from orchestrator.topology.reading import nearest  # noqa: PLC0415 - only a mistake needs it

        near = nearest(name, known)
        super().__init__(
            "There is nothing of that name.",
            detail=f"{option} names {name!r}, which is neither an address (service-a, edge[0]), nor a node template, "
            "nor a component of this deployment." + (f" Did you mean {near!r}?" if near else ""),
            resolution="Correct the name; `deploy plan` without it shows all addresses.",
        )


def select(
    names: Sequence[str], wanted: Mapping[str, DesiredInstance], records: Mapping[str, InstanceRecord], option: str
) -> frozenset[str]:
    """Addresses that the names stand for.

    Args:
        names: Addresses, node templates or components.
        wanted: Desired instances by address.
        records: Recorded instances by address that may be meant as well.
        option: Where the names were given, for the message.

    Raises:
        NoSuchTargetError: If a name stands for nothing.
    """
    if not names:
        return frozenset()
    meant: dict[str, set[str]] = {}
    for address, instance in wanted.items():
        for name in (address, instance.node, str(instance.properties.get("component") or "")):
            meant.setdefault(name, set()).add(address)
    for address, record in records.items():
        if address not in wanted:
            for name in (address, record.node, str(record.inputs.get("properties.component") or "")):
                meant.setdefault(name, set()).add(address)
    meant.pop("", None)
    for name in names:
        if name not in meant:
            raise NoSuchTargetError(option, name, tuple(meant))
    return frozenset().union(*(meant[name] for name in names))


def narrowed(changes: Mapping[str, Change], chosen: frozenset[str]) -> dict[str, Change]:
    """The chosen changes with all that must come before them.

    What something moves away from is kept for as long as the plan leaves anything out that is still wired to it.
    """
    kept: set[str] = set()
    waiting = list(chosen)
    while waiting:
        address = waiting.pop()
        if address in changes and address not in kept:
            kept.add(address)
            waiting.extend(changes[address].after)
    # Removals come last, and each after those that it waits for: one pass finds the formers that may go.
    for address, change in changes.items():
        if is_former(address) and kept.issuperset(a for a in change.after if a in changes):
            kept.add(address)
    return {address: change for address, change in changes.items() if address in kept}
