"""What can be known before anything is touched: here, that everything references stand for is there."""

from __future__ import annotations

import pytest

from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.planning.plan import Change, Plan
from orchestrator.services.preflight import check_plan
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
