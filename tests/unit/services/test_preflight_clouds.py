"""Clouds are asked before anything is touched, all at the same time, and one that hangs is not waited for for ever."""

from __future__ import annotations

from dataclasses import replace
from threading import Barrier, Event

import pytest

from orchestrator.errors import ProviderError
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.plan import Change, Plan
from orchestrator.services.preflight_clouds import check_clouds
from tests.unit.pretend_cloud import PretendCloud, Sky


def machine(address: str, place: str = "one", image: str = "ami", **settings: object) -> DesiredInstance:
    given = {"ssh_from": "203.0.113.7/32", **settings}
    return DesiredInstance(
        address,
        address.partition("[")[0],
        "continuum.nodes.VirtualMachine",
        provider=f"aws/{place}",
        properties={"image_id": f"aws://{place}/{image}"},
        settings={name: value for name, value in given.items() if isinstance(value, (str, bool))},
    )


def plan(*machines: DesiredInstance, action: Action = Action.CREATE) -> Plan:
    changes = {m.address: Change(m.address, m.type, action, ("r",), m) for m in machines}
    return Plan("shop", "lineage", 1, "production", changes)


def test_all_that_is_wrong_anywhere_is_said_at_once(sky: Sky) -> None:
    sky.quota = 2
    found = check_clouds(
        plan(
            machine("a[0]", image="gone"),
            machine("a[1]", image="gone"),
            machine("b[0]", "two", ssh_from=""),
            machine("c[0]", "two", ssh_from="203.0.113.7/33,there"),
            machine("d[0]", "two"),
        )
    )
    assert sorted((d.address, d.summary) for d in found) == [
        ("a[0]", "No such image."),
        ("aws/two", "The quota is used up."),
        ("b[0]", "Nothing says from where machines are reached."),
        ("c[0]", "A network cannot be understood."),
    ]
    assert all(d.is_error for d in found)
    assert "--ssh-from 203.0.113.7/32" in next(d.detail for d in found if d.address == "b[0]")


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0"])
def test_that_everybody_is_let_in_is_told_and_not_refused(sky: Sky, network: str) -> None:
    made = plan(machine("a[0]", ssh_from=f"203.0.113.7/32,{network}"), machine("b[0]", ssh_from="203.0.113.7/32"))
    (found,) = check_clouds(made)
    assert (found.address, found.summary, found.is_error) == ("a[0]", "SSH is open to everybody.", False)
    assert network in found.detail


def test_nothing_is_asked_where_nothing_is_made(sky: Sky) -> None:
    elsewhere = replace(machine("b"), provider="local")
    assert check_clouds(plan(machine("a"), action=Action.UPDATE)) == ()
    assert check_clouds(plan(elsewhere)) == ()
    assert sky.asked == []


def test_places_are_asked_at_the_same_time(sky: Sky) -> None:
    both = Barrier(2, timeout=20)

    def meet(_place: str, _what: str) -> None:
        both.wait()

    sky.trouble = meet
    assert check_clouds(plan(machine("a", "one"), machine("b", "two"))) == ()


def test_one_that_hangs_or_fails_hides_no_other(sky: Sky) -> None:
    released = Event()

    def trouble(place: str, what: str) -> None:
        assert what == "check"
        if place == "hangs":
            released.wait(60)
        if place == "refuses":
            raise ProviderError("No credentials were found.", detail="Nothing names them.", resolution="Give some.")

    sky.trouble = trouble
    machines = (machine("a", "hangs"), machine("b", "refuses"), machine("c", "one", "gone"))
    found = check_clouds(plan(*machines), seconds=1)
    released.set()
    assert {(d.address, d.summary) for d in found} == {
        ("aws/hangs", "A cloud does not answer."),
        ("aws/refuses", "No credentials were found."),
        ("c", "No such image."),
    }
    assert any(d.detail == "Nothing names them. Give some." for d in found)


def test_who_runs_this_inside_the_network_needs_not_say_from_where(sky: Sky) -> None:
    del sky
    inside = machine("a", ssh_from="", public_address=False, network="net-1")
    assert check_clouds(plan(inside)) == ()
    (found,) = check_clouds(plan(machine("a", ssh_from="", public_address=False)))
    assert "--public-addresses none with --network" in found.detail


def test_a_fault_of_our_own_is_not_told_as_one_of_the_cloud(sky: Sky, monkeypatch: pytest.MonkeyPatch) -> None:
    del sky
    monkeypatch.setattr(PretendCloud, "check", lambda _self, _requests: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        check_clouds(plan(machine("a")))
