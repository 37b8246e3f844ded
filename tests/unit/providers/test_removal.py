"""Removal of what is ours at any cloud: in order, as often as it takes, with a reason for all that is left."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Barrier

import pytest

from orchestrator.errors import ProviderError
from orchestrator.providers.base import DeploymentTag, Owned, Resource
from orchestrator.providers.cloud_errors import CloudApiError, gone_is_fine
from orchestrator.providers.removal import (
    Remover,
    list_at_once,
    not_all_removed,
    remove_each,
    remove_in_order,
    remove_machines,
)


class AbsentError(CloudApiError):
    """What was named is not there."""

    @property
    def is_absent(self) -> bool:
        """It is not."""
        return True


def held(_: ProviderError) -> bool:
    return True


def final(_: ProviderError) -> bool:
    return False


def test_kinds_are_removed_in_the_order_of_the_removers_and_nothing_is_left_unsaid() -> None:
    calls: list[tuple[str, list[str]]] = []

    def remover(kind: str) -> Remover:
        def remove(ids: Sequence[str]) -> dict[str, str]:
            calls.append((kind, list(ids)))
            return {"g-1": "a machine holds it"} if kind == "group" else {}

        return remove

    resources = [
        Resource("network", "n-1", "shop-network"),
        Resource("group", "g-1", "shop-edge"),
        Resource("group", "g-2", "shop-edge-behind"),
        Resource("balloon", "b-1", "shop-balloon"),
    ]
    reasons = remove_in_order(resources, {kind: remover(kind) for kind in ("machine", "group", "network")})
    assert calls == [("group", ["g-2", "g-1"]), ("network", ["n-1"])], "none is called for nothing"
    assert reasons == {"b-1": "nobody knows how to remove a balloon", "g-1": "a machine holds it"}


def test_what_is_held_is_tried_again_until_the_time_is_up() -> None:
    tries: list[str] = []
    waited: list[float] = []

    def remove(identifier: str) -> None:
        tries.append(identifier)
        if identifier == "stuck" or tries.count(identifier) < 2:
            raise ProviderError("Refused.", detail=f"something holds {identifier}")

    pauses = iter([1.0, 2.0])
    assert remove_each(["free", "stuck"], remove, held, waited.append, pauses) == {"stuck": "something holds stuck"}
    assert (tries, waited) == (["free", "stuck", "free", "stuck", "stuck"], [1.0, 2.0])
    assert remove_each(["stuck"], remove, held, waited.append, pauses), "calls share the time"
    assert waited == [1.0, 2.0]


def test_what_is_gone_is_removed_and_what_is_refused_is_not_tried_again() -> None:
    tries: list[str] = []

    def remove(identifier: str) -> None:
        tries.append(identifier)
        raise AbsentError("Not there.") if identifier == "gone" else ProviderError("Refused.", detail="not yours")

    assert remove_each(["gone", "foreign"], remove, final, lambda _: None, iter([1.0])) == {"foreign": "not yours"}
    assert tries == ["gone", "foreign"]


def test_machines_that_cannot_be_ended_are_not_waited_for() -> None:
    waited: list[list[str]] = []

    def wait(ids: Sequence[str]) -> None:
        waited.append(list(ids))
        raise ProviderError("Too long.", detail="it takes too long")

    reasons = remove_machines(
        ["m-1", "m-2", "m-3"],
        lambda _: {"m-1": ProviderError("Refused.", detail="it is protected")},
        wait,
        lambda ids: [one for one in ids if one != "m-3"],
    )
    assert waited == [["m-2", "m-3"]]
    assert reasons == {"m-1": "it is protected", "m-2": "it takes too long"}
    assert remove_machines(["m-1"], lambda ids: {one: ProviderError("No.", detail="no") for one in ids}, wait) == {
        "m-1": "no"
    }
    assert len(waited) == 1, "nothing is waited for if nothing ends"


def test_lists_are_asked_at_the_same_time_and_told_in_their_order() -> None:
    all_asked = Barrier(3, timeout=10)

    def lists(kind: str) -> list[Owned]:
        all_asked.wait()
        return [Owned(DeploymentTag("shop", "1"), Resource(kind, kind, kind))]

    found = list_at_once([lambda kind=kind: lists(kind) for kind in ("machine", "volume", "key")])
    assert [owned.resource.kind for owned in found] == ["machine", "volume", "key"]


def test_only_that_it_is_gone_is_fine() -> None:
    with gone_is_fine():
        raise AbsentError("Not there.")
    for error in (CloudApiError("Refused."), ProviderError("Refused.")):
        with pytest.raises(ProviderError, match="Refused"), gone_is_fine():
            raise error


def test_what_is_left_is_told_with_its_reasons() -> None:
    problem = not_all_removed("AWS", {"n-2": "a port holds it", "n-1": "so does another"})
    assert problem.detail == "n-1: so does another n-2: a port holds it"
