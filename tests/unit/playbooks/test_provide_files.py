"""The controller's side of getting K3s's files: checksums, architectures, air-gap folders, one download for all."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest

from orchestrator.resources import data_path
from tests.http_server import serving

PROGRAM = data_path("playbooks", "roles", "k3s_binary", "files", "provide_files.py")
ARM, AMD, ARM32 = 183, 62, 40


def elf(machine: int, bits: int = 64, padding: bytes = b"program") -> bytes:
    """As much of a program as its header says what it is built for."""
    return b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9) + b"\x02\x00" + machine.to_bytes(2, "little") + padding


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def provide(cache: Path, machines: Sequence[Sequence[Any]], **order: str) -> dict[str, Any]:
    """What the program answers for some machines."""
    asked = {"file": "", "folder": "", "sha256": "", "url": "", "cache": str(cache), "machines": machines, **order}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), json.dumps(asked)], capture_output=True, text=True, timeout=60, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def machine(name: str = "pi-0", kernel: str = "aarch64", binary: str = "", **images: str) -> list[Any]:
    return [name, kernel, binary, images]


def test_a_file_has_its_own_checksum_or_the_one_given(tmp_path: Path) -> None:
    file = tmp_path / "k3s"
    file.write_bytes(elf(ARM))
    answer = provide(tmp_path, [machine()], file=str(file))
    assert answer["files"]["arm64"]["binary"] == {"name": "k3s", "file": str(file), "sha256": sha256(elf(ARM))}
    assert "files" in provide(tmp_path, [machine()], file=str(file), sha256=sha256(elf(ARM)).upper())
    said = provide(tmp_path, [machine()], file=str(file), sha256="0" * 64)["error"]
    assert f"has the checksum {sha256(elf(ARM))}, not {'0' * 64}" in said
    assert "is not there" in provide(tmp_path, [machine()], file=str(tmp_path / "missing"))["error"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (elf(AMD), "is built for amd64, but it is to run on pi-0, pi-1"),
        (elf(ARM32, 32), "is built for arm (32-bit), but"),
        (b"<html>404</html>", "has no ELF header"),
        (b"", "has no ELF header"),
        (b"\x7fELF", "has no ELF header"),
    ],
)
def test_what_the_machines_cannot_run_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "k3s"
    file.write_bytes(content)
    machines = [machine("pi-0"), machine("pi-1"), machine("pc", "x86_64", sha256(content))]
    assert said in provide(tmp_path, machines, file=str(file))["error"]


def test_a_script_runs_anywhere(tmp_path: Path) -> None:
    file = tmp_path / "k3s"
    file.write_text("#!/usr/bin/env python3\n")
    answer = provide(tmp_path, [machine(), machine("pc", "x86_64")], file=str(file))
    assert sorted(answer["files"]) == ["amd64", "arm64"]


class Folder:
    """An air-gap folder for arm64."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.content = {"k3s-arm64": elf(ARM), "k3s-airgap-images-arm64.tar.zst": b"images"}
        for name, content in self.content.items():
            (path / name).write_bytes(content)
        self.list = path / "sha256sum-arm64.txt"
        self.list.write_text("".join(f"{sha256(content)} *{name}\n" for name, content in self.content.items()))

    def provide(self, *machines: list[Any]) -> dict[str, Any]:
        return provide(self.path, machines or [machine()], folder=str(self.path))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "airgap")


def test_an_air_gap_folder_gives_binary_and_images(folder: Folder) -> None:
    found = folder.provide()["files"]["arm64"]
    assert found["binary"]["name"] == "k3s-arm64"
    assert [image["name"] for image in found["images"]] == ["k3s-airgap-images-arm64.tar.zst"]
    assert found["images"][0]["sha256"] == sha256(b"images")


@pytest.mark.parametrize("name", ["k3s-arm64", "k3s-airgap-images-arm64.tar.zst", "sha256sum-arm64.txt"])
def test_a_missing_file_of_the_folder_is_named(folder: Folder, name: str) -> None:
    (folder.path / name).unlink()
    assert name.removesuffix(".zst") in folder.provide()["error"]


@pytest.mark.parametrize("name", ["k3s-arm64", "k3s-airgap-images-arm64.tar.zst"])
def test_without_its_checksum_nothing_is_installed(folder: Folder, name: str) -> None:
    lines = folder.list.read_text().splitlines(keepends=True)
    folder.list.write_text("".join(line for line in lines if name not in line))
    assert f"has no checksum for {name}" in folder.provide()["error"]
    folder.list.write_text(f"garbage  {name}\n")
    assert "has no checksum" in folder.provide()["error"]


