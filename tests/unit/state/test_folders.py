"""Folders of deployments: names, choosing one, runs."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import StateError, UsageError
from orchestrator.state import folders


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def make(home: Path, *names: str, file: str = "snapshot.json") -> None:
    for name in names:
        (home / name / "state").mkdir(parents=True)
        (home / name / "state" / file).write_text("")


def test_home_is_in_the_working_folder_unless_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert folders.deploy_home() == tmp_path / ".deploy"
    monkeypatch.setenv("DEPLOY_HOME", "")
    assert folders.deploy_home() == tmp_path / ".deploy"
    monkeypatch.setenv("DEPLOY_HOME", "elsewhere")
    assert folders.deploy_home() == tmp_path / "elsewhere"


def test_folders_of_a_deployment(home: Path) -> None:
    assert folders.deployment_folder("demo-rehearsal") == home / "demo-rehearsal"
    assert folders.state_folder("demo") == home / "demo" / "state"
    assert folders.secrets_folder("demo") == home / "demo" / "secrets"
    assert folders.cache_folder() == home / ".cache"
    assert not home.exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", ".cache", "a\n", "a\0", "-x", "ä", "a" * 101])
def test_names_that_lead_elsewhere_are_refused(home: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a deployment's name"):
        folders.deployment_folder(name)
    with pytest.raises(UsageError):
        folders.find_deployment(name)


@given(st.text())
def test_a_clean_name_is_a_possible_name(text: str) -> None:
    try:
        name = folders.clean_name(text)
    except UsageError:
        assert not any(c.isascii() and c.isalnum() for c in text.lower())
        return
    assert folders.deployment_folder(name + folders.REHEARSAL_SUFFIX).parent == folders.deploy_home()
    assert folders.clean_name(name) == name


def test_clean_names() -> None:
    assert folders.clean_name("My App/v2") == "my-app-v2"
    assert folders.clean_name("../../etc") == "etc"


def test_only_folders_with_a_state_are_deployments(home: Path) -> None:
    assert folders.list_deployments() == ()
    make(home, "b", "a")
    make(home, "c", file="journal.jsonl")
    make(home, ".cache")
    (home / "destroyed" / "runs").mkdir(parents=True)
    (home / "file").write_text("")
    assert folders.list_deployments() == ("a", "b", "c")


def test_a_home_that_is_no_folder(home: Path) -> None:
    home.write_text("")
    with pytest.raises(StateError, match="Not a directory"):
        folders.list_deployments()


def test_the_only_one_is_meant(home: Path) -> None:
    with pytest.raises(UsageError, match="There is no deployment") as caught:
        folders.find_deployment(None)
    assert str(home) in caught.value.detail
    make(home, "demo-rehearsal")
    assert folders.find_deployment(None) == "demo-rehearsal"
    assert folders.find_deployment("demo-rehearsal") == "demo-rehearsal"
    make(home, "demo")
    with pytest.raises(UsageError, match="several") as caught:
        folders.find_deployment(None)
    assert "demo, demo-rehearsal" in caught.value.detail


@pytest.mark.parametrize(
    ("there", "asked", "kind"),
    [("demo-rehearsal", "demo", "its rehearsal"), ("demo", "demo-rehearsal", "the real deployment")],
)
def test_the_partner_is_named_but_never_taken(home: Path, there: str, asked: str, kind: str) -> None:
    make(home, there)
    with pytest.raises(UsageError, match="no such deployment") as caught:
        folders.find_deployment(asked)
    assert f"{there} is {kind}" in caught.value.detail
    assert f"`{there}`" in caught.value.resolution


def test_an_unknown_one(home: Path) -> None:
    with pytest.raises(UsageError, match="holds no deployment, so none of the name x") as caught:
        folders.find_deployment("x")
    assert "DEPLOY_HOME" in caught.value.resolution
    make(home, "demo")
    with pytest.raises(UsageError, match="holds no deployment x, but demo"):
        folders.find_deployment("x")


def test_runs_sort_by_time_and_never_share_a_folder(tmp_path: Path) -> None:
    def clock() -> datetime:
        return datetime(2025, 11, 21, 3, 5, 1, 123456, tzinfo=UTC)

    assert folders.new_run_id(clock) == f"20251121T030501123Z-{os.getpid()}"
    made = [folders.make_run_folder(tmp_path / "demo", clock) for _ in range(3)]
    names = [run for run, _ in made]
    assert names == [f"20251121T030501{ms}Z-{os.getpid()}" for ms in (123, 124, 125)]
    assert all(path.is_dir() and path == tmp_path / "demo" / "runs" / run for run, path in made)
    assert (tmp_path / "demo").stat().st_mode & 0o777 == 0o700
    assert folders.new_run_id() > names[0]


def test_runs_sort_in_their_order_though_the_clock_was_set_back(tmp_path: Path) -> None:
    moments = iter(datetime(*day, tzinfo=UTC) for day in ((2025, 11, 21), (2024, 1, 1), (2025, 11, 22)))
    names = [folders.make_run_folder(tmp_path / "demo", lambda: next(moments))[0] for _ in range(3)]
    assert names == sorted(names)
    assert len(set(names)) == 3
    assert names[1].startswith("20251121T000000001Z-")
    assert names[2].startswith("20251122T000000000Z-"), "a clock that is right again is believed"


def test_folders_that_are_no_runs_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "demo" / "runs" / "99999999T999999999Z-1").mkdir(parents=True)
    (tmp_path / "demo" / "runs" / "notes").mkdir()
    moment = datetime(2025, 11, 21, 3, tzinfo=UTC)
    assert folders.make_run_folder(tmp_path / "demo", lambda: moment)[0].startswith("20251121T030000000Z-")
