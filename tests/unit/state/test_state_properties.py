"""Properties of the journal that hold for any sequence of steps and any point where it is cut off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import StateError
from orchestrator.state.journal import (
    Begun,
    Continues,
    InstancePut,
    InstanceRemoved,
    JournalEntry,
    Record,
    ReplayError,
    TemplateSet,
    VersionKept,
    parse_entry,
    render_entry,
    replay,
)
from orchestrator.state.local_store import LocalStateStore
from orchestrator.state.model import InstanceRecord, Lifecycle, Pending, State
from orchestrator.state.session import DeploymentSession
from orchestrator.state.snapshot import parse_snapshot, render_snapshot
from orchestrator.state.upgrade import NewerFormError, UnreadableFormError

# Lone surrogates, line separators, NULs: whatever a remote program may have answered.
TEXT = st.text(max_size=12)
ADDRESSES = st.sampled_from(["edge", "edge[0]", "edge[1]", "cloud[0]", "ünï\u2028code"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(TEXT, v, max_size=3), max_leaves=6)
MAPPINGS = st.dictionaries(TEXT, VALUES, max_size=3)
INSTANCES = st.builds(
    InstanceRecord,
    address=ADDRESSES,
    node=TEXT,
    type=TEXT,
    provider=TEXT,
    generation=st.integers(1, 9),
    lifecycle=st.sampled_from(Lifecycle),
    inputs=MAPPINGS,
    attributes=MAPPINGS,
    dependencies=st.lists(ADDRESSES, max_size=3).map(tuple),
    pending=st.none() | st.builds(Pending, TEXT, TEXT, TEXT),
)
TEMPLATES = st.builds(TemplateSet, TEXT, TEXT, st.dictionaries(TEXT, TEXT, max_size=2), TEXT)
VERSIONS = st.builds(VersionKept, TEXT, st.dictionaries(TEXT, TEXT, max_size=2))
STEPS = st.one_of(st.builds(InstancePut, INSTANCES), st.builds(InstanceRemoved, ADDRESSES), TEMPLATES, VERSIONS)
LINEAGE = "f" * 32


def entries_of(steps: list[Record]) -> list[JournalEntry]:
    return [
        JournalEntry(serial, LINEAGE, "2025-01-01T00:00:00.000Z", step)
        for serial, step in enumerate([Begun("demo"), *steps], 1)
    ]


def expected_state(steps: list[Record]) -> State:
    """What the steps come to, worked out with the model's own methods instead of the replay."""
    state = State("demo", LINEAGE, 1)
    for step in steps:
        if isinstance(step, InstancePut):
            state = state.with_instance(step.instance)
        elif isinstance(step, InstanceRemoved):
            state = state.without_instance(step.address)
        elif isinstance(step, VersionKept):
            state = state.with_version("2025-01-01T00:00:00.000Z", step.run, step.images)
        elif isinstance(step, TemplateSet):
            state = replace(
                state,
                template=step.template,
                profile=step.profile,
                profile_options=step.profile_options,
                application_root=step.application_root,
            )
        state = replace(state, serial=state.serial + 1)
    return state


def apply_step(session: DeploymentSession, step: Record) -> None:
    if isinstance(step, InstancePut):
        session.record(step.instance)
    elif isinstance(step, InstanceRemoved):
        session.remove(step.address)
    elif isinstance(step, VersionKept):
        session.keep_version(step.run)
    elif isinstance(step, TemplateSet):
        session.set_template(step.template, step.profile, step.profile_options, step.application_root)


def store_in(folder: str | Path) -> LocalStateStore:
    return LocalStateStore(Path(folder) / "state", reread_pause=0)


@given(STEPS)
def test_an_entry_comes_back_as_it_was_written(step: Record) -> None:
    entry = JournalEntry(7, LINEAGE, "now", step)
    line = render_entry(entry)
    assert line.count(b"\n") == 1
    assert parse_entry(line[:-1]) == entry


@given(STEPS, st.data())
def test_any_altered_byte_of_a_line_is_noticed(step: Record, data: st.DataObject) -> None:
    line = bytearray(render_entry(JournalEntry(7, LINEAGE, "now", step))[:-1])
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] ^= data.draw(st.integers(1, 255))
    # The digit of the version may be the one that is hit, which then looks like a newer one.
    with pytest.raises((UnreadableFormError, NewerFormError)):
        parse_entry(bytes(line))


