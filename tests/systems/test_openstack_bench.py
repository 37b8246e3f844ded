"""The benchmark's yardstick at a real control plane: the same calls again, and nothing left of them."""

from __future__ import annotations

from collections import Counter

import pytest

from scripts.bench_clouds_openstack import POLLS, measure_bare, measure_ours
from scripts.bench_clouds_sides import PHASES, requests_for
from tests.contract.openstack_bed import FLAVOR, PLACE
from tests.systems.provider_bed import ProviderBed

pytestmark = pytest.mark.systems


def test_what_the_provider_called_is_called_again_and_nothing_is_left(provider_bed: ProviderBed) -> None:
    requests = requests_for("", 3, f"ost://{PLACE}/{provider_bed.image}", FLAVOR)
    with provider_bed.cloud.connection() as connection:
        ours, calls = measure_ours(f"openstack/{PLACE}", requests)
        bare = measure_bare(connection, calls, threads=4)
    assert set(ours.seconds) == set(bare.seconds) == set(PHASES)
    same = Counter(call.operation for call in calls if not call.is_poll)
    again = {operation: times for operation, times in bare.calls.items() if not operation.endswith(POLLS)}
    assert again == same
    assert again["POST /servers"] == again["DELETE /servers/*"] == 3
    assert bare.calls["GET /servers/detail" + POLLS] > 0
    ground = provider_bed.ground
    assert ground.servers() == ground.addresses() == []
    left = [one.name for one in ground.client.network.networks(is_router_external=False)]
    left += [one.name for one in ground.client.network.routers()]
    left += [one.name for one in ground.client.network.security_groups() if one.name != "default"]
    assert left == [key.name for key in ground.client.compute.keypairs()] == []
