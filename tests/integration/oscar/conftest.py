"""Stand-ins for OSCAR as processes on loopback, and tiny images for them to run."""

import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.clients.object_store import ObjectStore, open_store
from orchestrator.clients.oscar import OscarClient, OscarUnreachableError
from orchestrator.standin_files import standin_path

PROGRAMS = ("sh", "cp", "cat", "ls", "sleep", "id", "ln", "env", "mkdir")


@dataclass
class Standin:
    """One stand-in: its folder, its configuration, and its process while it runs."""

    folder: Path
    config: dict[str, object]
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def ca_cert(self) -> str:
        return (self.folder / "certificate.pem").read_text()

    @property
    def endpoint(self) -> str:
        return f"https://127.0.0.1:{self.config['port']}"

    @property
    def store_endpoint(self) -> str:
        return f"https://127.0.0.1:{self.config['store_port']}"

    @property
    def images(self) -> Path:
        return self.folder / "images"

    def client(self, password: str = "") -> OscarClient:
        return OscarClient(self.endpoint, "oscar", password or str(self.config["password"]), self.ca_cert, 10)

    def store(self, secret_key: str = "") -> AbstractContextManager[ObjectStore]:
        secret = secret_key or str(self.config["secret_key"])
        return open_store(self.store_endpoint, str(self.config["access_key"]), secret, ca_cert=self.ca_cert)

    def start(self) -> None:
        """Start and wait until it answers."""
        file = self.folder / "config.json"
        file.write_text(json.dumps(self.config))
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, str(standin_path("oscar_standin.py")), "--config", str(file)], stdout=log, stderr=log
        )
        log.close()
        for _ in range(100):
            try:
                self.client().check_health()
            except OscarUnreachableError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.05)
            else:
                return
        raise AssertionError((self.folder / "log").read_text())

    def stop(self, *, kill: bool = False) -> None:
        """End the process, with or without a chance to tidy up."""
        if self.process is not None:
            self.process.kill() if kill else self.process.terminate()
            self.process.wait(10)
            self.process = None


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with key.pem and certificate.pem for 127.0.0.1, made as the play makes them."""
    folder = tmp_path_factory.mktemp("certificate")
    extensions = ("subjectAltName=IP:127.0.0.1", "basicConstraints=critical,CA:FALSE", "extendedKeyUsage=serverAuth")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "30", "-subj", "/CN=oscar-standin", "-keyout", str(folder / "key.pem")]
    command += ["-out", str(folder / "certificate.pem"), "-addext", "keyUsage=critical,digitalSignature"]
    for extension in extensions:
        command += ["-addext", extension]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return folder


def _make_standin(parent: Path, certificate: Path, name: str, changes: dict[str, object]) -> Standin:
    folder = parent / name
    (folder / "images").mkdir(parents=True)
    for file in certificate.iterdir():
        shutil.copy(file, folder)
    config: dict[str, object] = {
        "password": f"{name}-password",
        "access_key": "minio",
        "secret_key": f"{name}-store-key",
        "address": "127.0.0.1",
        "listen": "127.0.0.1",
        "port": _free_port(),
        "store_port": _free_port(),
        "certificate": str(folder / "certificate.pem"),
        "key": str(folder / "key.pem"),
        "state_dir": str(folder / "state"),
        "images_dir": str(folder / "images"),
        "backoff": 0.05,
    }
    standin = Standin(folder, {**config, **changes})
    standin.start()
    return standin


@pytest.fixture
def make_standin(tmp_path: Path, certificate: Path) -> Iterator[Callable[..., Standin]]:
    """Starts stand-ins; the arguments change the configuration."""
    made: list[Standin] = []

    def make(name: str = "cluster", **changes: object) -> Standin:
        made.append(_make_standin(tmp_path, certificate, name, changes))
        return made[-1]

    yield make
    for standin in made:
        standin.stop()


@pytest.fixture(scope="session")
def shared_standin(tmp_path_factory: pytest.TempPathFactory, certificate: Path) -> Iterator[Standin]:
    """One stand-in for all tests that leave nothing behind in it."""
    standin = _make_standin(tmp_path_factory.mktemp("shared"), certificate, "shared", {})
    yield standin
    standin.stop()


@pytest.fixture
def standin(make_standin: Callable[..., Standin]) -> Standin:
    """One stand-in."""
    return make_standin()


@pytest.fixture(scope="session")
def needs_chroot() -> None:
    """Skips where scripts cannot be confined to an image."""
    if os.geteuid() != 0:
        pytest.skip("running a script inside an image needs root (chroot)")
    done = subprocess.run(["unshare", "--root", "/", "true"], capture_output=True, timeout=10, check=False)
    if done.returncode != 0:
        pytest.skip("chroot is not allowed here")


@pytest.fixture(scope="session")
def make_archive() -> Callable[..., None]:
    """Writes an image archive with a shell in it, in the form of ``docker save``."""

    def make(target: Path, tag: str, *more_layers: bytes) -> None:
        layers = [_shell_layer(), *more_layers]
        config = json.dumps({"architecture": "amd64", "config": {"Env": ["FROM_IMAGE=yes"]}}).encode()
        identity = hashlib.sha256(config + b"".join(layers)).hexdigest()
        names = [f"{number}/layer.tar" for number in range(len(layers))]
        manifest = [{"Config": f"{identity}.json", "RepoTags": [tag], "Layers": names}]
        entries = {f"{identity}.json": config, "manifest.json": json.dumps(manifest).encode()}
        entries.update(zip(names, layers, strict=True))
        partial = target.with_suffix(".partial")
        with tarfile.open(partial, "w") as archive:
            for name, content in entries.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        partial.rename(target)

    return make


def _shell_layer() -> bytes:
    """A file system layer with the programs of this machine that a small script needs, and their libraries."""
    files: set[Path] = set()
    for program in PROGRAMS:
        path = Path(shutil.which(program) or "")
        files.add(path)
        linked = subprocess.run(["ldd", str(path)], capture_output=True, text=True, timeout=10, check=True).stdout
        files.update(Path(word) for line in linked.splitlines() for word in line.split() if word.startswith("/"))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as layer:
        for path in sorted(files):
            place = f"bin/{path.name}" if path.name in PROGRAMS else str(path).lstrip("/")
            layer.add(path.resolve(), place)
    return packed.getvalue()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
