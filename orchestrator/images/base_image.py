"""The images that everything local starts from: a plain Debian base, and a machine (base with systemd and SSH)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import docker

from orchestrator.clients.engine import PROBE_TIMEOUT, engine_architecture, published, translated_errors
from orchestrator.errors import ProviderError
from orchestrator.images.build_container import (
    Step,
    build_image,
    build_lock,
    find_image,
    recipe_digest,
)
from orchestrator.images.build_inputs import apt_options, archive_sources, proxy_environment, render_sources
from orchestrator.resources import user_cache_folder

IMAGE_LABEL = "continuum.image"
"""Marks images made by this program: ``base``, ``machine`` or what others add."""

LOGIN_USER = "deploy"
"""Who logs in to a machine; may use sudo without a password."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BASE_PACKAGES = ("ca-certificates", "python3")
_MACHINE_PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "openssh-server",
    "sudo",
    "iptables",
    "kmod",
    "iproute2",
    "procps",
    "openssl",
    "python3",
    "python3-apt",
    "ca-certificates",
)
_LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
_BOOTSTRAP_TIMEOUT = 900

_CLEAN = "apt-get clean; rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log"

_MACHINE_SETUP = f"""
rm -f /etc/ssh/ssh_host_*
useradd --create-home --shell /bin/bash --password '*' {LOGIN_USER}
install -d -m 700 -o {LOGIN_USER} -g {LOGIN_USER} /home/{LOGIN_USER}/.ssh
echo '{LOGIN_USER} ALL=(ALL:ALL) NOPASSWD:ALL' > /etc/sudoers.d/{LOGIN_USER}
chmod 440 /etc/sudoers.d/{LOGIN_USER}
cat > /etc/ssh/sshd_config.d/10-machine.conf <<'END'
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
PermitRootLogin no
UseDNS no
MaxStartups 100
MaxSessions 100
END
# These write to the kernel that all containers and the machine below share.
systemctl mask systemd-binfmt.service systemd-sysctl.service proc-sys-fs-binfmt_misc.automount
# No screen, no keyboard, no disks of its own.
systemctl mask getty.target console-getty.service systemd-udevd.service systemd-udev-trigger.service \\
    systemd-modules-load.service systemd-remount-fs.service
systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
systemctl set-default multi-user.target
: > /etc/machine-id
"""


class BaseImageError(ProviderError):
    """The base image can neither be pulled nor built here."""

    def __init__(self, reason: str, resolution: str) -> None:
        super().__init__("The base image cannot be made.", detail=reason, resolution=resolution)


def ensure_base_image(client: docker.DockerClient, progress: Callable[[str], None] = lambda _: None) -> str:
    """The plain base with python3 and certificates, made if it is missing.

    Pulled if a registry answers, else built from this machine's own package archive and kept in the cache folder.

    Returns:
        Its tag, e.g. ``continuum-deploy/base:bookworm-0123456789abcdef``.

    Raises:
        BaseImageError: If neither way is open.
    """
    distribution, suite = base_release()
    digest = recipe_digest(distribution, suite, _BASE_PACKAGES, _LEFT_OUT)
    tag = f"continuum-deploy/base:{suite}-{digest}"
    if find_image(client, tag) is not None:
        return tag
    with build_lock(tag):
        if find_image(client, tag) is not None:
            return tag
        upstream = f"{distribution}:{suite}-slim" if distribution == "debian" else f"{distribution}:{suite}"
        if _pull(client, upstream, progress):
            steps = [Step("adding Python to the base image", _installing(_BASE_PACKAGES))]
            build_image(client, upstream, steps, tag, labels={IMAGE_LABEL: "base"}, progress=progress)
        else:
            _import_archive(client, _bootstrap(suite, digest, progress), tag, progress)
    return tag


def ensure_machine_image(client: docker.DockerClient, progress: Callable[[str], None] = lambda _: None) -> str:
    """The base with systemd, an SSH server and what a cluster node needs, made if it is missing.

    It holds no key and no address: whoever starts a machine puts host key and login key into it first, and gives
    ``SIGRTMIN+3`` as its stop signal (the engine cannot record one while it keeps an image).

    Returns:
        Its tag, e.g. ``continuum-deploy/machine:bookworm-0123456789abcdef``.
    """
    base = ensure_base_image(client, progress)
    suite = base_release()[1]
    tag = f"continuum-deploy/machine:{suite}-{recipe_digest(base, _MACHINE_PACKAGES, _MACHINE_SETUP)}"
    if find_image(client, tag) is not None:
        return tag
    steps = [
        Step("installing systemd and SSH in the machine image", _installing(_MACHINE_PACKAGES)),
        Step("setting up the machine image", _MACHINE_SETUP),
    ]
    with build_lock(tag):
        if find_image(client, tag) is None:
            changes = ['CMD ["/sbin/init"]', "ENV container=docker"]
            build_image(client, base, steps, tag, labels={IMAGE_LABEL: "machine"}, changes=changes, progress=progress)
    return tag


