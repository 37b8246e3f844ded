"""The kernel check names everything that is missing, in either cgroup version."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import ProviderError
from orchestrator.providers.local.kernel import check_kernel, missing_features


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="ascii")


@pytest.fixture
def computer(tmp_path: Path) -> Path:
    write(tmp_path / "proc/filesystems", "nodev\tproc\nnodev\toverlay\n\text4\n")
    write(tmp_path / "proc/sys/net/bridge/bridge-nf-call-iptables", "1")
    write(tmp_path / "proc/sys/net/netfilter/nf_conntrack_max", "1")
    write(
        tmp_path / "proc/cgroups",
        "#subsys_name\thierarchy\tnum_cgroups\tenabled\n"
        + "".join(f"{name}\t1\t1\t1\n" for name in ("cpu", "memory", "pids")),
    )
    return tmp_path


def test_a_complete_kernel_passes(computer: Path) -> None:
    check_kernel(computer)
    write(computer / "sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n")
    check_kernel(computer)


def test_everything_that_is_missing_is_named(computer: Path) -> None:
    write(computer / "proc/filesystems", "\text4\n")
    (computer / "proc/sys/net/bridge/bridge-nf-call-iptables").unlink()
    write(computer / "sys/fs/cgroup/cgroup.controllers", "cpu pids\n")
    assert [m.split()[0] for m in missing_features(computer)] == ["overlay", "br_netfilter", "memory"]
    with pytest.raises(ProviderError, match="lacks") as caught:
        check_kernel(computer)
    assert "modprobe br_netfilter" in caught.value.detail


def test_a_disabled_controller_is_missing(computer: Path) -> None:
    write(computer / "proc/cgroups", "cpu\t1\t1\t1\nmemory\t1\t1\t0\npids\t1\t1\t1\n")
    assert missing_features(computer) == ["memory cgroup (limits of pods)"]
