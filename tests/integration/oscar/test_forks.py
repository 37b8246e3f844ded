"""A branch of a fork that moves or goes while another one reads the same path of the same store."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.clients.object_store import ObjectStore
from orchestrator.executors.base import OperationRequest
from orchestrator.executors.oscar_service import OscarServiceExecutor
from orchestrator.executors.oscar_shared import MARK
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.records import instance_of_record
from orchestrator.state.model import InstanceRecord
from tests.integration.oscar.test_services import SERVICE_TYPE, World

COPY = 'cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"'
SERVICES = ("source", "left", "right")

pytestmark = pytest.mark.usefixtures("needs_chroot")


class Fork(World):
    """``source`` feeds ``left`` and ``right`` through one path; ``left`` moves away from the store of ``right``."""

    def __init__(self, make_standin: Callable[..., Any], make_archive: Callable[..., None], folder: Path) -> None:
        super().__init__(make_standin, folder, {"first": COPY, "second": COPY})
        self.told: list[str] = []
        template = self.desired["second"]
        self.desired.clear()
        self.standins["third"] = make_standin("third", workers=1)
        self.add_host("third", self.standins["third"])
        for standin in self.standins.values():
            make_archive(standin.images / "shell.tar", "example/shell:1")
        for name in SERVICES:
            is_source = name == "source"
            properties = {
                **template.properties,
                "service": name,
                "input_path": "source/input" if is_source else "source/output",
                "output_path": f"{name}/output",
            }
            requirements = {
                "host": ("first-oscar" if is_source else "third-oscar",),
                "image": ("first-image",),
                "connects_to": ("left", "right") if is_source else (),
            }
            self.desired[name] = replace(
                template, address=name, node=name, properties=properties, requirements=requirements
            )
        for name in reversed(SERVICES):
            self.configure(name)

    def wanted(self) -> dict[str, DesiredInstance]:
        hosts = ("first-oscar", "second-oscar", "third-oscar")
        return {**self.desired, **{a: DesiredInstance(a, a, "continuum.nodes.Oscar") for a in hosts}}

    def configure(self, component: str) -> None:
        request = replace(self.request(component), desired=self.wanted(), progress=self.told.append)
        result = OscarServiceExecutor(30).run(request)
        inputs = self.desired[component].inputs
        self.records[component] = InstanceRecord(
            component, component, SERVICE_TYPE, inputs=inputs, attributes=result.attributes
        )

    def script(self, name: str, script: str) -> None:
        instance = self.desired[name]
        self.desired[name] = replace(instance, properties={**instance.properties, "script": script})

    def move(self, name: str, host: str, former: int = 1) -> None:
        """Record the old one under its former address, and make the new one, as the engine does."""
        self.records[f"{name}@{former}"] = replace(self.records[name], address=f"{name}@{former}")
        instance = self.desired[name]
        self.desired[name] = replace(instance, requirements={**instance.requirements, "host": (f"{host}-oscar",)})
        self.configure(name)

    def stopping(self, address: str) -> OperationRequest:
        record = self.records[address]
        request = replace(self.request("source", "stop"), instance=instance_of_record(record), record=record)
        return replace(request, desired=self.wanted(), progress=self.told.append)

    def stop(self, address: str) -> None:
        OscarServiceExecutor(30).run(self.stopping(address))
        del self.records[address]

    def silence(self, host: str, *names: str) -> None:
        """Let services listen no longer, as an apply leaves them that is cut off."""
        client = self.standins[host].client()
        for name in names:
            client.replace_service({**client.read_service(name), "input": []})

    def results(self, name: str, count: int, seconds: float = 20) -> list[str]:
        """What came out of one branch on all stores, every run of a file named, once there are so many."""
        deadline = time.monotonic() + seconds
        while True:
            found = []
            for standin in self.standins.values():
                with standin.store() as store:
                    found += [key.removeprefix("output/") for key in store.list(name, "output/")]
            if len(found) >= count or time.monotonic() > deadline:
                return sorted(found)
            time.sleep(0.1)


@pytest.fixture
def fork(make_standin: Callable[..., Any], make_archive: Callable[..., None], tmp_path: Path) -> Fork:
    return Fork(make_standin, make_archive, tmp_path)


def send(store: ObjectStore, *names: str) -> None:
    """Put files where ``source`` sends its results."""
    for name in names:
        store.put("source", f"output/{name}", name.encode())


def test_the_branch_that_stays_reads_what_waits_for_it(fork: Fork) -> None:
    """``right`` is slow and has files waiting when ``left`` goes from the path that both read."""
    fork.script("right", f"sleep 1; {COPY}")
    fork.configure("right")
    names = ["a", "b", "c", "d"]
    with fork.standins["third"].store() as old:
        send(old, *names)
        assert fork.results("left", 4) == names
        fork.move("left", "second")
        fork.configure("source")
        fork.stop("left@1")
        assert fork.results("right", 4) == names
        assert sorted(old.list("source")) == [f"output/{n}" for n in names]
    assert fork.results("left", 4) == names
    assert fork.standins["third"].client().read_service("left") is None


def test_two_branches_that_leave_a_path_read_what_waits_for_them(fork: Fork) -> None:
    """``right`` is to go after ``left``, and has files waiting when that is retired."""
    fork.script("right", f"sleep 1; {COPY}")
    fork.configure("right")
    names = ["a", "b", "c"]
    with fork.standins["third"].store() as old:
        send(old, *names)
        assert fork.results("left", 3) == names
        for name in ("left", "right"):
            fork.move(name, "second")
        fork.configure("source")
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(OscarServiceExecutor(30).run, fork.stopping(f"{n}@1")) for n in ("left", "right")]:
                done.result(60)
    assert fork.results("right", 3) == names
    assert fork.results("left", 3) == names


def test_what_is_sent_to_both_ends_of_a_move_comes_out_once(fork: Fork) -> None:
    """``source`` feeds the store that is left and the new one while the old ``left`` is still there."""
    with fork.standins["third"].store() as old, fork.standins["first"].store() as first:
        send(old, "before")
        assert fork.results("left", 1) == ["before"]
        time.sleep(2.1)  # beyond what clocks may differ by
        fork.move("left", "second")
        fork.configure("source")
        # As if it had come between these two steps, to the old end alone.
        send(old, "between")
        for name in ("a", "b", "c"):
            first.put("source", f"input/{name}", name.encode())
        assert fork.results("right", 5) == ["a", "b", "before", "between", "c"]
        fork.stop("left@1")
        assert fork.results("left", 5) == ["a", "b", "before", "between", "c"]
        time.sleep(1)
    assert fork.results("left", 5) == ["a", "b", "before", "between", "c"]
    assert fork.results("right", 5) == ["a", "b", "before", "between", "c"]


def test_another_file_of_the_same_name_at_the_new_end_is_no_proof(fork: Fork) -> None:
    with fork.standins["third"].store() as old, fork.standins["second"].store() as new:
        send(old, "before")
        assert fork.results("left", 1) == ["before"]
        time.sleep(2.1)  # beyond what clocks may differ by
        fork.move("left", "second")
        fork.configure("source")
        new.put("source", "output/a", b"another")
        send(old, "a")
        assert fork.results("left", 2) == ["a", "before"]
        fork.stop("left@1")
    assert fork.results("left", 3) == ["a", f"{MARK}a", "before"]
    assert fork.results("right", 2) == ["a", "before"]


def test_a_branch_that_joins_another_one_on_its_store_takes_nothing_twice(fork: Fork) -> None:
    """``left`` comes back to where ``right`` is, to which the same files have been sent all the while."""
    fork.move("left", "second")
    fork.configure("source")
    fork.stop("left@1")
    with fork.standins["first"].store() as first:
        first.put("source", "input/a", b"a")
        assert fork.results("left", 1) == fork.results("right", 1) == ["a"]
        time.sleep(2.1)  # beyond what clocks may differ by
        fork.move("left", "third", former=2)
        first.put("source", "input/b", b"b")
        assert fork.results("left", 2) == ["a", "b"]
        fork.configure("source")
        first.put("source", "input/c", b"c")
        assert fork.results("left", 3) == ["a", "b", "c"]
        fork.stop("left@2")
        time.sleep(1)
    assert fork.results("left", 3) == fork.results("right", 3) == ["a", "b", "c"]


def test_what_came_to_both_before_the_new_one_listened_is_handed_over_marked(fork: Fork) -> None:
    fork.move("left", "second")
    fork.configure("source")
    fork.stop("left@1")
    with fork.standins["first"].store() as first:
        first.put("source", "input/a", b"a")
        assert fork.results("left", 1) == ["a"]
        time.sleep(2.1)  # beyond what clocks may differ by
        # The old one listens no longer, and the new one not yet.
        fork.silence("second", "left")
        first.put("source", "input/b", b"b")
        assert fork.results("right", 2) == ["a", "b"]
        fork.move("left", "third", former=2)
        fork.configure("source")
        fork.stop("left@2")
    assert fork.results("left", 2) == ["a", f"{MARK}b"]
    assert fork.results("right", 3) == ["a", f"{MARK}b", "b"]


def test_what_came_while_a_service_was_silenced_is_given_out_again_marked(fork: Fork) -> None:
    """A run was cut off after the old ``left`` was silenced, and it is wanted at its old place again."""
    with fork.standins["third"].store() as old:
        send(old, "before")
        assert fork.results("left", 1) == ["before"]
        time.sleep(2.1)  # beyond what clocks may differ by
        fork.move("left", "second")
        fork.silence("third", "left")
        send(old, "missed")
        assert fork.results("right", 2) == ["before", "missed"]
        del fork.records["left@1"]
        fork.move("left", "third", former=2)
        assert fork.results("left", 2) == [f"{MARK}missed", "before"]
        fork.configure("source")
        fork.stop("left@2")
        send(old, "after")
        assert fork.results("left", 3) == ["after", f"{MARK}missed", "before"]
    assert fork.results("right", 4) == ["after", f"{MARK}missed", "before", "missed"]


def test_a_branch_that_is_renamed_where_it_is_leaves_the_other_alone(fork: Fork) -> None:
    """What came while neither listened comes out of the branch that stays marked the second time."""
    left = fork.desired.pop("left")
    source = fork.desired["source"]
    fork.desired["source"] = replace(source, requirements={**source.requirements, "connects_to": ("other", "right")})
    properties = {**left.properties, "service": "other", "output_path": "other/output"}
    fork.desired["other"] = replace(left, address="other", node="other", properties=properties)
    with fork.standins["third"].store() as old:
        send(old, "before")
        assert fork.results("left", 1) == ["before"]
        time.sleep(2.1)  # beyond what clocks may differ by
        fork.silence("third", "left")
        send(old, "missed")
        assert fork.results("right", 2) == ["before", "missed"]
        for name in ("other", "source"):
            fork.configure(name)
        fork.stop("left")
        send(old, "after")
    assert fork.results("other", 2) == ["after", f"{MARK}missed"]
    assert fork.results("right", 4) == ["after", f"{MARK}missed", "before", "missed"]
    assert fork.results("left", 1) == ["before"]
