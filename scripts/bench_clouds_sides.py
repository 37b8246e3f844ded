"""What the measurements of all clouds have in common: what the provider's side does, and what a figure is."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import ProviderError
from orchestrator.providers.base import (
    Access,
    DeploymentTag,
    Machine,
    MachineProvider,
    MachineRequest,
)
from orchestrator.providers.registry import load_provider, parallel_limit
from orchestrator.remote.keys import generate_key

SSH_FROM = ("203.0.113.7/32",)
ATTEMPTS = 5
PHASES = ("first", "up", "look", "down")
"""The first machine with all that they share, through which an apply reaches the others; these; a refresh; all gone."""


@dataclass
class Part:
    """What one side took: seconds by phase, and how often each operation was called."""

    seconds: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Seconds of all but the look."""
        return sum(seconds for name, seconds in self.seconds.items() if name != "look")


@dataclass
class Turn:
    """Both sides, one right after the other."""

    ours: Part
    bare: Part

    @property
    def ratio(self) -> float:
        """1 is what nobody beats who makes the same calls."""
        return self.ours.total / self.bare.total


@dataclass
class Result:
    """Several turns."""

    provider: str
    machines: int
    turns: list[Turn]

    @property
    def middle(self) -> Turn:
        """The one whose ratio is the median; of an even number the worse one of the two."""
        return sorted(self.turns, key=lambda turn: turn.ratio)[len(self.turns) // 2]

    @property
    def ratios(self) -> list[float]:
        """Of all turns, the best one first."""
        return sorted(turn.ratio for turn in self.turns)

    @property
    def told(self) -> dict[str, Any]:
        """For other programs."""
        return {
            "provider": self.provider,
            "machines": self.machines,
            "ratio": self.middle.ratio,
            "ratios": self.ratios,
            "calls": {side: sum(getattr(self.middle, side).calls.values()) for side in ("ours", "bare")},
        }


def repeated(act: Callable[[], Any]) -> Any:
    """What comes of it; servers that are asked and changed at the same time fail now and then."""
    for _ in range(ATTEMPTS):
        try:
            return act()
        except ProviderError as problem:
            if not problem.transient:
                raise
    return act()


def requests_for(cloud: str, count: int, image: str, flavor: str) -> list[MachineRequest]:
    """Machines of one resource: the first one leads to the others."""
    lineage = uuid.uuid4().hex
    deployment = DeploymentTag(f"bench-{lineage[:8]}", lineage)
    private, public = generate_key()
    return [
        MachineRequest(
            deployment=deployment,
            address=f"bench[{number}]",
            token=f"{lineage}-{number}",
            hostname=f"bench-{number}",
            architecture="amd64",
            cpus=1,
            memory_mb=512,
            authorized_key=public,
            image=image,
            flavor=flavor,
            access=Access("bench", SSH_FROM, public=number == 0, jump="bench[0]" if number else ""),
            host_key=private,
            place=cloud,
        )
        for number in range(count)
    ]


def run_ours(name: str, requests: Sequence[MachineRequest], phase: Callable[[str], None]) -> dict[str, float]:
    """Make the machines, look at them once, remove them with everything else; seconds by phase."""
    provider: MachineProvider = load_provider(name)
    deployment = requests[0].deployment
    seconds: dict[str, float] = {}

    def timed(name: str, act: Callable[[], Any]) -> Any:
        phase(name)
        started = time.perf_counter()
        answer = act()
        seconds[name] = time.perf_counter() - started
        return answer

    def up() -> list[str]:
        with ThreadPoolExecutor(parallel_limit(name)) as pool:
            return [machine.id for machine in pool.map(create, requests[1:])]

    def down() -> None:
        with ThreadPoolExecutor(parallel_limit(name)) as pool:
            list(pool.map(lambda machine: repeated(lambda: provider.delete(machine)), made))
        repeated(lambda: provider.release(deployment))

    def create(request: MachineRequest) -> Machine:
        machine: Machine = repeated(lambda: provider.create(request))
        return machine

    provider.find(deployment)  # logs in, and loads the library
    made = [timed("first", lambda: create(requests[0])).id, *timed("up", up)]
    found = timed("look", lambda: provider.find(deployment))
    timed("down", down)
    phase("")
    if len(found) != len(requests) or provider.leftovers(deployment):
        raise RuntimeError(f"{len(found)} of {len(requests)} machines were found, or something is left")
    return seconds


@contextmanager
def environment(prefix: str, settings: Mapping[str, str]) -> Iterator[None]:
    """Variables for the time of the block, in the place of all others that begin so."""
    before = {name: value for name, value in os.environ.items() if name.startswith(prefix)}
    for name in before:
        del os.environ[name]
    os.environ.update(settings)
    try:
        yield
    finally:
        for name in settings:
            os.environ.pop(name, None)
        os.environ.update(before)
