"""Address ranges are free, spread and stable; addresses are unique."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from itertools import islice
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.providers.local.network import POOLS, candidate_subnets, free_address, routed_networks

ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
tun0\t0000D20A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
"""


def test_routes_are_read_and_the_default_one_is_not_a_network(tmp_path: Path) -> None:
    table = tmp_path / "route"
    table.write_text(ROUTES, encoding="ascii")
    assert routed_networks(table) == [IPv4Network("192.0.2.0/24"), IPv4Network("10.210.0.0/16")]


@given(seed=st.text(), taken=st.lists(st.sampled_from([s for p in POOLS for s in p.subnets(new_prefix=19)])))
def test_candidates_overlap_nothing_that_is_taken(seed: str, taken: list[IPv4Network]) -> None:
    candidates = list(islice(candidate_subnets(seed, taken), 20))
    assert not any(c.overlaps(t) for c in candidates for t in taken)
    assert len(set(candidates)) == len(candidates)
    assert candidates == list(islice(candidate_subnets(seed, taken), 20))


def test_everything_taken_leaves_no_candidate() -> None:
    assert list(candidate_subnets("x", [IPv4Network("0.0.0.0/0")])) == []


def test_the_lowest_free_address_is_taken() -> None:
    subnet = IPv4Network("10.210.0.0/30")
    assert free_address(subnet, []) == IPv4Address("10.210.0.2")
    assert free_address(subnet, [IPv4Address("10.210.0.2")]) is None
