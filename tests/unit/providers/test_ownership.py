"""Whose a machine is: what every provider of a cloud asks before it touches something."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.errors import ProviderError
from orchestrator.providers.base import DeploymentTag, MachineRequest
from orchestrator.providers.cloud_parts import ADDRESS, DEPLOYMENT, LINEAGE, machine_tags, request_told_by
from orchestrator.providers.ownership import check_adoptable, made_before, the_only

REQUEST = MachineRequest(DeploymentTag("shop", "0123456789"), "edge[0]", "token", "edge-0", "amd64", 2, 4096, "ssh key")


def test_what_carries_our_tags_is_the_only_one_or_an_error_that_names_all() -> None:
    assert the_only([], "id", "network of shop") is None
    assert the_only([{"id": "n-1"}], "id", "network of shop") == {"id": "n-1"}
    with pytest.raises(ProviderError, match="claim to be the same") as several:
        the_only([{"id": "n-1"}, {"id": "n-2"}, {"id": "n-3"}], "id", "network of shop")
    assert several.value.detail == "Each of these carries the tags of the network of shop: n-1, n-2, n-3."


def test_a_machine_of_the_same_request_is_found_and_one_of_another_generation_is_not_taken_for_it() -> None:
    assert made_before({}, REQUEST) == ""
    assert made_before({"m-1": "token"}, REQUEST) == "m-1"
    with pytest.raises(ProviderError, match="earlier machine") as earlier:
        made_before({"m-1": "an older one"}, REQUEST)
    assert "m-1" in earlier.value.detail
    with pytest.raises(ProviderError, match="claim to be the same") as both:
        made_before({"m-1": "token", "m-2": "an older one"}, REQUEST)
    assert "machine edge[0] of shop: m-1, m-2" in both.value.detail


@pytest.mark.parametrize(
    ("tags", "unfit", "others", "reason"),
    [
        ({LINEAGE: "another", DEPLOYMENT: "bakery"}, "runs Windows", (), "m-1 belongs to another deployment, bakery;"),
        ({LINEAGE: "0123456789", ADDRESS: "edge[1]"}, "", (), "m-1 is edge[1] of this deployment already;"),
        ({}, "runs Windows", (), "m-1 runs Windows; it was to become edge[0] of shop."),
        ({}, "", ("m-1", "m-2"), "machine edge[0] of shop: m-2, m-1."),
    ],
)
def test_a_machine_is_not_taken_over_that_is_somebody_elses_or_not_fit(
    tags: dict[str, str], unfit: str, others: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(ProviderError) as refused:
        check_adoptable("m-1", tags, REQUEST, unfit=unfit, others=others)
    assert reason in refused.value.detail


def test_a_machine_is_taken_over_that_is_nobodys_or_was_taken_over_half_way() -> None:
    check_adoptable("m-1", {}, REQUEST)
    check_adoptable("m-1", machine_tags(REQUEST), REQUEST, others=("m-1",))


def test_tags_tell_for_whom_a_machine_was_made() -> None:
    told = request_told_by(machine_tags(REQUEST), "edge")
    assert (told.deployment, told.address) == (REQUEST.deployment, "edge[0]")
    assert request_told_by({}, "edge").address == "edge"


def test_a_label_of_the_user_never_takes_the_place_of_a_tag_of_ours() -> None:
    tags = machine_tags(replace(REQUEST, settings={"tags": {LINEAGE: "another", "team": "vision"}}))
    assert (tags[LINEAGE], tags["team"]) == ("0123456789", "vision")
