"""What is known of the parts that the machines of a deployment share, so that they are looked for once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, TypeVar

from orchestrator.errors import ProviderError
from orchestrator.providers.access_rules import rules_of
from orchestrator.providers.base import MachineRequest
from orchestrator.providers.cloud_parts import KEY_NAME, setting

Network = TypeVar("Network")
Parts = TypeVar("Parts")
Made = TypeVar("Made")


@dataclass
class KnownParts(Generic[Network]):
    """The parts of one deployment at one place.

    Attributes:
        lock: Held by whoever looks for them or makes them, so that this is done once.
        networks: Where machines are put, by what is asked for.
        keys: Names of SSH keys, by the user's own name for one.
        groups: Identifiers of security groups, by network and rules.
    """

    lock: Lock = field(default_factory=Lock)
    networks: dict[tuple[str, ...], Network] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    groups: dict[tuple[object, ...], tuple[str, ...]] = field(default_factory=dict)

    def forget(self) -> None:
        """Have all looked for again."""
        for known in (self.networks, self.keys, self.groups):
            known.clear()

    def network_for(self, asked: tuple[str, ...], find: Callable[[], Network]) -> Network:
        """Where a machine is put; found by the first that asks for the same."""
        if asked not in self.networks:
            self.networks[asked] = find()
        return self.networks[asked]

    def key_for(self, request: MachineRequest, find: Callable[[], str]) -> str:
        """Name of a machine's SSH key; found by the first that asks for the same."""
        asked = setting(request, KEY_NAME)
        if asked not in self.keys:
            self.keys[asked] = find()
        return self.keys[asked]

    def groups_for(
        self, request: MachineRequest, ensure: Callable[[], tuple[str, ...]], network: str = ""
    ) -> tuple[str, ...]:
        """A machine's security groups with the rules that it asks for; set by the first that asks for the same.

        Args:
            request: The machine.
            ensure: Makes them and sets their rules.
            network: What they belong to, where they belong to a network.
        """
        asked = (network, *sorted(rules_of(request).items(), key=lambda item: item[0]))
        if asked not in self.groups:
            self.groups[asked] = ensure()
        return self.groups[asked]

    def use(
        self, find: Callable[[], Parts], make: Callable[[Parts], Made], is_missing: Callable[[ProviderError], bool]
    ) -> Made:
        """Make something with the parts; they are looked for anew, once, if they were removed behind our back.

        Args:
            find: Finds the parts.
            make: Makes it with them.
            is_missing: Whether it failed because one of them is not there.
        """
        parts = find()
        try:
            return make(parts)
        except ProviderError as error:
            if not is_missing(error):
                raise
        with self.lock:
            self.forget()
        return make(find())


Known = TypeVar("Known")


class KnownDeployments(Generic[Known]):
    """What is known of each deployment, by lineage. Safe to use from several threads.

    Args:
        make: Makes what is known of one: nothing yet.
    """

    def __init__(self, make: Callable[[], Known]) -> None:
        self._make = make
        self._lock = Lock()
        self._known: dict[str, Known] = {}

    def of(self, lineage: str) -> Known:
        """What is known of a deployment."""
        with self._lock:
            if lineage not in self._known:
                self._known[lineage] = self._make()
            return self._known[lineage]

    def all(self) -> list[Known]:
        """What is known of each."""
        with self._lock:
            return list(self._known.values())

    def forget(self, lineages: Iterable[str]) -> None:
        """Have all that belongs to these looked for again."""
        with self._lock:
            for lineage in lineages:
                self._known.pop(lineage, None)
