"""Who inherits what a service leaves unprocessed; and which record answers while things move."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.planning.at_work import sends_to, services_at_work
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.heirs import TOOK_OVER, going_beside, heirs_of
from orchestrator.state.model import InstanceRecord

Chains = dict[str, list[str]]


def wanted(chains: Chains) -> dict[str, DesiredInstance]:
    found = {}
    for name, after in chains.items():
        inputs = [f"{other}/output" for other, names in chains.items() if name in names] or [f"{name}/input"]
        properties = {"input_path": inputs[0], "more_input_paths": inputs[1:], "output_path": f"{name}/output"}
        requirements = {"connects_to": tuple(after)}
        found[name] = DesiredInstance(name, name, "T", properties=properties, requirements=requirements)
    return found


def recorded(chains: Chains) -> dict[str, InstanceRecord]:
    return {
        name: InstanceRecord(name, name, "T", inputs=instance.inputs, attributes={"inputs": []})
        for name, instance in wanted(chains).items()
    }


@pytest.mark.parametrize(
    ("before", "after", "heirs"),
    [
        pytest.param(
            {"blur": ["mask"], "mask": []},
            {"blur1": ["blur2"], "blur2": ["mask"], "mask": []},
            {"blur": ("blur1",)},
            id="split",
        ),
        pytest.param(
            {"blur": ["mask"], "mask": []},
            {"blur1": ["blur2"], "blur2": ["small"], "small": []},
            {"blur": ("blur1",), "mask": ("small",)},
            id="split with a renamed successor",
        ),
        pytest.param(
            {"blur": ["mask"], "mask": []},
            {"hide": ["count"], "count": []},
            {"blur": ("hide",), "mask": ("count",)},
            id="both replaced",
        ),
        pytest.param(
            {"a": ["b"], "b": ["c"], "c": []},
            {"a": ["b1"], "b1": ["b2"], "b2": ["c"], "c": []},
            {"b": ("b1",)},
            id="the middle is split",
        ),
        pytest.param(
            {"a": ["b"], "b": ["c"], "c": []},
            {"a": ["x", "y"], "x": ["c"], "y": [], "c": []},
            {"b": ("x",)},
            id="a fork",
        ),
        pytest.param(
            {"a": ["b"], "b": ["c"], "c": []},
            {"x": ["y"], "y": ["c"], "c": []},
            {"a": ("x",), "b": ("y",)},
            id="all but the last",
        ),
        pytest.param({"a": ["b"], "b": []}, {"a": []}, {"b": ()}, id="gone without a successor"),
        pytest.param({"a": []}, {}, {"a": ()}, id="all gone"),
        pytest.param({"a": []}, {"x": [], "y": []}, {"a": ()}, id="nothing is guessed"),
        pytest.param(
            {"a": ["b"], "b": [], "other": []},
            {"x": ["b"], "b": [], "other": []},
            {"a": ("x",)},
            id="beside another pipeline",
        ),
    ],
)
def test_the_heir_gets_what_the_old_one_would_have_got(
    before: Chains, after: Chains, heirs: dict[str, tuple[str, ...]]
) -> None:
    # While something is removed, what is new has been made already, and what stays is wired as it is wanted;
    # what a record says of its wiring is taken before it was rewired as well as after.
    for known in ({**recorded(after), **recorded(before)}, {**recorded(before), **recorded(after)}):
        found = {name: heirs_of(recorded(before)[name], known, wanted(after)) for name in heirs}
        assert found == heirs


FORK: Chains = {"a": ["b", "c"], "b": ["j"], "c": ["j"], "j": []}


@pytest.mark.parametrize(
    "after",
    [
        pytest.param({"a": ["x", "c"], "x": ["j"], "c": ["j"], "j": []}, id="to the same join"),
        pytest.param({"a": ["x", "c"], "x": [], "c": ["j"], "j": []}, id="which ends there"),
    ],
)
def test_the_branch_that_stays_beside_what_goes_inherits_nothing(after: Chains) -> None:
    """It read the same files before; what was made in the place of the one that goes did not."""
    before = recorded(FORK)
    new = recorded(after)["x"]
    taking = going_beside(wanted(after)["x"], before, wanted(after))
    assert taking == ["b"]
    known = {**before, **recorded(after), "x": replace(new, attributes={"inputs": [], TOOK_OVER: taking})}
    assert heirs_of(before["b"], known, wanted(after)) == ("x",)
    assert going_beside(wanted(after)["x"], before, {}) == []


def test_what_is_not_wanted_inherits_nothing() -> None:
    """A plan that was narrowed down knows only a part of what is wanted."""
    part = {"a": wanted({"a": ["b"], "b": []})["a"]}
    known = recorded({"a": ["b"], "b": []})
    assert heirs_of(known["b"], known, part) == ()


def test_what_moved_inherits_from_itself() -> None:
    record = replace(recorded({"a": []})["a"], address="a@3")
    assert heirs_of(record, {}, wanted({"a": [], "b": []})) == ("a",)
    assert heirs_of(record, {}, wanted({"b": []})) == ()


def test_until_the_new_one_answers_the_former_one_does() -> None:
    old = recorded({"a": []})["a"]
    new = replace(old, generation=3, attributes={})
    records = {"a": new, "a@2": replace(old, address="a@2"), "a@1": replace(old, address="a@1")}
    assert services_at_work(records) == {"a": records["a@2"]}
    assert services_at_work(dict(reversed(records.items()))) == {"a": records["a@2"]}
    records["a"] = replace(new, attributes={"inputs": []})
    assert services_at_work(records) == {"a": records["a"]}


def test_results_go_to_what_a_service_is_wired_to() -> None:
    records = recorded({"a": ["b"], "b": []})
    records["b@1"] = replace(records["b"], address="b@1")
    assert sends_to(records["a"], records) == (records["b"],)
    assert sends_to(replace(records["a"], wired={"b": 1}), records) == (records["b@1"],)
    assert sends_to(replace(records["a"], wired={"b": 2}), records) == (records["b"],)
