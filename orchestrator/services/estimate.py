"""How long the rest of a run will take, from how long the same changes took before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.planning.plan import Change

OVERDUE_SHARE = 0.1
"""A change that takes longer than expected is taken to need this share of its expected time still."""


def remaining_seconds(
    unfinished: Mapping[str, Change],
    elapsed: Mapping[str, float],
    expected: Callable[[Change], float | None],
    parallelism: int,
) -> tuple[float, bool] | None:
    """Seconds until everything is done, and whether that is the least because some changes are unknown.

    It is the longest chain of changes that wait for each other, or all the work shared out if that takes longer.

    Args:
        unfinished: Changes that run or wait, in an order in which they can be done one after the other.
        elapsed: Seconds since the start of those that run.
        expected: Seconds a change takes as a whole; ``None`` if nothing like it was done yet.
        parallelism: How many run at the same time at most.

    Returns:
        ``None`` if nothing is known of any of them.
    """
    ends: dict[str, float] = {}
    work, known, unknown = 0.0, 0, 0
    for address, change in unfinished.items():
        whole = expected(change)
        if whole is None:
            unknown += 1
            left = 0.0
        else:
            known += 1
            left = max(whole - elapsed.get(address, 0.0), whole * OVERDUE_SHARE)
        ends[address] = left + max((ends[before] for before in change.after if before in ends), default=0.0)
        work += left
    if not known:
        return None
    return max(*ends.values(), work / parallelism), unknown > 0
