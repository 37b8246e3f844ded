"""Services that move or go while files lie before them, on stand-ins that run as processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.clients.object_store import ObjectStore, ObjectStoreError
from orchestrator.executors.base import OperationRequest
from orchestrator.executors.oscar_handover import FORMER
from orchestrator.executors.oscar_service import OscarServiceExecutor
from orchestrator.executors.oscar_shared import MARK
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.records import instance_of_record
from orchestrator.services.invoke import invoke
from orchestrator.state.model import InstanceRecord
from tests.integration.oscar.test_services import CHAIN, World

COPY = 'cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"'
SLOW = f"sleep 2; {COPY}"

pytestmark = pytest.mark.usefixtures("needs_chroot")


class Moving(World):
    """The chain ``first`` → ``second`` of which ``first`` moves from the edge to a third cluster."""

    def __init__(self, make_standin: Callable[..., Any], make_archive: Callable[..., None], folder: Path) -> None:
        super().__init__(make_standin, folder, {"first": COPY, "second": COPY})
        self.told: list[str] = []
        self.third = make_standin("third")
        for standin in (*self.standins.values(), self.third):
            make_archive(standin.images / "shell.tar", "example/shell:1")
        for component in ("second", "first"):
            self.configure(component)

    @property
    def edge(self) -> Any:
        return self.standins["first"]

    def move(self, name: str = "first") -> None:
        """Make the new one first, as the engine does; the old one is kept under its former address."""
        old = self.records[name]
        self.records[f"{name}@1"] = replace(old, address=f"{name}@1", wired=dict.fromkeys(CHAIN[name], 1))
        self.add_host("third", self.third)
        instance = self.desired[name]
        requirements = {**instance.requirements, "host": ("third-oscar",)}
        self.desired[name] = replace(instance, requirements=requirements)
        self.configure(name)

    def wanted(self, *hosts: str, services: tuple[str, ...] = ("first", "second")) -> dict[str, DesiredInstance]:
        """Everything that is wanted: services, and the hosts that stay."""
        kept = {a: DesiredInstance(a, a, "continuum.nodes.Oscar") for a in hosts}
        return {**{a: self.desired[a] for a in services}, **kept}

    def stopping(self, address: str, wanted: dict[str, DesiredInstance]) -> OperationRequest:
        record = self.records[address]
        request = self.request("first", "stop")
        instance = instance_of_record(record)
        return replace(request, instance=instance, record=record, desired=wanted, progress=self.told.append)

    def stop(self, address: str, wanted: dict[str, DesiredInstance], patience: float = 30) -> None:
        OscarServiceExecutor(patience).run(self.stopping(address, wanted))
        del self.records[address]

    def results(self, count: int, seconds: float = 20) -> list[str]:
        """Names of what came out at the end, once there are so many."""
        deadline = time.monotonic() + seconds
        while True:
            with self.standins["second"].store() as store:
                found = sorted(key.removeprefix("output/") for key in store.list("second", "output/"))
            if len(found) >= count or time.monotonic() > deadline:
                return found
            time.sleep(0.1)


@pytest.fixture
def moving(make_standin: Callable[..., Any], make_archive: Callable[..., None], tmp_path: Path) -> Moving:
    return Moving(make_standin, make_archive, tmp_path)


def put(store: ObjectStore, *names: str) -> None:
    for name in names:
        store.put("first", f"input/{name}", name.encode())


def deafen(standin: Any) -> None:
    """Let the service listen no longer, as a client sees it that comes late."""
    client = standin.client()
    client.replace_service({**client.read_service("first"), "input": []})


HOSTS = ("first-oscar", "second-oscar", "third-oscar")


def test_what_was_done_stays_and_what_came_late_is_handed_over(moving: Moving) -> None:
    with moving.edge.store() as old:
        put(old, "done")
        assert moving.results(1) == ["done"]
        time.sleep(2.1)  # beyond what clocks may differ by
        moving.move()
        deafen(moving.edge)
        put(old, "late")
        moving.stop("first@1", moving.wanted(*HOSTS))
        assert moving.results(2) == ["done", "late"]
        assert list(old.list(f"first{FORMER}")) == ["input/done"]
        with pytest.raises(ObjectStoreError, match="NoSuchBucket"):
            put(old, "too late")
    with moving.third.store() as new:
        assert list(new.list("first")) == ["input/late"]
    assert moving.edge.client().read_service("first") is None


def test_what_was_begun_is_finished_first(moving: Moving) -> None:
    moving.desired["first"] = replace(
        moving.desired["first"], properties={**moving.desired["first"].properties, "script": SLOW}
    )
    moving.configure("first")
    with moving.edge.store() as old:
        put(old, "begun", "waiting", "third")
        moving.move()
        moving.stop("first@1", moving.wanted(*HOSTS))
    assert moving.results(3) == ["begun", "third", "waiting"]
    with moving.third.store() as new:
        assert not new.list("first")
    assert any("under way in first" in line for line in moving.told)


def test_what_failed_is_handed_over_marked(moving: Moving) -> None:
    properties = {**moving.desired["first"].properties, "script": "exit 1"}
    good = moving.desired["first"]
    moving.desired["first"] = replace(good, properties=properties)
    moving.configure("first")
    with moving.edge.store() as old:
        put(old, "bad")
        moving.desired["first"] = good
        moving.move()
        moving.stop("first@1", moving.wanted(*HOSTS))
    assert moving.results(1) == [f"{MARK}bad"]
    assert any(MARK in line for line in moving.told)


def test_what_does_not_end_in_time_is_handed_over_marked(moving: Moving) -> None:
    good = moving.desired["first"]
    moving.desired["first"] = replace(good, properties={**good.properties, "script": "sleep 60"})
    moving.configure("first")
    with moving.edge.store() as old:
        put(old, "endless")
        moving.desired["first"] = good
        moving.move()
        moving.stop("first@1", moving.wanted(*HOSTS), patience=1)
    assert moving.results(1) == [f"{MARK}endless"]
    assert any("did not end within 1 s" in line for line in moving.told)


def test_a_hand_over_that_was_cut_off_makes_no_second_copy(moving: Moving) -> None:
    moving.move()
    deafen(moving.edge)
    with moving.edge.store() as old, moving.third.store() as new:
        put(old, "a")
        # The copy was made, and marked since nothing tells whether it was taken; the original was not removed yet.
        new.put("first", f"input/{MARK}a", b"a")
        before = moving.results(2)
        moving.stop("first@1", moving.wanted(*HOSTS))
        time.sleep(1)
        assert moving.results(2) == before
        assert not old.list("first")


def test_a_bucket_that_others_use_stays(moving: Moving) -> None:
    with moving.edge.store() as old:
        moving.move()
        deafen(moving.edge)
        old.put("first", "output/of-somebody-else", b"")
        put(old, "late")
        moving.stop("first@1", moving.wanted(*HOSTS))
        assert list(old.list("first")) == ["output/of-somebody-else"]
    assert len(moving.results(1)) == 1
    assert any("others use it" in line for line in moving.told)


def test_without_an_heir_files_stay_where_they_are_or_are_saved(moving: Moving, tmp_path: Path) -> None:
    deafen(moving.edge)
    gone: InstanceRecord = moving.records["first"]
    with moving.edge.store() as old:
        put(old, "left")
        moving.stop("first", moving.wanted("first-oscar", services=()))
        assert list(old.list("first")) == ["input/left"]
        moving.records["first"] = gone
        moving.stop("first", moving.wanted("second-oscar", services=()))
    kept = tmp_path / "kept" / "first" / "input" / "left"
    assert kept.read_bytes() == b"left"
    assert kept.stat().st_mode & 0o077 == 0
    assert any(str(kept.parent.parent) in line for line in moving.told)


def test_a_service_of_another_name_takes_over_its_place_without_doubling(moving: Moving) -> None:
    """``second`` is renamed; its predecessor stays, so that both have the same input on the same store."""
    cloud = moving.standins["second"]
    second = moving.desired["second"]
    properties = {**second.properties, "service": "small", "output_path": "small/output"}
    small = replace(second, address="small", node="small", properties=properties)
    wanted = {**moving.wanted(*HOSTS, services=("first",)), "small": small}
    request = replace(moving.request("second"), instance=small, desired=wanted, progress=moving.told.append)
    with moving.edge.store() as edge, cloud.store() as store:
        put(edge, "before")
        assert moving.results(1) == ["before"]
        time.sleep(2.1)  # beyond what clocks may differ by
        # An earlier attempt was cut off when the old one listened no longer, and the new one not yet.
        service: Any = cloud.client().read_service("second")
        cloud.client().replace_service({**service, "input": []})
        put(edge, "between")
        while "output/between" not in store.list("first", "output/"):
            time.sleep(0.05)
        OscarServiceExecutor().run(request)
        put(edge, "after")
        deadline = time.monotonic() + 20
        while len(store.list("small")) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        assert sorted(store.list("small")) == ["output/after", "output/between"]
    assert moving.results(1) == ["before"]
    assert any("gave out 1 files again" in line for line in moving.told)


def test_what_is_made_anew_where_it_is_never_stops_listening(moving: Moving) -> None:
    for operation in ("stop", "delete"):
        request = replace(moving.stopping("first", moving.wanted(*HOSTS)), operation=operation)
        assert not OscarServiceExecutor().run(request).changed
    with moving.edge.store() as old:
        put(old, "meanwhile")
    assert moving.results(1) == ["meanwhile"]


def test_a_file_sent_by_hand_is_followed_to_where_it_comes_out(moving: Moving, tmp_path: Path) -> None:
    """While it is on its way the last component moves, and what lies before it is handed over."""
    cloud = moving.standins["second"]
    service: Any = cloud.client().read_service("second")
    cloud.client().replace_service({**service, "input": []})
    before = moving.state
    serials = iter(range(1, 1000))
    source = tmp_path / "picture"
    source.write_bytes(b"content")
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(
            invoke,
            before,
            moving.secrets,
            "first",
            source,
            tmp_path / "result",
            60,
            reread=lambda: replace(moving.state, serial=next(serials)),
        )
        with cloud.store() as store:
            while not store.list("first", "output/"):
                time.sleep(0.05)
        moving.move("second")
        moving.configure("first")
        moving.stop("second@1", moving.wanted(*HOSTS))
        assert sent.result(60) == [tmp_path / "result"]
    assert (tmp_path / "result").read_bytes() == b"content"
    with moving.third.store() as new:
        assert len(new.list("second", "output/")) == 1


def test_a_file_sent_by_hand_goes_in_where_its_component_is_by_now(moving: Moving, tmp_path: Path) -> None:
    before = moving.state
    moving.move()
    moving.stop("first@1", moving.wanted(*HOSTS))
    source = tmp_path / "picture"
    source.write_bytes(b"content")
    after = replace(moving.state, serial=1)
    found = invoke(before, moving.secrets, "first", source, tmp_path / "result", 30, reread=lambda: after)
    assert found == [tmp_path / "result"]


def test_results_on_a_store_that_goes_are_saved(moving: Moving, tmp_path: Path) -> None:
    with moving.edge.store() as old:
        put(old, "a")
        assert moving.results(1) == ["a"]
    moving.stop("second", moving.wanted("first-oscar", services=("first",)))
    assert (tmp_path / "kept" / "second" / "output" / "a").read_bytes() == b"a"


def test_an_oscar_that_goes_and_is_away_holds_up_nothing(moving: Moving) -> None:
    moving.move()
    moving.edge.stop()
    moving.stop("first@1", moving.wanted("second-oscar", "third-oscar"))
    assert any("does not answer and goes" in line for line in moving.told)


def test_a_service_hears_what_goes_until_it_is_gone(moving: Moving) -> None:
    """The successor stays and gets another input: what the old predecessor still sends is not lost."""
    second, before = moving.desired["second"], moving.records["second"]
    first = moving.records["first"]
    moving.records["first"] = replace(first, wired={"second": 1})
    moving.desired["second"] = replace(second, properties={**second.properties, "input_path": "other/output"})
    wanted = moving.wanted(*HOSTS, services=("second",))
    request = replace(moving.request("second"), desired=wanted)
    result = OscarServiceExecutor().run(request)
    inputs = moving.desired["second"].inputs
    moving.records["second"] = replace(before, inputs=inputs, attributes=result.attributes)
    with moving.edge.store() as old:
        put(old, "on-its-way")
        moving.stop("first", wanted)
    assert moving.results(1) == ["on-its-way"]
    found: Any = moving.standins["second"].client().read_service("second")
    assert [i["path"] for i in found["input"]] == ["other/output"]
