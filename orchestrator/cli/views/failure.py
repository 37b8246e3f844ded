"""Tells what a run failed at: every cause once, the end of its log, what was left undone, how to go on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.cli.views.human import count
from orchestrator.engine.degraded import with_causes
from orchestrator.errors import ApplyFailedError, CancelledError, DegradedError, DeployError
from orchestrator.state.addresses import address_order

if TYPE_CHECKING:
    from orchestrator.services.run_log import LogTail

MOST_NAMES = 8
"""How many addresses are named in a row; more are counted."""


def explain(failure: ApplyFailedError | CancelledError, tails: Mapping[str, LogTail], command: str) -> None:
    """Put all of that into the failure's detail, and the command to go on into its resolution.

    Args:
        failure: As the engine raised it.
        tails: The end of the log of each failed change, by address.
        command: The command line that goes on; empty if the plan has to be made anew.
    """
    if isinstance(failure, CancelledError):
        failure.resolution = f"Go on with: {command}" if command else _PLAN_ANEW
    elif isinstance(failure, DegradedError):
        failure.resolution = f"Bring them back, then complete it: {command}" if command else _PLAN_ANEW
    elif failure.failed:
        parts = [_cause(addresses, failure.failed, tails) for addresses in _alike(failure.failed)]
        without = ((a, with_causes(missing, failure.causes)) for a, missing in failure.degraded.items())
        parts += [f"! {address} does without {missing}" for address, missing in without]
        if failure.skipped:
            parts.append(_undone(failure.skipped))
        failure.detail = "\n\n".join(parts)
        failure.resolution = f"Mend the cause, then go on where this run stopped: {command}" if command else _PLAN_ANEW


_PLAN_ANEW = (
    "Mend the cause, then make the plan anew, since the state moved on: `deploy plan FILE --out PLAN`, "
    "`deploy apply PLAN`."
)


def _alike(failed: Mapping[str, DeployError]) -> list[list[str]]:
    """Addresses that failed at the same, in the order of the first of each."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for address, error in failed.items():
        groups[error.summary, error.detail.replace(address, "")].append(address)
    return list(groups.values())


def _cause(addresses: Sequence[str], failed: Mapping[str, DeployError], tails: Mapping[str, LogTail]) -> str:
    first = addresses[0]
    error = failed[first]
    lines = [f"✗ {_names(sorted(addresses, key=address_order))}: {error.summary}"]
    lines += [f"    {line}" for line in error.detail.removeprefix(f"{first}: ").splitlines()]
    tail = tails.get(first)
    if tail is not None and tail.lines:
        where = f" ({tail.file})" if tail.file is not None and str(tail.file) not in error.resolution else ""
        whose = f" of {first}" if len(addresses) > 1 else ""
        lines.append(f"    The end of its log{whose}{where}:")
        lines += [f"    │ {line}" for line in tail.lines]
    if error.resolution:
        lines += [f"    → {line}" for line in error.resolution.splitlines()]
    return "\n".join(lines)


def _undone(skipped: Mapping[str, str]) -> str:
    by_cause: dict[str, list[str]] = defaultdict(list)
    for address in skipped:
        by_cause[_root(address, skipped)].append(address)
    lines = [f"Left undone: {count(len(skipped), 'change')}."]
    for cause, addresses in by_cause.items():
        lines.append(f"    {'interrupted' if cause == 'interrupted' else f'waiting for {cause}'}: {_names(addresses)}")
    return "\n".join(lines)


def _root(address: str, skipped: Mapping[str, str]) -> str:
    """What a change waited for in the end: not what was left undone itself, but what that waited for."""
    seen = {address}
    cause = skipped[address]
    while cause in skipped and cause not in seen:
        seen.add(cause)
        cause = skipped[cause]
    return cause


def _names(addresses: Sequence[str]) -> str:
    named = ", ".join(addresses[:MOST_NAMES])
    return named if len(addresses) <= MOST_NAMES else f"{named} and {len(addresses) - MOST_NAMES} more"
