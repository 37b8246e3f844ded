"""Lists what is ours at a cloud, kind by kind, and removes it in the order in which the cloud lets it go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from orchestrator.errors import ProviderError
from orchestrator.providers.base import Owned, Resource
from orchestrator.providers.cloud_errors import gone_is_fine
from orchestrator.providers.waiting import Pause

MACHINE = "machine"
"""The kind of machines, which are listed first, and removed before everything else."""

Remover = Callable[[Sequence[str]], Mapping[str, str]]
"""Removes things of one kind; why each is left that could not be, by identifier."""


def list_at_once(lists: Sequence[Callable[[], Sequence[Owned]]]) -> list[Owned]:
    """What all of these list, in their order."""
    with ThreadPoolExecutor(len(lists)) as pool:
        listed = [pool.submit(each) for each in lists]
        return [owned for answer in listed for owned in answer.result()]


def remove_in_order(resources: Sequence[Resource], removers: Mapping[str, Remover]) -> dict[str, str]:
    """Remove things kind by kind, in the order of the removers; why each is left that could not be, by identifier."""
    reasons = {r.id: f"nobody knows how to remove a {r.kind}" for r in resources if r.kind not in removers}
    # A group of machines behind others names the main one, so that it goes first: its name is the longer one.
    ordered = sorted(resources, key=lambda r: r.name, reverse=True)
    for kind, remove in removers.items():
        ids = [resource.id for resource in ordered if resource.kind == kind]
        if ids:
            reasons |= remove(ids)
    return reasons


def remove_machines(
    ids: Sequence[str],
    end: Callable[[Sequence[str]], Mapping[str, ProviderError]],
    wait: Callable[[Sequence[str]], None],
    still_there: Callable[[Sequence[str]], Sequence[str]] = lambda ids: ids,
) -> dict[str, str]:
    """Remove machines and wait for their end; why each is left that could not be, by identifier.

    Args:
        ids: The machines.
        end: Has them removed; what went wrong, by identifier.
        wait: Waits until these are gone.
        still_there: Those of them that are there, if they were waited for in vain.
    """
    reasons = {one: problem.detail for one, problem in end(ids).items()}
    ending = [one for one in ids if one not in reasons]
    try:
        if ending:
            wait(ending)
    except ProviderError as error:
        reasons |= dict.fromkeys(still_there(ending), error.detail)
    return reasons


def remove_each(
    ids: Sequence[str],
    remove: Callable[[str], None],
    is_held: Callable[[ProviderError], bool],
    pause: Pause,
    pauses: Iterator[float],
) -> dict[str, str]:
    """Remove things, attempt after attempt as long as others hold them; why each is left that could not be, by id.

    Args:
        ids: What is to go.
        remove: Removes one; that it is gone already is no error.
        is_held: Whether an error says that something else holds it.
        pause: Waits.
        pauses: Seconds between two attempts; what is taken of them is gone, so that several calls share them.
    """
    left = dict.fromkeys(ids, "")
    final: dict[str, str] = {}
    while left:
        for identifier in list(left):
            try:
                with gone_is_fine():
                    remove(identifier)
            except ProviderError as error:
                if is_held(error) or error.transient:
                    left[identifier] = error.detail
                    continue
                final[identifier] = error.detail
            del left[identifier]
        if left:
            seconds = next(pauses, None)
            if seconds is None:
                break
            pause(seconds)
    return final | left


def not_all_removed(cloud: str, reasons: Mapping[str, str]) -> ProviderError:
    """Shared parts of a deployment are left, by identifier."""
    return ProviderError(
        f"Some of what {cloud} has for the deployment could not be removed.",
        detail=" ".join(f"{name}: {reason}" for name, reason in sorted(reasons.items())),
        resolution="Remove what holds it, then destroy again.",
        doc="docs/clouds.md",
    )
