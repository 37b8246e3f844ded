"""The whole way on real machines: look, install, install again, use, remove, and look whether anything is left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.clients.kubernetes import KubernetesClient, load_kubeconfig
from tests.real.conftest import Run

pytestmark = pytest.mark.real

MANIFEST = """\
apiVersion: v1
kind: Namespace
metadata:
  name: continuum-test-real
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: greeting
  namespace: continuum-test-real
data:
  text: made by make test-real
"""
CONFIG_MAP = "/api/v1/namespaces/continuum-test-real/configmaps/greeting"


def test_every_machine_can_carry_k3s(run: Run) -> None:
    """Nothing has been changed when this fails."""
    seen = run.look("before")
    found = [
        f"{name}: {finding['severity']}: {finding['text']} {finding['fix']}"
        for name, machine in seen.items()
        for finding in machine["board"]["findings"]
    ]
    (run.folder / "findings.txt").write_text("\n".join(found) + "\n", encoding="utf-8")
    assert not [line for line in found if ": error: " in line], "\n".join(found)
    occupied = [name for name, machine in seen.items() if "/etc/rancher" in machine["listing"]["files"]]
    assert not occupied, f"{', '.join(occupied)} has a K3s already, which this test would remove: take other machines"
    run.before = {name: machine["listing"] for name, machine in seen.items()}


def test_site_brings_every_node_to_ready(run: Run) -> None:
    assert run.before, "the machines were not found fit"
    run.installed = True
    played = run.play("site.yml", "site-1")
    assert played.exit_code == 0, played.output[-4000:]
    assert played.total("changed") > 0
    client = KubernetesClient(load_kubeconfig(run.folder / "kubeconfig" / "test-real.yaml"), 30)
    nodes = client.read_nodes()
    assert sorted(node.name for node in nodes) == sorted(run.names)
    assert [f"{node.name}: {node.reason}" for node in nodes if not node.ready] == []


def test_a_second_run_changes_nothing(run: Run) -> None:
    assert run.installed
    played = run.play("site.yml", "site-2")
    assert played.exit_code == 0, played.output[-4000:]
    assert played.total("changed") == 0, played.output[-4000:]


def test_objects_are_made_and_removed(run: Run, tmp_path: Path) -> None:
    assert run.installed
    manifest = tmp_path / "greeting.yaml"
    manifest.write_text(MANIFEST, encoding="utf-8")
    asked = {"k3s_objects_name": "test-real", "k3s_objects_files": [str(manifest)]}
    client = KubernetesClient(load_kubeconfig(run.folder / "kubeconfig" / "test-real.yaml"), 30)
    for label, playbook, changes, status in (
        ("objects-1", "objects.yml", True, 200),
        ("objects-2", "objects.yml", False, 200),
        ("objects-removed", "objects_remove.yml", True, 404),
    ):
        played = run.play(playbook, label, **asked)
        assert played.exit_code == 0, played.output[-4000:]
        assert (played.total("changed") > 0) is changes, played.output[-4000:]
        assert client.read(CONFIG_MAP)[0] == status, label


@pytest.mark.skipif(os.environ.get("KEEP") == "1", reason="KEEP=1: the cluster stays")
def test_a_reset_leaves_nothing_behind(run: Run) -> None:
    assert run.installed
    played = run.play("reset.yml", "reset")
    assert played.exit_code == 0, played.output[-4000:]
    run.installed = False
    after = {name: machine["listing"] for name, machine in run.look("after").items()}
    left = [
        f"{name}: {kind}: {sign} {entry}"
        for name, kinds in run.before.items()
        for kind, entries in kinds.items()
        for sign, entry in differences(entries, after[name][kind])
    ]
    assert left == [], "\n".join(left)


def differences(before: list[str], after: list[str]) -> list[tuple[str, str]]:
    """What came (``+``) and what went (``-``)."""
    return [("+", e) for e in sorted(set(after) - set(before))] + [("-", e) for e in sorted(set(before) - set(after))]
