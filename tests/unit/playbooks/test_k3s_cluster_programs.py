"""What the programs of the cluster's roles decide: causes, labels, upgrades, and the file that reaches the cluster."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from orchestrator.resources import data_path


def load(role: str, name: str) -> dict[str, Any]:
    return runpy.run_path(str(data_path("playbooks", "roles", role, "files", name)))


@pytest.mark.parametrize(
    ("journal", "cause", "in_vain"),
    [
        ('msg="https://10.0.0.1:6443/v1-k3s/config: 401 Unauthorized"\n' * 2, "refuses the token", True),
        ('msg="https://10.0.0.1:6443/v1-k3s/config: 401 Unauthorized"\n', "refuses the token", False),
        ('msg="token CA hash does not match the Cluster CA"\n' * 2, "of another cluster", True),
        ('msg="Node password rejected, duplicate hostname"\n' * 2, "under the name pi-1", True),
        ('msg="failed to get CA certs: connection refused"\n' * 9, "Nothing answers as a K3s server", False),
        ("level=fatal msg=no space left on device\n", "The disk is full.", False),
        ("Started k3s.service\n", "", False),
    ],
)
def test_the_cause_is_taken_from_the_journal(journal: str, cause: str, in_vain: bool) -> None:
    found = load("k3s_service", "bring_up.py")["find_cause"](
        journal, {"node": "pi-1", "server": "https://10.0.0.1:6443"}
    )
    assert cause in found[0]
    assert bool(found[0]) is bool(cause)
    assert found[1] is in_vain


def test_files_are_placed_once_and_closed(tmp_path: Path) -> None:
    program = load("k3s_service", "bring_up.py")
    path = tmp_path / "k3s" / "config.yaml"
    file = {"path": str(path), "content": "token: x\n", "mode": "0600"}
    assert program["place"](file)
    assert (path.read_text(), path.stat().st_mode & 0o7777) == ("token: x\n", 0o600)
    if path.stat().st_uid == 0:
        assert not program["place"](file)
    path.chmod(0o644)
    assert program["place"](file)
    assert path.stat().st_mode & 0o7777 == 0o600
    assert program["place"]({"path": str(path), "content": None, "mode": "0600"})
    assert not path.exists()
    assert not program["place"]({"path": str(path), "content": None, "mode": "0600"})


def test_a_file_that_cannot_be_written_is_named_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = load("k3s_service", "bring_up.py")
    (tmp_path / "k3s").write_text("a file where a folder should be")
    files = [{"path": f"{tmp_path}/k3s/config.yaml", "content": "token: x\n", "mode": "0600"}]
    program["place_all"].__globals__["read_journal"] = lambda unit, _since: f"said of {unit}"
    with pytest.raises(SystemExit) as caught:
        program["place_all"]({"unit": "k3s-agent", "files": files})
    assert caught.value.code == 1
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "cause": f"{tmp_path}/k3s/config.yaml cannot be written: File exists.",
        "journal": "said of k3s-agent",
    }


def node(**parts: Any) -> dict[str, Any]:
    metadata = {"labels": parts.get("labels", {}), "annotations": parts.get("annotations", {})}
    return {"metadata": metadata, "spec": {"taints": parts.get("taints", [])}}


def test_labels_and_taints_that_are_ours_are_kept_in_step_and_no_others() -> None:
    find = load("k3s_ready", "wait_for_nodes.py")["find_changes"]
    wanted = {"labels": {"layer": "edge"}, "taints": ["camera=yes:NoSchedule"]}
    found = find(node(labels={"owner": "x"}), wanted)
    assert found["label"] == ["layer=edge"]
    assert found["taint"] == ["camera=yes:NoSchedule"]
    notes = {"continuum-deploy/labels": "layer", "continuum-deploy/taints": "camera:NoSchedule"}
    assert found["annotate"] == [f"{name}={value}" for name, value in notes.items()]
    taints = [{"key": "camera", "value": "yes", "effect": "NoSchedule"}, {"key": "theirs", "effect": "NoExecute"}]
    there = node(labels={"owner": "x", "layer": "edge"}, annotations=notes, taints=taints)
    assert not any(find(there, wanted).values())
    gone = find(there, {"labels": {}, "taints": []})
    assert gone["label"] == ["layer-"]
    assert gone["taint"] == ["camera:NoSchedule-"]
    assert gone["annotate"] == [f"{name}-" for name in notes]


@pytest.mark.parametrize(
    ("target", "versions", "refused"),
    [
        ("v1.32.1+k3s1", {"s": "v1.31.5+k3s1", "a": "v1.31.5+k3s1"}, ""),
        ("v1.31.5+k3s2", {"s": "v1.31.5+k3s1", "a": "v1.31.5+k3s1"}, ""),
        ("v1.32.1+k3s1", {"s": "v1.31.5+k3s1", "a": "v1.29.1+k3s1"}, ""),
        ("v1.33.1+k3s1", {"s": "v1.31.5+k3s1", "a": "v1.31.5+k3s1"}, "a minor version would be left out"),
        ("v2.0.0+k3s1", {"s": "v1.31.5+k3s1"}, "a minor version would be left out"),
        ("v1.31.4+k3s1", {"s": "v1.31.5+k3s1"}, "K3s does not go back"),
        ("v1.32.1+k3s1", {"s": "v1.32.1+k3s1", "a": "v1.33.1+k3s1"}, "a runs v1.33.1+k3s1"),
        ("v1.31.5", {"s": "v1.31.5+k3s1"}, "is no version of K3s"),
        ("v1.32.1+k3s1", {"s": ""}, "The version of s is not known"),
    ],
)
def test_upgrades_are_refused_that_kubernetes_forbids(
    target: str, versions: dict[str, str], refused: str, capsys: pytest.CaptureFixture[str]
) -> None:
    check = load("k3s_upgrade", "plan_upgrade.py")["check"]
    if not refused:
        check(target, versions, ["s"])
        return
    with pytest.raises(SystemExit) as caught:
        check(target, versions, ["s"])
    assert caught.value.code == 0
    assert refused in json.loads(capsys.readouterr().out)["refused"]


def server(ready: bool = True, *, etcd: bool = True, turn: bool = False) -> dict[str, Any]:
    """A server's node object."""
    status = {"conditions": [{"type": "Ready", "status": "True" if ready else "Unknown"}]}
    notes = {"continuum-deploy/turn": "ours"} if turn else {}
    labels = {"node-role.kubernetes.io/etcd": "true"} if etcd else {}
    return {"metadata": {"labels": labels, "annotations": notes}, "status": status}