@pytest.mark.parametrize("name", ["k3s-arm64", "k3s-airgap-images-arm64.tar.zst"])
def test_a_damaged_file_is_refused(folder: Folder, name: str) -> None:
    (folder.path / name).write_bytes(elf(ARM, padding=b"cut off"))
    assert f"{folder.path / name} has the checksum" in folder.provide()["error"]


def test_a_binary_under_the_name_of_another_architecture_is_refused(folder: Folder) -> None:
    (folder.path / "k3s-arm64").write_bytes(elf(AMD))
    folder.list.write_text(folder.list.read_text().replace(sha256(elf(ARM)), sha256(elf(AMD))))
    assert "is built for amd64, but it is to run on pi-0" in folder.provide()["error"]


def test_what_every_machine_has_is_not_read_again(folder: Folder) -> None:
    (folder.path / "k3s-arm64").write_bytes(b"damaged since")
    complete = machine("pi-0", "aarch64", sha256(elf(ARM)), image=sha256(b"images"))
    assert "files" in folder.provide(complete)
    assert "error" in folder.provide(complete, machine("pi-1", "aarch64", "", image=sha256(b"images")))


def test_machines_of_another_architecture_need_files_of_their_own(folder: Folder) -> None:
    assert "has no sha256sum-amd64.txt" in folder.provide(machine(), machine("pc", "x86_64"))["error"]


class Release(BaseHTTPRequestHandler):
    """A server of release files; paths it has been asked for are noted."""

    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []
    cut: ClassVar[int] = 0

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.asked.append(name)
        content = self.files.get(name)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        broken = type(self).cut > 0
        type(self).cut -= 1
        self.wfile.write(content[: len(content) // 2] if broken else content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        pass


@pytest.fixture
def release() -> Iterator[str]:
    Release.files, Release.asked, Release.cut = {"k3s-arm64": elf(ARM)}, [], 0
    with serving(Release) as url:
        yield f"{url}/v1.31.5%2Bk3s1"


def test_a_release_is_downloaded_once_for_all_machines_and_kept(release: str, tmp_path: Path) -> None:
    machines, expected = [machine("pi-0"), machine("pi-1")], sha256(elf(ARM))
    first = provide(tmp_path, machines, url=release, sha256=expected)
    assert Release.asked == ["k3s-arm64"]
    binary = Path(first["files"]["arm64"]["binary"]["file"])
    assert binary.read_bytes() == elf(ARM)
    assert binary.is_relative_to(tmp_path)
    assert provide(tmp_path, machines, url=release, sha256=expected) == first
    assert Release.asked == ["k3s-arm64"]


def test_nothing_is_fetched_for_machines_that_have_it(release: str, tmp_path: Path) -> None:
    expected = sha256(elf(ARM))
    assert "files" in provide(tmp_path, [machine(binary=expected)], url=release, sha256=expected)
    assert Release.asked == []


def test_a_download_that_breaks_off_is_tried_again(release: str, tmp_path: Path) -> None:
    Release.cut = 1
    assert "files" in provide(tmp_path, [machine()], url=release, sha256=sha256(elf(ARM)))
    assert len(Release.asked) == 2


def test_a_download_with_another_checksum_is_not_kept(release: str, tmp_path: Path) -> None:
    said = provide(tmp_path, [machine()], url=release, sha256="0" * 64)["error"]
    assert "which the release has for it" in said
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [".lock"]


def test_a_release_that_is_not_there_is_named(release: str, tmp_path: Path) -> None:
    Release.files = {}
    said = provide(tmp_path, [machine()], url=release, sha256="0" * 64)["error"]
    assert f"{release}/k3s-arm64 cannot be downloaded: HTTP 404" in said
    assert len(Release.asked) == 1, "what is not there does not come by asking again"


def test_a_list_of_checksums_is_taken_over_https_only(release: str, tmp_path: Path) -> None:
    assert "is not https" in provide(tmp_path, [machine()], url=release)["error"]
    assert Release.asked == []
    assert "is no address of the web" in provide(tmp_path, [machine()], url="file:///etc")["error"]


def test_one_checksum_cannot_be_that_of_two_architectures(release: str, tmp_path: Path) -> None:
    machines = [machine(), machine("pc", "x86_64")]
    assert "several architectures" in provide(tmp_path, machines, url=release, sha256="0" * 64)["error"]


def test_a_list_that_was_fetched_before_serves_without_any_connection(tmp_path: Path) -> None:
    """Where every machine has the binary; the address belongs to documentation and answers to nobody."""
    cache = tmp_path / "192.0.2.1_v1"
    cache.mkdir()
    (cache / "sha256sum-arm64.txt").write_text(f"{sha256(elf(ARM))}  k3s-arm64\n")
    answer = provide(tmp_path, [machine(binary=sha256(elf(ARM)))], url="https://192.0.2.1/v1")
    assert answer["files"]["arm64"]["binary"]["sha256"] == sha256(elf(ARM))
