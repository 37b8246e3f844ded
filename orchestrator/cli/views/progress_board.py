"""Where every change of a run stands, kept up to date by the run's events; says nothing of how that is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import assert_never

from orchestrator.engine.hooks import (
    ChangeFailed,
    ChangeFinished,
    ChangeProgress,
    ChangeRetrying,
    ChangeSkipped,
    ChangeStarted,
    Event,
)
from orchestrator.planning.plan import Change, Plan
from orchestrator.topology.model import Topology


class Stand(StrEnum):
    """Where a change stands."""

    FAILED = "failed"
    RETRYING = "retrying"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    SKIPPED = "left undone"


ACTIVE = (Stand.FAILED, Stand.RETRYING, Stand.RUNNING)
"""What a person wants to see when there is no room for everything, most important first."""

OVER = (Stand.DONE, Stand.FAILED, Stand.SKIPPED)


@dataclass(slots=True)
class Row:
    """One change.

    Attributes:
        change: The change.
        stand: Where it stands.
        text: Its current step, what it failed at, or why it was left undone.
        since: When it started, on the board's clock.
        again: When the next attempt begins, while it is retrying.
        seconds: How long it took, once it is over.
    """

    change: Change
    stand: Stand = Stand.WAITING
    text: str = ""
    since: float = 0.0
    again: float = 0.0
    seconds: float = 0.0

    def elapsed(self, now: float) -> float:
        """Seconds since its start, up to its end."""
        if self.stand in OVER:
            return self.seconds
        return 0.0 if self.stand is Stand.WAITING else now - self.since


@dataclass(slots=True)
class Board:
    """Every change that is one, by groups; times are seconds of a clock that is never set.

    Attributes:
        groups: Title of a group to the rows in it, in the order of the plan.
        rows: The same rows by address.
        started: When the run started.
    """

    groups: dict[str, list[Row]]
    started: float
    rows: dict[str, Row] = field(init=False)

    def __post_init__(self) -> None:
        """Index the rows; in the plan's order, which grouping may have changed."""
        self.rows = {row.change.address: row for rows in self.groups.values() for row in rows}

    @property
    def is_over(self) -> bool:
        """Whether nothing runs or waits any longer."""
        return all(row.stand in OVER for row in self.rows.values())

    def advance(self, now: float) -> None:
        """Let what waited for its next attempt run again once that has begun."""
        for row in self.rows.values():
            if row.stand is Stand.RETRYING and now >= row.again:
                row.stand, row.text = Stand.RUNNING, row.text.partition(" in ")[0]

    def counts(self) -> Counter[Stand]:
        """How many changes stand where."""
        return Counter(row.stand for row in self.rows.values())

    def unfinished(self, order: Mapping[str, Change]) -> dict[str, Change]:
        """Changes that run or wait, in the order given."""
        return {a: c for a, c in order.items() if a in self.rows and self.rows[a].stand not in OVER}

    def take(self, event: Event, now: float, masked: Callable[[str], str] = str) -> None:
        """Note one event; ``masked`` takes secret values out of what is shown of it."""
        row = self.rows.get(event.change.address)
        if row is None:
            return
        match event:
            case ChangeStarted():
                row.stand, row.since, row.text = Stand.RUNNING, now, ""
            case ChangeProgress(_, message):
                row.stand, row.text = Stand.RUNNING, masked(message)
            case ChangeRetrying(_, error, attempt, seconds, of):
                row.stand, row.again = Stand.RETRYING, now + seconds
                number = f"{attempt} of {of}" if of else str(attempt)
                row.text = f"attempt {number} in {seconds:.0f} s: {masked(error.summary)}"
            case ChangeFinished(_, seconds, degraded):
                row.stand, row.seconds = Stand.DONE, seconds
                row.text = f"without {', '.join(degraded)}" if degraded else ""
            case ChangeFailed(_, error, seconds):
                row.stand, row.seconds, row.text = Stand.FAILED, seconds, masked(error.summary)
            case ChangeSkipped():
                row.stand, row.text = Stand.SKIPPED, event.because
            case _:
                assert_never(event)


def board_of(plan: Plan, topology: Topology | None, started: float) -> Board:
    """A board on which every change of the plan waits, grouped by computational layer as the plan is shown."""
    changes = {a: c for a, c in plan.changes.items() if not c.is_noop}
    groups = {title: [Row(c) for c in members] for title, members in group_changes(changes, topology).items()}
    return Board(groups, started)


def group_changes(changes: Mapping[str, Change], topology: Topology | None) -> dict[str, Sequence[Change]]:
    """Changes under the titles of their computational layers, what belongs to none last; each change once."""
    layer_of: dict[str, str] = {}
    for group in topology.groups.values() if topology is not None else ():
        if group.type.endswith("ComputationalLayer"):
            title = str(group.properties.get("name") or group.name)
            for member in group.members:
                layer_of.setdefault(member, title)
    grouped: dict[str, list[Change]] = {title: [] for title in dict.fromkeys(layer_of.values())}
    rest: list[Change] = []
    for change in changes.values():
        grouped[layer_of[change.instance.node]].append(change) if change.instance.node in layer_of else rest.append(
            change
        )
    shown: dict[str, Sequence[Change]] = {title: members for title, members in grouped.items() if members}
    if rest:
        shown["images and others" if shown else "all"] = rest
    return shown