def base_release(os_release: Path = Path("/etc/os-release")) -> tuple[str, str]:
    """Distribution and suite of the base image: this machine's own, so that its package archive fits.

    Returns:
        E.g. ``("debian", "bookworm")``, which is also taken on a machine that is neither Debian nor Ubuntu.
    """
    fields: dict[str, str] = {}
    if os_release.is_file():
        for line in os_release.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition("=")
            fields[key] = value.strip().strip('"')
    distribution, suite = fields.get("ID", ""), fields.get("VERSION_CODENAME", "")
    return (distribution, suite) if distribution in ("debian", "ubuntu") and suite else ("debian", "bookworm")


def _installing(packages: tuple[str, ...]) -> str:
    return f"apt-get update -q\napt-get install -q -y --no-install-recommends {' '.join(packages)}\n{_CLEAN}"


def _pull(client: docker.DockerClient, reference: str, progress: Callable[[str], None]) -> bool:
    """Pull the image if the engine has it already or reaches a registry that does; False if not."""
    if find_image(client, reference) is not None:
        return True
    if not published(client, reference):
        return False
    progress(f"pulling {reference}")
    with translated_errors(f"pulling {reference}"):
        repository, _, version = reference.partition(":")
        client.images.pull(repository, version)
    return True


def _bootstrap(suite: str, digest: str, progress: Callable[[str], None]) -> Path:
    """The base as a tar archive, built from this machine's package archive unless it is in the cache folder."""
    archive = user_cache_folder() / f"base-{suite}-{engine_architecture()}-{digest}.tar"
    if archive.is_file():
        return archive
    program = shutil.which("mmdebstrap")
    sources = archive_sources(suite)
    if program is None or not sources:
        lacking = "`mmdebstrap` is not installed" if program is None else f"apt has no source for {suite} here"
        raise BaseImageError(
            f"No image registry answers within {PROBE_TIMEOUT} s, and the image cannot be built here: {lacking}.",
            "Install mmdebstrap (`sudo apt-get install mmdebstrap`), or make a registry reachable.",
        )
    progress(f"building the base image from the {suite} package archive")
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_suffix(".partial")
    sources_file, options_file = archive.with_suffix(".sources.list"), archive.with_suffix(".apt.conf")
    sources_file.write_text(render_sources(sources), encoding="utf-8")
    options_file.write_text("\n".join(apt_options()) + "\n", encoding="utf-8")
    command = [
        program,
        "--variant=minbase",
        "--format=tar",
        f"--include={','.join(_BASE_PACKAGES)}",
        f"--architectures={engine_architecture()}",
        f"--aptopt={options_file}",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        # Where this machine gets its packages from is no business of the image.
        '--customize-hook=rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/apt/sources.list"',
        '--customize-hook=rm -f "$1/etc/resolv.conf" "$1/etc/hostname"',
        suite,
        str(partial),
        str(sources_file),
    ]
    try:
        _run_bootstrap(command)
        partial.rename(archive)
    finally:
        for file in (partial, sources_file, options_file):
            file.unlink(missing_ok=True)
    return archive


def _run_bootstrap(command: list[str]) -> None:
    environment = {**os.environ, **proxy_environment()}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_BOOTSTRAP_TIMEOUT, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise BaseImageError(
            f"mmdebstrap took longer than {_BOOTSTRAP_TIMEOUT} s.", "Look at the speed of the package archive."
        ) from error
    if done.returncode != 0:
        tail = "\n".join(done.stderr.splitlines()[-20:])
        raise BaseImageError(
            f"mmdebstrap ended with {done.returncode}:\n{tail}",
            "Mend the cause that the output names (usually: the package archive cannot be reached), and repeat.",
        )


def _import_archive(client: docker.DockerClient, archive: Path, tag: str, progress: Callable[[str], None]) -> None:
    progress("importing the base image")
    repository, _, version = tag.rpartition(":")
    changes = [f"ENV PATH={_PATH}", 'CMD ["bash"]', f'LABEL "{IMAGE_LABEL}"="base"']
    with translated_errors("importing the base image"):
        client.api.import_image_from_file(str(archive), repository=repository, tag=version, changes=changes)
