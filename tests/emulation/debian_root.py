"""Root file systems of Debian for other processors, as tar archives in the cache of base images."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.images.base_image import base_release
from orchestrator.images.build_container import build_lock, recipe_digest
from orchestrator.images.build_inputs import apt_options, archive_sources, proxy_environment, render_sources
from orchestrator.resources import user_cache_folder
from tests.emulation.foreign_binaries import Processor, registered

_TIMEOUT = 1500.0
_LOGIN = ("openssh-server", "sudo", "python3")
_BOARD = (
    *_LOGIN,
    "systemd",
    "systemd-sysv",
    "systemd-resolved",
    "dbus",
    "udev",
    "iptables",
    "kmod",
    "iproute2",
    "procps",
    "openssl",
    "ca-certificates",
    "initramfs-tools",
    "linux-image-cloud-arm64",
)
PACKAGES = {"arm64": _BOARD, "armhf": _LOGIN}

# Everything that runs below is emulated, so the first RAM disk gets the few modules that a board's disk needs.
_BEFORE = r"""
mkdir -p "$1/etc/initramfs-tools/conf.d"
printf 'virtio_pci\nvirtio_mmio\nvirtio_blk\next4\n' > "$1/etc/initramfs-tools/modules"
printf 'MODULES=list\nCOMPRESS=gzip\nCOMPRESSLEVEL=1\nRESUME=none\n' > "$1/etc/initramfs-tools/conf.d/board"
"""
_AFTER = r"""
rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/apt/sources.list" "$1/etc/resolv.conf" "$1/etc/hostname"
rm -f "$1"/etc/ssh/ssh_host_*
chroot "$1" useradd --create-home --shell /bin/bash --password '*' deploy
echo 'deploy ALL=(ALL:ALL) NOPASSWD:ALL' > "$1/etc/sudoers.d/deploy"
chmod 440 "$1/etc/sudoers.d/deploy"
install -d -m 700 -o 1000 -g 1000 "$1/home/deploy/.ssh"
"""


def ensure_root(processor: Processor) -> Path:
    """The archive, built if it is missing: one to three minutes for a user land, five to ten for a board's.

    Skips the test where it cannot be built.
    """
    distribution, suite = base_release()
    digest = recipe_digest(distribution, suite, PACKAGES[processor.debian], _BEFORE, _AFTER)
    archive = user_cache_folder() / f"emulated-{suite}-{processor.debian}-{digest}.tar"
    with build_lock(archive.name, 2 * _TIMEOUT):
        if not archive.is_file():
            _build(processor, distribution, suite, archive)
    return archive


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack an archive as it is: owners, modes and device files included."""
    folder.mkdir(parents=True)
    subprocess.run(["tar", "--extract", "--file", archive, "--directory", folder], check=True, timeout=300)
    return folder


def _build(processor: Processor, distribution: str, suite: str, archive: Path) -> None:
    if distribution != "debian":
        pytest.skip(f"the package archive of {distribution} keeps {processor.debian} elsewhere: build it on Debian")
    if os.geteuid() != 0:
        pytest.skip("only root can build a root file system of another processor")
    # Nothing but tests see it, so it is the release as it was published, without its updates.
    sources = [replace(source, suites=[suite]) for source in archive_sources(suite) if suite in source.suites]
    program = shutil.which("mmdebstrap")
    if program is None or not sources:
        pytest.skip(f"mmdebstrap is not installed, or apt has no source for {suite} here")
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_suffix(".partial")
    sources_file, options_file = archive.with_suffix(".sources.list"), archive.with_suffix(".apt.conf")
    sources_file.write_text(render_sources(sources), encoding="utf-8")
    options_file.write_text("\n".join(apt_options()) + "\n", encoding="utf-8")
    command = [
        program,
        "--mode=root",
        "--variant=minbase",
        "--format=tar",
        # That the processor is emulated is our own doing.
        "--skip=check/qemu",
        f"--architectures={processor.debian}",
        f"--include={','.join(PACKAGES[processor.debian])}",
        f"--aptopt={options_file}",
        *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("man", "doc", "locale", "info")),
        f"--essential-hook={_BEFORE}",
        f"--customize-hook={_AFTER}",
        suite,
        str(partial),
        str(sources_file),
    ]
    try:
        with registered(processor):
            done = subprocess.run(
                ["nice", *command],
                capture_output=True,
                text=True,
                timeout=_TIMEOUT,
                check=False,
                env={**os.environ, **proxy_environment()},
            )
        assert done.returncode == 0, "\n".join(done.stderr.splitlines()[-30:])
        partial.rename(archive)
    finally:
        for file in (partial, sources_file, options_file):
            file.unlink(missing_ok=True)
