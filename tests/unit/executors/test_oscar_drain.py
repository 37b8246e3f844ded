"""Which inputs of a service are done, which were never taken, and which cannot be told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Event

import pytest

from orchestrator.clients.object_store import StoredObject
from orchestrator.errors import CancelledError
from orchestrator.executors.oscar_drain import Job, Sorted, sort_inputs, taken_inputs, wait_until_ended

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def objects(**seconds: float) -> dict[str, StoredObject]:
    return {key: StoredObject(key, at(moment)) for key, moment in seconds.items()}


def job(key: str, seconds: float, status: str = "Succeeded") -> Job:
    return Job(status, at(seconds), frozenset({f"in/{key}"}))


@pytest.mark.parametrize(
    ("found", "jobs", "expected"),
    [
        pytest.param(objects(a=10), [job("a", 10)], Sorted(done=("a",)), id="worked on"),
        pytest.param(objects(a=10), [job("a", 9.2)], Sorted(done=("a",)), id="times in whole seconds"),
        pytest.param(objects(a=10), [job("a", 10, "Failed")], Sorted(unclear=("a",)), id="failed"),
        pytest.param(objects(a=10), [job("a", 10, "Running")], Sorted(unclear=("a",)), id="did not end"),
        pytest.param(
            objects(a=10), [job("a", 10, "Failed"), job("a", 20)], Sorted(done=("a",)), id="failed first, then not"
        ),
        pytest.param(objects(a=10), [job("b", 0)], Sorted(untouched=("a",)), id="never taken"),
        pytest.param(objects(a=10), [job("b", 9)], Sorted(unclear=("a",)), id="as old as what is remembered"),
        pytest.param(objects(a=10), [job("b", 50)], Sorted(done=("a",)), id="older than what is remembered"),
        pytest.param(objects(a=10), [], Sorted(unclear=("a",)), id="nothing is remembered"),
        pytest.param(objects(a=60), [job("a", 10)], Sorted(unclear=("a",)), id="put again since"),
    ],
)
def test_inputs_are_told_apart(found: dict[str, StoredObject], jobs: list[Job], expected: Sorted) -> None:
    assert sort_inputs("in", found, {str(n): j for n, j in enumerate(jobs)}) == expected


@pytest.mark.parametrize(
    ("log", "taken"),
    [
        ("input: in/a picture.png\nmade by hand\nstored b as out/b on minio\n", {"in/a picture.png"}),
        (
            "… - INFO - Downloading item from bucket 'in' with key 'in put/a%20b'\n",
            {"in/in put/a%20b", "in/in put/a b"},
        ),
        ("… - INFO - Uploading file 'input/b' to bucket 'in'\n", set()),
        ("", set()),
    ],
)
def test_a_log_says_what_a_job_works_on(log: str, taken: set[str]) -> None:
    assert taken_inputs(log) == taken


def test_waiting_ends_with_the_last_job_with_patience_or_with_the_operator() -> None:
    left = [["x", "y"], ["x"], []]
    told: list[str] = []
    assert wait_until_ended(lambda: left.pop(0), "blur", 60, NeverSet(), told.append)
    assert told == ["waiting for 2 files under way in blur"]
    assert not wait_until_ended(lambda: ["x"], "blur", 0, NeverSet(), told.append)
    assert told[1:] == ["1 file under way in blur did not end within 0 s"]
    stop = Event()
    stop.set()
    with pytest.raises(CancelledError, match="Interrupted"):
        wait_until_ended(lambda: ["x"], "blur", 60, stop, told.append)


class NeverSet(Event):
    """Waits for nobody."""

    def wait(self, timeout: float | None = None) -> bool:
        del timeout
        return False
