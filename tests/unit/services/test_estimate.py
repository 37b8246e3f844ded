"""How long the rest of a run takes."""

from __future__ import annotations

from orchestrator.engine.limits import NO_LIMIT, Limit
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.plan import Change
from orchestrator.services.estimate import remaining_seconds


def change(address: str, *after: str) -> Change:
    return Change(address, "T", Action.CREATE, ("wanted",), DesiredInstance(address, address, "T"), after)


def by_address(*changes: Change) -> dict[str, Change]:
    return {one.address: one for one in changes}


CHAIN = by_address(change("a"), change("b", "a"), change("c", "b"), change("x"))
SECONDS = {"a": 10.0, "b": 20.0, "c": 30.0, "x": 5.0}


def test_it_is_the_longest_chain() -> None:
    assert remaining_seconds(CHAIN, {}, lambda c: SECONDS[c.address], 10) == (60.0, False)


def test_it_is_all_the_work_shared_out_where_that_takes_longer() -> None:
    many = by_address(*(change(f"n{n}") for n in range(10)))
    assert remaining_seconds(many, {}, lambda _c: 6.0, 2) == (30.0, False)


def test_it_is_the_work_under_one_limit_where_that_takes_longer() -> None:
    many = by_address(*(change(f"n{n}") for n in range(10)))
    plays = Limit("plays", 1)
    limited = remaining_seconds(
        many, {}, lambda _c: 6.0, 10, lambda c: plays if c.address in ("n1", "n2", "n3") else NO_LIMIT
    )
    assert limited == (18.0, False)


def test_what_has_passed_counts_and_what_is_over_no_longer_holds_anything_up() -> None:
    rest = {a: c for a, c in CHAIN.items() if a not in ("a",)}
    assert remaining_seconds(rest, {"b": 15.0}, lambda c: SECONDS[c.address], 10) == (35.0, False)


def test_what_takes_longer_than_expected_still_takes_a_little() -> None:
    assert remaining_seconds({"c": CHAIN["c"]}, {"c": 300.0}, lambda c: SECONDS[c.address], 10) == (3.0, False)


def test_what_is_not_known_makes_it_the_least() -> None:
    assert remaining_seconds(CHAIN, {}, lambda c: None if c.address == "b" else SECONDS[c.address], 10) == (40.0, True)
    assert remaining_seconds(CHAIN, {}, lambda _c: None, 10) is None
    assert remaining_seconds({}, {}, lambda _c: 1.0, 10) is None
