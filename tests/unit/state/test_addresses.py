"""The order in which addresses are shown."""

from __future__ import annotations

from orchestrator.state.addresses import address_order


def test_machines_come_by_number_and_before_what_runs_on_them() -> None:
    shown = ["edge[0]", "edge[2]", "edge[10]", "edge-k3s", "edge-oscar", "layer2-vm[0]", "layer10-vm[0]"]

    assert sorted({*shown}, key=address_order) == shown


def test_a_former_instance_follows_the_present_one() -> None:
    shown = ["service-a", "service-a@1", "service-a@12", "service-b"]

    assert sorted({*shown}, key=address_order) == shown
