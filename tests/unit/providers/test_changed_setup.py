"""What a hand changed on a machine is set back, or refused before anything is set."""

from __future__ import annotations

import pytest

from orchestrator.errors import ProviderError
from orchestrator.providers.base import Machine, MachineState
from orchestrator.providers.changed_setup import Fixed, labels_in, rules_in, set_back

FIXED = Fixed(network="network", volumes="volumes", why="nobody moves any")


def machine(**setup: object) -> Machine:
    state = MachineState.RUNNING
    return Machine("m-1", "edge[0]", "token", state, "192.0.2.1", 22, "deploy", "", setup=setup)


def test_what_differs_is_set_in_order_and_the_rest_is_left() -> None:
    done: list[tuple[str, object]] = []
    steps = {name: lambda _, value, name=name: done.append((name, value)) for name in ("tags", "rules", "flavor")}
    present = machine(tags={"a": "1"}, rules=["r"], flavor="small", network="n-1", volumes=["v"])
    wanted = {"flavor": "large", "tags": {"a": "1"}, "rules": ["s"], "network": "n-1", "volumes": ["v"]}
    set_back({}, present, wanted, FIXED, steps)
    assert done == [("rules", ["s"]), ("flavor", "large")]


@pytest.mark.parametrize(
    ("wanted", "detail"),
    [
        ({"network": "n-2"}, "m-1 is in n-1 and is to be in n-2; nobody moves any."),
        ({"volumes": ["v", "w"]}, "m-1 has none that go with it, and is to have v, w."),
    ],
)
def test_nothing_is_set_where_something_cannot_be(wanted: dict[str, object], detail: str) -> None:
    def step(*_: object) -> None:
        raise AssertionError("nothing may be set")

    present = machine(flavor="small", network="n-1", volumes=[])
    with pytest.raises(ProviderError) as refused:
        set_back({}, present, {"flavor": "large", **wanted}, FIXED, {"flavor": step})
    assert refused.value.detail == detail


def test_labels_and_rules_of_a_setup_are_read_whatever_was_recorded() -> None:
    assert labels_in({"team": "vision", "gone": None, "count": 3}) == ({"team": "vision", "count": "3"}, ["gone"])
    assert (labels_in(None), rules_in(None)) == (({}, []), [])
    assert rules_in(["tcp 22 from 203.0.113.7/32"]) == ["tcp 22 from 203.0.113.7/32"]
