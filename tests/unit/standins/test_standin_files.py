"""The one file that a stand-in of several modules is packed into."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import standin_files
from orchestrator.errors import DeployError
from orchestrator.standin_files import standin_path
from tests.unit.standins.k3s_machine import PASSWORD, Node, full_token, join, states, wait_for

MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  template:
    spec: {containers: [{name: web, image: web}]}
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_a_script_to_whoever_looks_and_runs_by_its_name(cache: Path, tmp_path: Path) -> None:
    path = standin_path("k3s_standin")
    assert path.is_relative_to(cache)
    assert path.read_bytes().startswith(b"#!/usr/bin/env python3\n")
    assert path.stat().st_mode & 0o777 == 0o755
    assert "k3s version v1.31.5+k3s1-standin" in run(path, "--version")
    (tmp_path / "kubectl").symlink_to(path)
    assert "usage: k3s kubectl" in run(tmp_path / "kubectl", "--help")


def test_a_program_of_one_file_is_that_file() -> None:
    assert standin_path("oscar_standin.py").parent.name == "standins"


def test_it_is_the_same_wherever_and_whenever_it_is_packed(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = standin_path("k3s_standin")
    shutil.copytree(standin_files._PROGRAMS, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    for path in tmp_path.joinpath("elsewhere", "k3s_standin").glob("*.py"):
        os.utime(path, (1, 1))
    monkeypatch.setattr(standin_files, "_PROGRAMS", tmp_path / "elsewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another-cache"))
    second = standin_path("k3s_standin")
    assert second.relative_to(tmp_path / "another-cache") == first.relative_to(cache)
    assert second.read_bytes() == first.read_bytes()


def test_another_release_is_another_file(cache: Path) -> None:
    newer = standin_path("k3s_standin", version="v1.32.1")
    assert newer != standin_path("k3s_standin")
    assert "k3s version v1.32.1+k3s1-standin" in run(newer, "--version")


def test_a_file_that_is_there_is_left_alone_and_a_damaged_one_replaced(cache: Path) -> None:
    path = standin_path("k3s_standin")
    before, content = path.stat(), path.read_bytes()
    assert standin_path("k3s_standin").stat().st_ino == before.st_ino
    path.write_bytes(content[:-100])
    assert standin_path("k3s_standin").read_bytes() == content
    path.chmod(0o644)
    assert standin_path("k3s_standin").stat().st_mode & 0o777 == 0o755


def test_several_processes_at_once_get_the_same_whole_file(cache: Path) -> None:
    program = (
        "import hashlib, sys; from orchestrator.standin_files import standin_path; sys.stdin.readline()\n"
        "for _ in range(20): path = standin_path('k3s_standin'); print(hashlib.sha256(path.read_bytes()).hexdigest())"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    seen = {line for process in running for line in process.communicate("go\n", timeout=60)[0].splitlines()}
    path = standin_path("k3s_standin")
    assert seen == {hashlib.sha256(path.read_bytes()).hexdigest()}
    assert [*path.parent.iterdir()] == [path]


def test_a_cache_that_cannot_be_written_is_an_error_that_names_it(cache: Path) -> None:
    cache.write_text("a file where the folder would be")
    with pytest.raises(DeployError) as caught:
        standin_path("k3s_standin")
    assert caught.value.summary == "A stand-in's file cannot be kept."
    assert str(cache) in caught.value.detail
    assert "XDG_CACHE_HOME" in caught.value.resolution


@pytest.mark.parametrize(
    ("command", "needed", "spared"),
    [
        ("--version", "process", ("kubectl", "server", "agent", "other_commands", "options")),
        ("kubectl get nodes", "kubectl", ("server", "agent", "other_commands", "cluster", "yaml_subset")),
        ("ctr images ls", "other_commands", ("server", "agent", "kubectl", "cluster", "yaml_subset")),
    ],
)
def test_a_command_loads_what_it_needs_and_no_more(command: str, needed: str, spared: tuple[str, ...]) -> None:
    words = [sys.executable, "-X", "importtime", standin_path("k3s_standin"), *command.split()]
    told = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False).stderr
    loaded = {line.rpartition("k3s_standin.")[2] for line in told.splitlines() if "k3s_standin." in line}
    assert needed in loaded
    assert not loaded & set(spared)


def test_nodes_go_on_when_their_file_is_replaced_by_another(
    make_node: Callable[[], Node], port: int, tmp_path: Path
) -> None:
    server, agent = make_node(), make_node()
    for node in (server, agent):
        node.program = Path(shutil.copy(standin_path("k3s_standin"), node.root / "k3s"))
    server.write("etc/rancher/k3s/config.yaml", f"node-name: pi-0\ntoken: {PASSWORD}\nhttps-listen-port: {port}\n")
    server.start("server")
    assert server.ready(), server.read("log")
    join(agent, "pi-1", port, full_token(server))
    assert agent.ready(), agent.read("log")
    for node in (server, agent):
        node.program.write_bytes(b"#!/bin/false\n")

    manifest = tmp_path / "web.yaml"
    manifest.write_text(MANIFEST)
    for words in (f"apply -f {manifest}", "label node pi-1 layer=edge", "drain pi-1 --ignore-daemonsets"):
        done = server.call("kubectl", *words.split())
        assert done.returncode == 0, done.stderr
    server.write("var/lib/rancher/k3s/server/manifests/broken.yaml", "kind: [")
    third = make_node()
    join(third, "pi-2", port, full_token(server))
    assert third.ready(), third.read("log")
    wait_for(lambda: states(server) == {"pi-0": True, "pi-1": True, "pi-2": True})
    wait_for(lambda: "Failed to process config" in server.read("log"))
    assert "Traceback" not in server.read("log") + agent.read("log")
    assert (agent.stop(), server.stop()) == (0, 0)
