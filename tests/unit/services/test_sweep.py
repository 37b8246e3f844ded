"""What no state knows is found at clouds, removed when told, and nothing else is touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.cli.views.sweep import render
from orchestrator.errors import ProviderError
from orchestrator.providers.base import Access, DeploymentTag, MachineRequest, Owned, Resource
from orchestrator.services.sweep import Group, KnownStates, Sweep, find_unknown
from orchestrator.state.backend import VARIABLE, open_backend
from orchestrator.state.model import InstanceRecord
from orchestrator.state.session import DeploymentSession
from tests.unit.pretend_cloud import PretendCloud, Sky

Deploy = Callable[..., tuple[str, str]]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def deploy(capsys: pytest.CaptureFixture[str]) -> Deploy:
    def run(*arguments: str, expect: int = 0) -> tuple[str, str]:
        code = main(["sweep", *arguments])
        shown = capsys.readouterr()
        assert code == expect, f"exit {code}\n{shown.out}\n{shown.err}"
        return shown.out, shown.err

    return run


def make(name: str, lineage: str, place: str = "one", address: str = "cloud[0]") -> str:
    request = MachineRequest(
        DeploymentTag(name, lineage),
        address,
        f"{lineage}{address}",
        "h",
        "amd64",
        1,
        512,
        "key",
        access=Access("cloud"),
    )
    return PretendCloud(place).create(request).id


def state_of(name: str, place: str, url: str = "") -> str:
    """A state that has a machine at a place; gives its lineage."""
    session = DeploymentSession(open_backend(url).state_store(name), name)
    session.record(InstanceRecord("cloud[0]", "cloud", "T", f"aws/{place}"))
    return session.state.lineage


def test_what_no_state_knows_is_listed_by_deployment_and_removed_when_told(sky: Sky, deploy: Deploy) -> None:
    ours = state_of("shop", "one")
    kept = make("shop", ours)
    make("shop", "lost"), make("shop", "lost", address="cloud[1]"), make("other", "gone", "two")
    out, _ = deploy()
    assert "aws/one: shop, lineage lost" in out
    assert "other" not in out, "no state names that place"
    assert kept not in out
    out, _ = deploy("--provider", "aws/one", "--provider", "aws/two", "--remove", "--auto-approve")
    assert "5 removed; nothing is left." in out
    assert [machine.id for _, machine in sky.machines.values()] == [kept]
    assert list(sky.networks) == [("one", f"net-{ours}")]
    assert (
        "Nothing that no state here knows (aws/one, aws/two)." in deploy("--provider=aws/one", "--provider=aws/two")[0]
    )


def test_nothing_is_removed_without_approval(sky: Sky, deploy: Deploy) -> None:
    make("shop", "lost")
    _, err = deploy("--provider", "aws/one", "--remove", expect=2)
    assert "Nobody is there to approve." in err
    assert len(sky.machines) == 1


def test_what_cannot_be_removed_is_left_with_the_reason(sky: Sky, deploy: Deploy) -> None:
    stuck = make("shop", "lost")
    sky.stuck[stuck] = "It is protected against termination."
    out, _ = deploy("--provider", "aws/one", "--remove", "--auto-approve", "--json", expect=1)
    told = json.loads(out)
    assert [(e["id"], e["reason"]) for e in told["left"]] == [(stuck, "It is protected against termination.")]
    assert (told["groups"][0]["lineage"], len(told["groups"][0]["resources"])) == ("lost", 2)
    assert told["providers"] == [{"provider": "aws/one", "problem": None}]


def test_states_elsewhere_and_in_the_folder_count_both(
    sky: Sky, deploy: Deploy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = f"file:{tmp_path}/shared"
    for lineage in (state_of("here", "one"), state_of("there", "two", shared)):
        make("x", lineage), make("x", lineage, "two")
    monkeypatch.setenv(VARIABLE, shared)
    out, _ = deploy("--remove", "--auto-approve")
    assert "Nothing that no state here knows (aws/one, aws/two)." in out
    assert len(sky.machines) == 4


def test_a_state_that_cannot_be_read_protects_its_name(sky: Sky, deploy: Deploy, tmp_path: Path) -> None:
    make("shop", state_of("shop", "one"))
    make("else", "lost")
    for file in (tmp_path / "home" / "shop" / "state").glob("*"):
        file.write_text("damaged {", encoding="utf-8")
    out, _ = deploy("--provider", "aws/one", "--remove", "--auto-approve")
    assert "Nothing called shop is listed, since its state cannot be read" in out
    assert [owner.name for owner, _ in sky.machines.values() if owner] == ["shop"]


def test_a_state_that_comes_up_meanwhile_keeps_what_is_its(sky: Sky, deploy: Deploy) -> None:
    lineage = "0" * 32

    def begin(_place: str, what: str) -> None:
        if what == "owned":
            sky.trouble = lambda _place, _what: None
            store = open_backend("").state_store("new")
            DeploymentSession(store, "new", make_lineage=lambda: lineage).record(InstanceRecord("a", "a", "T"))

    make("new", lineage)
    sky.trouble = begin
    deploy("--provider", "aws/one", "--remove", "--auto-approve", expect=0)
    assert len(sky.machines) == 1


def test_a_place_that_cannot_be_asked_hides_no_other(sky: Sky, deploy: Deploy) -> None:
    def trouble(place: str, _what: str) -> None:
        if place == "two":
            raise ProviderError("No credentials were found.", detail="None.", resolution="Give some.")

    make("shop", "lost")
    sky.trouble = trouble
    out, _ = deploy("--provider", "aws/one", "--provider", "aws/two", expect=1)
    assert "lineage lost" in out
    assert "aws/two could not be asked: No credentials were found." in out


def test_clouds_have_to_be_named_somewhere(sky: Sky, deploy: Deploy) -> None:
    del sky
    assert "No cloud is named." in deploy(expect=2)[1]
    assert "aws/PLACE" in deploy("--provider", "local", expect=2)[1]
    assert "aws was given, which is no cloud with its place" in deploy("--provider", "aws", expect=2)[1]
    with pytest.raises(Exception, match="No such cloud"):
        find_unknown(["nowhere/x"])


def test_several_places_are_asked_once_each_and_nothing_is_approved_for_nothing(sky: Sky, deploy: Deploy) -> None:
    make("shop", "lost")
    out, _ = deploy("--provider", "aws/one,aws/two", "--provider", "aws/one", "--json")
    assert [p["provider"] for p in json.loads(out)["providers"]] == ["aws/one", "aws/two"]
    _, err = deploy("--provider", "aws/one", "--auto-approve", expect=2)
    assert "--auto-approve needs --remove." in err
    _, err = deploy("--provider", "aws/one", "--remove", expect=2)
    assert "Look at what would be done, then run this again with --auto-approve." in err
    assert sky.asked


def test_the_age_is_that_of_the_oldest_thing() -> None:
    tag = DeploymentTag("shop", "lost")
    made = ("2026-01-02T00:00:00+00:00", "", "2026-01-01T12:00:00+02:00")
    things = tuple(Owned(tag, Resource("machine", f"i-{n}", "", created=c)) for n, c in enumerate(made))
    found = Sweep(("aws/one",), (Group("aws/one", tag, things),), {}, KnownStates())
    assert "shop, lineage lost, 4 days old" in render(found, datetime(2026, 1, 5, 12, tzinfo=UTC))
