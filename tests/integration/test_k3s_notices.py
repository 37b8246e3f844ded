"""What a play of K3s tells, and what K3s waits for, on two simulated Raspberry Pis."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from orchestrator.errors import OperationError
from orchestrator.executors.ansible import AnsibleExecutor
from tests.integration.k3s_bench import SITE, Bench, removed_in_the_end

pytestmark = [pytest.mark.engine, pytest.mark.slow]

DISK = "[Mount]\\nWhat=/dev/no-such-disk\\nWhere=/var/lib/rancher\\nType=no-such-kind\\n"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A server and an agent."""
    with removed_in_the_end(Bench(tmp_path_factory.mktemp("notices"))) as made:
        for index in (0, 1):
            made.make(index)
        made.site()
        yield made


def told(bench: Bench) -> str:
    """What a run tells that has nothing to change."""
    lines: list[str] = []
    result = AnsibleExecutor().run(replace(bench.request("playbooks/site.yml", SITE), progress=lines.append))
    assert not result.changed
    return "\n".join(lines)


def test_k3s_does_not_start_while_the_disk_of_its_data_is_not_mounted(bench: Bench) -> None:
    unit = "/etc/systemd/system/var-lib-rancher.mount"
    bench.shell(1, f"sudo systemctl stop k3s-agent; printf '{DISK}' | sudo tee {unit}; sudo systemctl daemon-reload")
    started = bench.shell(1, "sudo systemctl start k3s-agent 2>&1; systemctl is-active k3s-agent; true")
    bench.shell(1, f"sudo rm {unit}; sudo systemctl daemon-reload; sudo systemctl start k3s-agent")
    assert "dependency job" in started
    assert started.split()[-1] == "inactive"
    assert bench.shell(1, "systemctl is-active k3s-agent").strip() == "active"


def test_a_board_of_another_architecture_than_planned_is_refused_by_its_name(bench: Bench) -> None:
    before = bench.known["pi[1]"]
    ours = bench.shell(1, "dpkg --print-architecture").strip()
    other = {"amd64": "arm64", "arm64": "amd64"}[ours]
    bench.known["pi[1]"] = replace(before, inputs={"capabilities.os.architecture": other})
    try:
        with pytest.raises(OperationError) as caught:
            bench.site()
    finally:
        bench.known["pi[1]"] = before
    assert "K3s cannot be put on pi-1" in caught.value.detail
    assert f"The machine is {ours}, but {other} is asked for." in caught.value.detail
    assert "pi-0 failed" not in caught.value.detail


def test_machines_with_one_machine_id_are_named_and_set_up_all_the_same(bench: Bench) -> None:
    number, before = (bench.shell(index, "cat /etc/machine-id").strip() for index in (0, 1))
    assert number != before
    assert "One machine id" not in told(bench)
    bench.shell(1, f"echo {number} | sudo tee /etc/machine-id")
    try:
        assert "One machine id have pi-0, pi-1, as cards that were copied" in told(bench)
    finally:
        bench.shell(1, f"echo {before} | sudo tee /etc/machine-id")


def test_certificates_near_their_end_are_told_with_node_and_day(bench: Bench) -> None:
    bench.shell(0, """echo '{"certificate_days": 3}' | sudo tee /etc/k3s-standin.json; sudo systemctl restart k3s""")
    bench.site()
    result = AnsibleExecutor().run(bench.request("playbooks/site.yml", SITE))
    said = told(bench)
    bench.shell(0, "sudo rm /etc/k3s-standin.json; sudo systemctl restart k3s")
    bench.site()
    assert re.search(r"pi-0: \d+ of K3s's certificates end within 30 days, \S+ on \d{4}-\d\d-\d\d\.", said)
    assert "Restart K3s on this machine" in said
    assert list(result.attributes["certificates"]) == ["pi-0"]  # type: ignore[arg-type]
    assert "certificates end" not in told(bench)
