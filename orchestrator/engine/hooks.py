"""What happens during a run, as typed events; views and logs listen, nothing here knows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from orchestrator.errors import DeployError
from orchestrator.planning.plan import Change


@dataclass(frozen=True, slots=True)
class ChangeStarted:
    """Work on a change began."""

    change: Change


@dataclass(frozen=True, slots=True)
class ChangeProgress:
    """Something worth showing happened inside a change."""

    change: Change
    message: str


@dataclass(frozen=True, slots=True)
class ChangeRetrying:
    """An attempt at a change failed with ``error``; the next one, ``attempt`` of ``of``, begins in ``seconds``."""

    change: Change
    error: DeployError
    attempt: int
    seconds: float
    of: int = 0


@dataclass(frozen=True, slots=True)
class ChangeFinished:
    """A change is done; ``seconds`` it took. ``degraded`` names what could not be reached and is left for later."""

    change: Change
    seconds: float
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChangeFailed:
    """A change failed."""

    change: Change
    error: DeployError
    seconds: float


@dataclass(frozen=True, slots=True)
class ChangeSkipped:
    """A change was left undone because of ``because``: the address that failed, or the operator's Ctrl-C."""

    change: Change
    because: str


Event: TypeAlias = "ChangeStarted | ChangeProgress | ChangeRetrying | ChangeFinished | ChangeFailed | ChangeSkipped"
Hook: TypeAlias = Callable[[Event], None]
