"""How long the rest of a run will take, from how long the same changes took before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from orchestrator.engine.limits import NO_LIMIT, Limit

if TYPE_CHECKING:
    from orchestrator.planning.plan import Change

OVERDUE_SHARE = 0.1
"""A change that takes longer than expected is taken to need this share of its expected time still."""


def remaining_seconds(
    unfinished: Mapping[str, Change],
    elapsed: Mapping[str, float],
    expected: Callable[[Change], float | None],
    parallelism: int,
    limit_of: Callable[[Change], Limit] = lambda _change: NO_LIMIT,
) -> tuple[float, bool] | None:
    """Seconds until everything is done, and whether that is the least because some changes are unknown.

    It is the longest chain of changes that wait for each other, or the work shared out if that takes longer: all of it,
    or that under one limit.

    Args:
        unfinished: Changes that run or wait, in an order in which they can be done one after the other.
        elapsed: Seconds since the start of those that run.
        expected: Seconds a change takes as a whole; ``None`` if nothing like it was done yet.
        parallelism: How many run at the same time at most.
        limit_of: What else bounds a change.

    Returns:
        ``None`` if nothing is known of any of them.
    """
    ends: dict[str, float] = {}
    work, known, unknown = 0.0, 0, 0
    limited: dict[Limit, float] = {}
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
        limit = limit_of(change)
        limited[limit] = limited.get(limit, 0.0) + left
    if not known:
        return None
    shared = [work / parallelism, *(seconds / limit.at_once for limit, seconds in limited.items())]
    return max(*ends.values(), *shared), unknown > 0
