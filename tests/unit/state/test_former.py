"""Addresses of former instances."""

from __future__ import annotations

import pytest

from orchestrator.state.former import former_address, former_generation, is_former, newest_former, present_address


@pytest.mark.parametrize("address", ["service", "edge[0]", "user@host", "odd@1x", "@1", "a@0"])
def test_other_addresses_are_no_former_ones(address: str) -> None:
    assert not is_former(address)
    assert present_address(address) == address
    assert former_generation(address) == 0


@pytest.mark.parametrize(("address", "generation"), [("service", 1), ("edge[0]", 12), ("user@host", 3), ("a@1", 2)])
def test_a_former_address_gives_back_what_it_was_made_of(address: str, generation: int) -> None:
    former = former_address(address, generation)
    assert is_former(former)
    assert (present_address(former), former_generation(former)) == (address, generation)


def test_the_newest_of_several_former_instances_counts() -> None:
    assert newest_former(["a", "a@2", "a@11", "b", "c@1", "d@0"]) == {"a": 11, "c": 1}