@given(st.lists(STEPS, max_size=12), st.data())
def test_replay_gives_the_same_from_any_snapshot_on(steps: list[Record], data: st.DataObject) -> None:
    entries = entries_of(steps)
    expected = expected_state(steps)
    assert replay(None, entries) == expected
    cut = data.draw(st.integers(1, len(entries)))
    snapshot = replay(None, entries[:cut])
    begin = data.draw(st.integers(0, cut))
    assert replay(snapshot, entries[begin:]) == expected, "entries that the snapshot has already are passed over"


@given(st.lists(STEPS, min_size=2, max_size=8), st.data())
def test_replay_refuses_a_gap(steps: list[Record], data: st.DataObject) -> None:
    entries = entries_of(steps)
    missing = data.draw(st.integers(0, len(entries) - 2))
    with pytest.raises(ReplayError):
        replay(None, entries[:missing] + entries[missing + 1 :])


@given(st.lists(STEPS, min_size=1, max_size=5))
def test_replay_refuses_another_lineage(steps: list[Record]) -> None:
    entries = entries_of(steps)
    entries[-1] = replace(entries[-1], lineage="other")
    with pytest.raises(ReplayError, match="lineage"):
        replay(None, entries)


def test_replay_of_nothing_is_nothing() -> None:
    assert replay(None, []) is None
    assert replay(None, [JournalEntry(0, LINEAGE, "now", Continues())]) is None


@given(st.lists(STEPS, max_size=8))
def test_a_snapshot_comes_back_as_it_was_written(steps: list[Record]) -> None:
    state = expected_state(steps)
    content = render_snapshot(state, "now")
    assert parse_snapshot(content) == state


@given(st.lists(STEPS, max_size=3), st.data())
def test_a_snapshot_cut_off_anywhere_is_noticed(steps: list[Record], data: st.DataObject) -> None:
    content = render_snapshot(expected_state(steps), "now")
    cut = data.draw(st.integers(0, len(content) - 2))
    with pytest.raises(UnreadableFormError):
        parse_snapshot(content[:cut])


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, max_size=8), st.sets(st.integers(0, 8)))
def test_memory_and_disk_agree_after_every_step(steps: list[Record], snapshots: set[int]) -> None:
    with TemporaryDirectory() as folder:
        session = DeploymentSession(store_in(folder), "demo")
        for number, step in enumerate(steps):
            apply_step(session, step)
            if number in snapshots:
                session.snapshot()
            loaded = store_in(folder).load()
            if session.state.serial:
                assert loaded == session.state
            else:
                assert loaded is None, "nothing is written before the first step that changes something"


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, min_size=1, max_size=4), st.integers(0, 4))
def test_a_journal_cut_off_at_any_byte_leaves_a_prefix(steps: list[Record], snapshot_after: int) -> None:
    with TemporaryDirectory() as folder:
        session = DeploymentSession(store_in(folder), "demo")
        session.set_template("begin", "local")
        prefixes = [session.state]
        for number, step in enumerate(steps):
            if number == snapshot_after:
                session.snapshot()
                prefixes = []
            prefixes.append(session.state)
            apply_step(session, step)
        prefixes.append(session.state)
        journal = Path(folder) / "state" / "journal.jsonl"
        whole = journal.read_bytes()
        least = parse_snapshot((Path(folder) / "state" / "snapshot.json").read_bytes())
        for cut in range(len(whole) + 1):
            journal.write_bytes(whole[:cut])
            store = store_in(folder)
            state = store.load()
            assert state == least or state in prefixes
            is_whole_line = cut > 0 and whole[cut - 1 : cut] == b"\n"
            assert bool(store.warnings) is not is_whole_line


@settings(max_examples=8, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=3), st.data())
def test_work_goes_on_after_a_cut(steps: list[Record], data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        session = DeploymentSession(store_in(folder), "demo")
        session.set_template("begin", "local")
        for step in steps:
            apply_step(session, step)
        journal = Path(folder) / "state" / "journal.jsonl"
        whole = journal.read_bytes()
        journal.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
        resumed = DeploymentSession(store_in(folder), "demo")
        resumed.record(InstanceRecord("after[0]", "after", "T"))
        reread = store_in(folder)
        assert reread.load() == resumed.state
        assert reread.warnings == ()
        resumed.snapshot()
        assert store_in(folder).load() == resumed.state


def test_what_has_no_json_form_is_refused() -> None:
    record = InstanceRecord("a", "a", "T", attributes={"x": float("nan")})
    with pytest.raises(StateError, match="cannot be written"):
        render_entry(JournalEntry(1, LINEAGE, "now", InstancePut(record)))
