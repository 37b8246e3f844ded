"""What can be known before anything is touched: here, that everything references stand for is there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.planning.plan import Change, Plan
from orchestrator.providers.registry import PROVIDERS, has_volumes
from orchestrator.services.preflight import check_plan
from orchestrator.topology.model import Value
from tests.secrets_in_memory import memory_secrets

PLAYBOOK = "continuum.artifacts.AnsiblePlaybook"


def plan_of(action: Action, password: str, token: str = "") -> Plan:
    operation = Operation("configure", PLAYBOOK, "playbooks/site.yml", {"settings": [{"token": token}]})
    instance = DesiredInstance(
        "edge-oscar", "edge-oscar", "T", properties={"password": password}, operations={"configure": operation}
    )
    change = Change("edge-oscar", "T", action, ("not there yet",), instance)
    return Plan("demo", "lineage", 1, "local", {"edge-oscar": change})


def test_secrets_that_are_there_or_will_be_made_are_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "a-token")
    store = memory_secrets()
    assert check_plan(plan_of(Action.CREATE, "secret:edge-password", "env:TOKEN"), store) == ()
    assert store.entries() == (), "looking makes none"


@pytest.mark.parametrize(
    ("password", "token", "place"),
    [
        ("env:NOT_SET", "", "edge-oscar: property 'password' is env:NOT_SET: the environment variable NOT_SET"),
        ("", "file:/none/such", "edge-oscar: input 'settings' of configure is file:/none/such"),
        ("secret:kept-outside", "", "edge-oscar: property 'password' is secret:kept-outside, which is env:NOT_SET"),
    ],
)
def test_what_is_missing_is_told_with_the_node_and_the_place(password: str, token: str, place: str) -> None:
    store = memory_secrets({"kept-outside": "env:NOT_SET"})
    (found,) = check_plan(plan_of(Action.UPDATE, password, token), store)
    assert found.summary == "A secret is not there."
    assert found.address == "edge-oscar"
    assert found.detail.startswith(place)
    assert check_plan(plan_of(Action.NO_OP, password, token), store) == (), "what is not touched needs none"


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_a_provider_without_data_volumes_is_named_before_it_is_asked_for_one(provider: str) -> None:
    artifact = Operation("create", "continuum.artifacts.Machine", "machine")
    instance = DesiredInstance(
        "cloud[0]",
        "cloud",
        "continuum.nodes.VirtualMachine",
        provider=provider,
        properties={"data_volumes": [20, 10]},
        operations={"create": artifact},
    )

    def found(wanted: DesiredInstance) -> list[str]:
        change = Change("cloud[0]", wanted.type, Action.CREATE, ("not there yet",), wanted)
        plan = Plan("demo", "lineage", 1, "local", {"cloud[0]": change})
        return [f"{one.summary} {one.detail}" for one in check_plan(plan, memory_secrets()) if "volumes" in one.summary]

    told = found(instance)
    if has_volumes(provider):
        assert told == []
    else:
        (text,) = told
        assert f"'{provider}'" in text
        assert "20 GB and 10 GB" in text
    assert found(replace(instance, properties={})) == []


def test_a_data_volume_without_a_size_is_refused() -> None:
    artifact = Operation("create", "continuum.artifacts.Machine", "machine")
    properties: dict[str, Value] = {"data_volumes": [20, 0]}
    instance = DesiredInstance(
        "cloud[0]", "cloud", "T", provider="aws/eu-west-1", properties=properties, operations={"create": artifact}
    )
    change = Change("cloud[0]", "T", Action.CREATE, ("not there yet",), instance)
    plan = Plan("demo", "lineage", 1, "production", {"cloud[0]": change})
    (found,) = check_plan(plan, memory_secrets())
    assert found.summary == "A data volume has no size."


def test_the_clouds_that_make_data_volumes_say_so() -> None:
    assert has_volumes("aws")
    assert has_volumes("openstack")
    assert not has_volumes("local")
    assert not has_volumes("static")
