"""The plays on user lands of other processors, emulated by qemu-user: what depends on the architecture, over SSH."""

from __future__ import annotations

import hashlib
import platform
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from orchestrator.remote.ssh import run
from orchestrator.remote.target import SshTarget
from tests.emulation.foreign_binaries import ARM64, ARMHF, FOLDER, registered
from tests.emulation.user_land import running_user_land
from tests.plays_by_hand import play, play_well
from tests.simulated_boards import render_inventory

pytestmark = pytest.mark.slow

PREPARE = "molecule/prerequisites/converge.yml"
RELEASE = {
    "k3s-arm64": b"#!/bin/sh\necho k3s version v0.0.0-arm64\n",
    "k3s": b"#!/bin/sh\necho made for another processor; exit 1\n",
}


def inventory(name: str, target: SshTarget, folder: Path) -> Path:
    file = folder / "inventory.yml"
    file.write_text(render_inventory([name], [target], folder), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def arm64(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SshTarget, Path]]:
    folder = tmp_path_factory.mktemp("arm64")
    with running_user_land(ARM64, folder) as target:
        yield target, inventory("pi-arm64", target, folder)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a release's files: both binaries, and the list of checksums that belongs to each."""
    folder = tmp_path_factory.mktemp("release")
    for name, content in RELEASE.items():
        (folder / name).write_bytes(content)
        architecture = "arm64" if name.endswith("arm64") else "amd64"
        line = f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        (folder / f"sha256sum-{architecture}.txt").write_text(line, encoding="ascii")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


def test_it_is_an_arm64_machine(arm64: tuple[SshTarget, Path]) -> None:
    asked = run(arm64[0], "uname -m; dpkg --print-architecture; sudo id -un", 60)
    assert asked.stdout.split() == ["aarch64", "arm64", "root"], asked


def test_the_arm64_release_is_downloaded_and_a_second_run_changes_nothing(
    arm64: tuple[SshTarget, Path], release: str, tmp_path: Path
) -> None:
    target, machines = arm64
    wanted = hashlib.sha256(RELEASE["k3s-arm64"]).hexdigest()
    source = {"k3s_binary_url": release, "k3s_binary_sha256": wanted, "cache_folder": str(tmp_path)}
    first = play_well(PREPARE, machines, source)
    assert first.total("changed") > 0
    installed = run(target, "sha256sum /usr/local/bin/k3s; /usr/local/bin/k3s --version", 60)
    digest, _, version = installed.stdout.partition("  /usr/local/bin/k3s\n")
    assert digest == wanted
    assert version == "k3s version v0.0.0-arm64\n"
    second = play_well(PREPARE, machines, source)
    assert second.total("changed") == 0, second.output


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the binary that must not be taken is one of this computer")
def test_a_binary_for_another_processor_is_refused_and_not_copied(
    arm64: tuple[SshTarget, Path], tmp_path: Path
) -> None:
    target, machines = arm64
    before = run(target, "sha256sum /usr/local/bin/k3s", 60).stdout
    binary = tmp_path / "k3s"
    shutil.copy("/bin/true", binary)
    refused = play(PREPARE, machines, {"k3s_binary_file": str(binary)})
    assert refused.hosts["pi-arm64"]["failed"] == 1, refused.output
    assert refused.total("changed") == 0, refused.output
    assert "arm64" in refused.output.partition("[ERROR]")[2]
    assert "amd64" in refused.output.partition("[ERROR]")[2]
    assert run(target, "sha256sum /usr/local/bin/k3s", 60).stdout == before


def test_a_32_bit_user_land_is_refused_before_anything_is_changed(tmp_path: Path, release: str) -> None:
    with running_user_land(ARMHF, tmp_path) as target:
        source = {"k3s_binary_url": release, "cache_folder": str(tmp_path)}
        refused = play(PREPARE, inventory("pi-armhf", target, tmp_path), source)
        assert refused.hosts["pi-armhf"]["failed"] == 1, refused.output
        assert refused.total("changed") == 0
        assert "pi-armhf" in refused.output
        assert "64" in refused.output
        assert run(target, "ls /usr/local/bin", 60).stdout == ""


def test_registrations_of_others_stay_and_ours_go() -> None:
    with registered(ARM64):
        other = FOLDER / "continuum-test-of-somebody-else"
        (FOLDER / "register").write_text(f":{other.name}:E::continuum-test::/bin/true:\n", encoding="ascii")
        try:
            with registered(ARMHF):
                assert (FOLDER / "continuum-deploy-armhf").exists()
            assert not (FOLDER / "continuum-deploy-armhf").exists()
            assert other.exists()
        finally:
            with other.open("r+", encoding="ascii") as file:
                file.write("-1\n")
