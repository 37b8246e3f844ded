"""Tells which files a service of OSCAR has worked on, and waits until what it began has ended."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event
from typing import TYPE_CHECKING
from urllib.parse import unquote

from orchestrator.clients.oscar import OscarClient
from orchestrator.errors import CancelledError

if TYPE_CHECKING:
    from orchestrator.clients.object_store import StoredObject

SUCCEEDED = "Succeeded"
ENDED = (SUCCEEDED, "Failed")
_POLL = 0.5
_SAY_EVERY = 10.0
CLOCKS = timedelta(seconds=2)
"""How far the times of a job and of its object may lie apart: OSCAR gives whole seconds."""

_TAKEN = re.compile(r"^input: (.+)$|Downloading item from bucket '([^'\n]+)' with key '([^'\n]+)'", re.MULTILINE)
"""What a job's log says of the object that it works on: our stand-in's words, and those of OSCAR's FaaS supervisor."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job of a service: its status, when it was made, and what it works on, each as ``bucket/key``."""

    status: str
    created: datetime | None
    inputs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Sorted:
    """Keys of a service's inputs, by what became of them.

    Attributes:
        done: Worked on, or so old that OSCAR has forgotten the job: it takes an object when it arrives, and forgets
            only jobs that have ended.
        untouched: Never taken.
        unclear: Tried without success, or perhaps tried: some of it may have come out.
    """

    done: tuple[str, ...] = ()
    untouched: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()


def read_jobs(client: OscarClient, service: str) -> dict[str, Job]:
    """Jobs of a service that OSCAR remembers, with what they work on."""
    found = {}
    for name, job in client.read_jobs(service).items():
        inputs = taken_inputs(client.read_log(service, name))
        found[name] = Job(str(job.get("status", "")), _moment(job.get("creation_time")), inputs)
    return found


def taken_inputs(log: str) -> frozenset[str]:
    """The objects that a job's log says it works on, each as ``bucket/key``, with percent signs resolved too."""
    found = {whole or f"{bucket}/{key}" for whole, bucket, key in _TAKEN.findall(log)}
    return frozenset(found | {unquote(place) for place in found})


def unfinished(client: OscarClient, service: str) -> set[str]:
    """Names of the jobs of a service that have not ended."""
    return {name for name, job in client.read_jobs(service).items() if job.get("status") not in ENDED}


def wait_until_ended(
    look: Callable[[], Collection[str]],
    what: str,
    patience: float,
    cancel: Event,
    progress: Callable[[str], None],
) -> bool:
    """Wait until jobs have ended; False if that took longer than ``patience`` seconds.

    Args:
        look: Gives the jobs that have not.
        what: Whose they are, for the message.
        patience: Seconds to wait.
        cancel: Set when the operator wants to stop.
        progress: Called with a line when there is something to wait for.

    Raises:
        CancelledError: If the operator stopped it.
    """
    deadline, say_at = time.monotonic() + patience, 0.0
    while left := look():
        now = time.monotonic()
        if now >= deadline:
            progress(f"{_files(len(left))} under way in {what} did not end within {patience:g} s")
            return False
        if now >= say_at:
            progress(f"waiting for {_files(len(left))} under way in {what}")
            say_at = now + _SAY_EVERY
        if cancel.wait(_POLL):
            raise CancelledError(
                "Interrupted.",
                detail=f"{_files(len(left))} were under way in {what}, which is to be removed once they are through.",
                resolution="Run the same command again to go on.",
            )
    return True


def sort_inputs(bucket: str, objects: Mapping[str, StoredObject], jobs: Mapping[str, Job]) -> Sorted:
    """Which inputs are done, which were never taken, and of which that cannot be told.

    Args:
        bucket: Where they are.
        objects: The objects on a service's input path, by key.
        jobs: The jobs that OSCAR remembers, after all that could end has ended.
    """
    ended = [j.created for j in jobs.values() if j.status in ENDED and j.created is not None]
    horizon = min(ended, default=None)
    done: list[str] = []
    untouched: list[str] = []
    unclear: list[str] = []
    for key, found in objects.items():
        own = [j for j in jobs.values() if f"{bucket}/{key}" in j.inputs]
        if any(j.status == SUCCEEDED for j in _recent(own, found)):
            done.append(key)
        elif own or horizon is None:
            unclear.append(key)
        elif found.modified < horizon:
            done.append(key)
        else:
            (untouched if found.modified > horizon + CLOCKS else unclear).append(key)
    return Sorted(tuple(done), tuple(untouched), tuple(unclear))


def was_taken(bucket: str, key: str, found: StoredObject, jobs: Mapping[str, Job]) -> bool:
    """Whether a job is known that was made for an object as it is there now."""
    return bool(_recent((j for j in jobs.values() if f"{bucket}/{key}" in j.inputs), found))


def _recent(jobs: Iterable[Job], found: StoredObject) -> list[Job]:
    """Those jobs that were not made for an earlier object of the same key."""
    return [j for j in jobs if j.created is None or j.created >= found.modified - CLOCKS]


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _files(number: int) -> str:
    return f"{number} file{'' if number == 1 else 's'}"
