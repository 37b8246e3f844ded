"""The program that has K3s make and delete objects, against the stand-in's own folder of manifests and kubectl."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.resources import data_path
from tests.unit.standins.k3s_machine import Node, wait_for

SCRIPT = data_path("playbooks", "roles", "k3s_objects", "files", "manage_objects.py")
WEB: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "web", "image": "web:1"}]}}},
}
SHOP: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
SECRET: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "keys"},
    "stringData": {"key": "do-not-print-me"},
}
JOB: dict[str, Any] = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "fill"},
    "spec": {"template": {"spec": {"containers": [{"name": "fill", "image": "fill:1"}]}}},
}
CHART: dict[str, Any] = {
    "apiVersion": "helm.cattle.io/v1",
    "kind": "HelmChart",
    "metadata": {"name": "store", "namespace": "kube-system"},
    "spec": {"chart": "store"},
}
EVERY = [SHOP, WEB, SECRET, JOB, CHART]
FAST = {"heartbeat_interval": 0.1, "grace_period": 5, "object_delay": 0.3}

Ask = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def ask(server: Node) -> Ask:
    """Run the program on the server's machine, with its k3s."""
    server.write("etc/k3s-standin.json", json.dumps(FAST))
    k3s = server.root / "k3s"
    k3s.write_text(f'#!/bin/sh\nK3S_STANDIN_ROOT={server.root} exec {sys.executable} {server.program} "$@"\n')
    k3s.chmod(0o755)
    program = SCRIPT.read_text().replace('"/usr/local/bin/k3s"', json.dumps(str(k3s)))

    def run(
        objects: list[Mapping[str, Any]], state: str = "present", timeout: float = 20
    ) -> tuple[int, dict[str, Any]]:
        data = str(server.root / "var/lib/rancher/k3s")
        asked = {"name": "continuum-a", "state": state, "objects": objects, "data_folder": data, "timeout": timeout}
        done = subprocess.run(
            [sys.executable, "-c", program],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            env=server.environment,
            timeout=150,
            check=False,
        )
        assert "do-not-print-me" not in done.stdout + done.stderr
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    return run


def manifest(server: Node) -> Path:
    return server.root / "var/lib/rancher/k3s/server/manifests/continuum-a.yaml"


def fault(server: Node, **objects: Mapping[str, Any]) -> None:
    server.write("etc/k3s-standin.json", json.dumps({**FAST, "objects": objects}))


def test_objects_are_made_waited_for_and_not_made_twice(server: Node, ask: Ask) -> None:
    assert ask(EVERY) == (0, {"changed": True, "troubles": {}})
    assert manifest(server).stat().st_mode & 0o777 == 0o600
    shown = json.loads(server.call("kubectl", "get", "deploy", "web", "-n", "shop", "-o", "json").stdout)
    assert shown["status"]["availableReplicas"] == 2
    assert ask(EVERY) == (0, {"changed": False, "troubles": {}})


def test_what_is_no_longer_wanted_is_deleted_and_what_changed_is_waited_for(server: Node, ask: Ask) -> None:
    ask(EVERY)
    more = json.loads(json.dumps(WEB))
    more["spec"]["replicas"] = 3
    assert ask([SHOP, more])[1] == {"changed": True, "troubles": {}}
    assert "NotFound" in server.call("kubectl", "get", "secret", "keys").stderr
    pods = server.call("kubectl", "get", "pods", "-n", "shop", "-o", "name").stdout.split()
    assert len(pods) == 3


def test_an_object_that_somebody_deleted_comes_back(server: Node, ask: Ask) -> None:
    ask([SHOP, WEB])
    assert server.call("kubectl", "delete", "deploy", "web", "-n", "shop").returncode == 0
    assert ask([SHOP, WEB]) == (0, {"changed": True, "troubles": {}})
    assert ask([SHOP, WEB])[1]["changed"] is False


REASONS = {
    "ImagePullBackOff": ["0 of 2 pods are available", 'ImagePullBackOff: Back-off pulling image "web:1"'],
    "CrashLoopBackOff": ["CrashLoopBackOff, restarted 3 times"],
    "FailedScheduling": ["it has no node", "FailedScheduling"],
}


def test_what_does_not_come_is_explained(server: Node, ask: Ask) -> None:
    names = {f"web-{reason.lower()}": reason for reason in REASONS}
    fault(server, **{name: {"reason": reason} for name, reason in names.items()})
    failing = [{**WEB, "metadata": {"name": name, "namespace": "shop"}} for name in names]
    code, answer = ask([SHOP, WEB, SECRET, *failing], timeout=10)
    assert code == 1
    assert sorted(answer["troubles"]) == sorted(f"Deployment shop/{name}" for name in names)
    for name, reason in names.items():
        said = answer["troubles"][f"Deployment shop/{name}"]
        assert [words for words in REASONS[reason] if words not in said] == []
    fault(server)
    assert ask([SHOP, WEB, SECRET, *failing]) == (0, {"changed": False, "troubles": {}})


@pytest.mark.parametrize("value", [JOB, CHART])
def test_what_has_failed_for_good_is_not_waited_for(server: Node, ask: Ask, value: dict[str, Any]) -> None:
    name = value["metadata"]["name"]
    fault(server, **{name: {"reason": "JobFailed", "message": "no such table"}})
    code, answer = ask([value], timeout=120 if value is JOB else 10)
    assert code == 1
    assert "no such table" in json.dumps(answer["troubles"])


def test_a_manifest_that_k3s_refuses_is_told_with_its_words(ask: Ask) -> None:
    code, answer = ask([WEB], timeout=5)
    assert code == 1
    assert answer["troubles"]["The manifest"].endswith('namespaces "shop" not found')


def test_objects_are_deleted_before_their_file(server: Node, ask: Ask) -> None:
    ask(EVERY)
    assert ask(EVERY, "absent") == (0, {"changed": True, "troubles": {}})
    for kind, namespace in (
        ("deploy", "shop"),
        ("job", "default"),
        ("helmchart", "kube-system"),
        ("addon", "kube-system"),
    ):
        assert server.call("kubectl", "get", kind, "-n", namespace, "-o", "name").stdout.strip() == ""
    assert "NotFound" in server.call("kubectl", "get", "ns", "shop").stderr
    assert [p.name for p in manifest(server).parent.iterdir()] == []
    assert ask(EVERY, "absent") == (0, {"changed": False, "troubles": {}})


def test_a_removal_that_was_cut_off_is_finished_though_k3s_started_anew_in_between(server: Node, ask: Ask) -> None:
    ask([SHOP, WEB])
    manifest(server).with_name("continuum-a.yaml.skip").touch()
    assert server.call("kubectl", "delete", "deploy", "web", "-n", "shop").returncode == 0
    server.stop()
    server.start("server")
    assert server.ready()
    wait_for(lambda: server.call("kubectl", "get", "node", "-o", "name").returncode == 0)
    assert server.call("kubectl", "get", "deploy", "-n", "shop", "-o", "name").stdout.strip() == ""
    assert ask([], "absent") == (0, {"changed": True, "troubles": {}})
    assert "NotFound" in server.call("kubectl", "get", "ns", "shop").stderr


def test_without_a_server_it_is_said_so_in_time(server: Node, ask: Ask) -> None:
    server.stop()
    code, answer = ask([SHOP], timeout=1)
    assert code == 1
    assert "refused" in answer["troubles"]["The manifest"]
