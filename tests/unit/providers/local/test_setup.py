"""What is read of a container, and what the engine is asked for when it is to be as it was."""

from __future__ import annotations

from typing import Any, cast

import docker
import docker.errors
import pytest

from orchestrator.errors import ProviderError
from orchestrator.providers.local.setup import adjust_setup, read_setup

MADE = {
    "memory_mb": 512,
    "cpus": 1,
    "restart": "unless-stopped",
    "networks": {"own": "10.0.0.2"},
    "container": "d-edge-0",
}


def inspected(**changed: Any) -> dict[str, Any]:
    host = {
        "Memory": 512 * 1024**2,
        "NanoCpus": 10**9,
        "RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0},
    }
    endpoint = {"IPAMConfig": {"IPv4Address": "10.0.0.2"}, "IPAddress": ""}
    return {
        "Id": "c1",
        "Name": changed.pop("Name", "/d-edge-0"),
        "Config": {"Hostname": "edge-0"},
        "NetworkSettings": {"Networks": changed.pop("Networks", {"own": endpoint})},
        "HostConfig": {**host, **changed},
    }


class Api:
    """The calls of the engine's library, noted."""

    def __init__(self, *, networks: tuple[str, ...] = ("own",)) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._networks = networks

    def _url(self, path: str, name: str) -> str:
        return path.format(name)

    def _post_json(self, url: str, data: dict[str, Any]) -> object:
        self.calls.append((url, data))
        return None

    def _result(self, _response: object, *, json: bool) -> object:
        assert json
        return {}

    def rename(self, container: str, name: str) -> None:
        self.calls.append(("rename", container, name))

    def disconnect_container_from_network(self, container: str, name: str, *, force: bool) -> None:
        assert force
        self.calls.append(("off", container, name))

    def connect_container_to_network(self, container: str, name: str, ipv4_address: str, aliases: list[str]) -> None:
        if name not in self._networks:
            raise docker.errors.NotFound(name)
        self.calls.append(("on", container, name, ipv4_address, aliases))


def adjust(api: Api, found: dict[str, Any]) -> list[tuple[Any, ...]]:
    adjust_setup(cast("docker.DockerClient", type("Client", (), {"api": api})()), found, MADE)
    return api.calls


def test_a_container_tells_how_it_was_made() -> None:
    assert read_setup(inspected()) == MADE
    assert adjust(Api(), inspected()) == []


def test_no_limit_is_told_as_none_and_parts_of_a_processor_as_such() -> None:
    found = read_setup(inspected(Memory=0, NanoCpus=1_500_000_000, RestartPolicy={"Name": ""}))
    assert (found["memory_mb"], found["cpus"], found["restart"]) == (None, 1.5, "no")
    assert read_setup(inspected(Memory=-1))["memory_mb"] is None


@pytest.mark.parametrize(
    ("changed", "calls"),
    [
        ({"Memory": 256 * 1024**2}, [("/containers/c1/update", {"Memory": 512 * 1024**2, "MemorySwap": 1024**3})]),
        (
            {"NanoCpus": 2 * 10**9, "RestartPolicy": {"Name": "no"}},
            [
                (
                    "/containers/c1/update",
                    {"NanoCpus": 10**9, "RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0}},
                )
            ],
        ),
        ({"Name": "/other"}, [("rename", "c1", "d-edge-0")]),
        ({"Networks": {}}, [("on", "c1", "own", "10.0.0.2", ["edge-0"])]),
        (
            {"Networks": {"bridge": {"IPAddress": "172.17.0.2"}, "own": {"IPAMConfig": {"IPv4Address": "10.0.0.9"}}}},
            [("off", "c1", "bridge"), ("off", "c1", "own"), ("on", "c1", "own", "10.0.0.2", ["edge-0"])],
        ),
    ],
)
def test_only_what_differs_is_set_again(changed: dict[str, Any], calls: list[tuple[Any, ...]]) -> None:
    assert adjust(Api(), inspected(**changed)) == calls


def test_a_network_that_is_gone_is_named() -> None:
    with pytest.raises(ProviderError, match="d-edge-0 was on the network own, which the engine does not have"):
        adjust(Api(networks=()), inspected(Networks={}))