@pytest.mark.parametrize(
    ("nodes", "todo", "refused"),
    [
        ({"a": server(), "b": server(), "c": server()}, ["a", "b", "c"], ""),
        ({"a": server(), "b": server(), "c": server(False)}, ["a", "b", "c"], "c of 3 servers is not Ready"),
        ({"a": server(), "b": server(), "c": server(False, turn=True)}, ["b", "c"], ""),
        ({"a": server(), "b": server(), "c": server(False)}, ["agent"], ""),
        ({**dict.fromkeys("abcd", server()), "e": server(False)}, ["a"], ""),
        ({**dict.fromkeys("abc", server()), **dict.fromkeys("ed", server(False))}, ["a"], "d, e of 5 servers"),
        ({"a": server(etcd=False), "agent": server(False, etcd=False)}, ["a"], ""),
    ],
)
def test_an_upgrade_that_would_cost_the_majority_of_the_servers_is_refused(
    nodes: dict[str, Any], todo: list[str], refused: str, capsys: pytest.CaptureFixture[str]
) -> None:
    check = load("k3s_upgrade", "plan_upgrade.py")["check_majority"]
    if not refused:
        check(nodes, todo)
        return
    with pytest.raises(SystemExit):
        check(nodes, todo)
    assert refused in json.loads(capsys.readouterr().out)["refused"]


def test_a_kubeconfig_is_kept_for_its_owner_and_only_written_when_it_differs(tmp_path: Path) -> None:
    keep = load("k3s_ready", "keep_kubeconfig.py")["keep"]
    path = tmp_path / "kubeconfig" / "edge.yaml"
    assert keep(str(path), "text\n")
    assert (path.stat().st_mode & 0o7777, path.parent.stat().st_mode & 0o7777) == (0o600, 0o700)
    before = path.stat().st_mtime_ns
    assert not keep(str(path), "text\n")
    assert path.stat().st_mtime_ns == before
    assert keep(str(path), "other\n")
    assert [p.name for p in path.parent.iterdir()] == ["edge.yaml"]
