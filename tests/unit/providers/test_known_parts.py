"""Parts that machines share are looked for once, and anew if somebody removed them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from orchestrator.errors import ProviderError
from orchestrator.providers.base import Access, DeploymentTag, MachineRequest
from orchestrator.providers.known_parts import KnownDeployments, KnownParts

REQUEST = MachineRequest(
    DeploymentTag("shop", "0123456789"), "edge[0]", "token", "edge-0", "amd64", 2, 4096, "ssh key",
    access=Access(group="edge", ssh_from=("203.0.113.7/32",)),
)  # fmt: skip


def is_missing(error: ProviderError) -> bool:
    return error.summary == "Missing."


def test_what_is_asked_for_alike_is_found_once() -> None:
    known: KnownParts[str] = KnownParts()
    found: list[str] = []

    def find(what: str) -> str:
        found.append(what)
        return what

    for _ in range(2):
        assert known.network_for(("",), lambda: find("network")) == "network"
        assert known.key_for(REQUEST, lambda: find("key")) == "key"
        assert known.groups_for(REQUEST, lambda: (find("group"),)) == ("group",)
    others = replace(REQUEST, access=Access(group="edge", ssh_from=("198.51.100.0/24",)))
    assert known.groups_for(others, lambda: (find("other rules"),)) == ("other rules",)
    assert known.groups_for(REQUEST, lambda: (find("elsewhere"),), "n-2") == ("elsewhere",)
    assert known.key_for(replace(REQUEST, settings={"key_name": "mine"}), lambda: find("mine")) == "mine"
    assert found == ["network", "key", "group", "other rules", "elsewhere", "mine"]


def test_parts_that_somebody_removed_are_looked_for_anew_once() -> None:
    known: KnownParts[str] = KnownParts()
    networks = iter(["removed", "new"])

    def find() -> str:
        with known.lock:
            return known.network_for((), lambda: next(networks))

    def make(network: str) -> str:
        if network == "removed":
            raise ProviderError("Missing.")
        return f"machine in {network}"

    assert known.use(find, make, is_missing) == "machine in new"
    assert known.use(find, make, is_missing) == "machine in new", "and are known then"


@pytest.mark.parametrize(("summary", "attempts"), [("Missing.", 2), ("Refused.", 1)])
def test_it_is_not_tried_for_ever_and_not_again_after_another_error(summary: str, attempts: int) -> None:
    known: KnownParts[str] = KnownParts()
    tried: list[str] = []

    def make(network: str) -> str:
        tried.append(network)
        raise ProviderError(summary)

    with pytest.raises(ProviderError, match=summary):
        known.use(lambda: "network", make, is_missing)
    assert len(tried) == attempts


def test_each_deployment_is_known_by_itself_and_once_whoever_asks() -> None:
    deployments: KnownDeployments[list[int]] = KnownDeployments(list)
    with ThreadPoolExecutor(8) as pool:
        known = list(pool.map(lambda _: deployments.of("one"), range(32)))
    assert all(one is known[0] for one in known)
    deployments.of("two").append(2)
    assert sorted(map(len, deployments.all())) == [0, 1]
    deployments.forget(["two", "never known"])
    assert deployments.of("two") == []
    assert deployments.of("one") is known[0]
