"""Places for the state that are real servers: one that speaks S3 (moto), and PostgreSQL as Debian packages it."""

from __future__ import annotations

import ipaddress
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orchestrator.state.backend import Backend, open_backend
from tests.moto_server import aws_settings

BUCKET = "states"
PLACES = ("local", "s3", "postgresql")
"""What the contract of back-ends is held against."""


def make_certificate(folder: Path, name: str = "server") -> tuple[Path, Path]:
    """A certificate for this host that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    start = datetime(2020, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=365 * 100))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.crt", folder / f"{name}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].touch(mode=0o600)
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


@dataclass(frozen=True)
class PostgresServer:
    """A server of our own on a socket and a loopback port, stopped and started again at will."""

    folder: Path
    programs: Path
    user: str
    port: int

    @property
    def url(self) -> str:
        """Without the schema."""
        return f"postgresql://deploy@127.0.0.1:{self.port}/postgres"

    @property
    def certificate(self) -> Path:
        """What a client has to trust."""
        return self.folder / "server.crt"

    def control(self, *arguments: str) -> None:
        """Run pg_ctl as a user who may."""
        command = [str(self.programs / "pg_ctl"), "-D", str(self.folder / "data"), "-w", "-t", "60", *arguments]
        with (self.folder / "control.log").open("ab") as log:
            done = subprocess.run(
                self.as_user(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=90,
                check=False,
                cwd="/",
            )
        assert done.returncode == 0, (self.folder / "control.log").read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self.folder}"
        options += f" -c ssl=on -c ssl_cert_file={self.certificate} -c ssl_key_file={self.folder / 'server.key'}"
        quick = "-c fsync=off -c shared_buffers=16MB -c max_connections=40"
        self.control("start", "-l", str(self.folder / "server.log"), "-o", f"{options} {quick}")

    def stop(self, how: str = "immediate") -> None:
        self.control("stop", "-m", how)

    def as_user(self, command: list[str]) -> list[str]:
        return (
            ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups", *command]
            if self.user
            else command
        )


def postgres_programs() -> Path | None:
    """The folder of initdb and pg_ctl: Debian keeps them out of PATH, one folder a version."""
    on_path = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name, reverse=True)
    candidates = [*debian, *([Path(on_path).resolve().parent] if on_path else [])]
    return next((path for path in candidates if (path / "initdb").exists() and (path / "pg_ctl").exists()), None)


def unprivileged_user() -> str:
    """Number of a user that the server can run as; PostgreSQL refuses to run as root. Empty if we are none."""
    if os.geteuid() != 0:
        return ""
    try:
        return str(pwd.getpwnam("postgres").pw_uid)
    except KeyError:
        return "65534"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    programs = postgres_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed (Debian: apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="deploy-pg-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = PostgresServer(folder, programs, unprivileged_user(), port)
    made_files = make_certificate(folder)
    if server.user:
        for path in (folder, *made_files):
            os.chown(path, int(server.user), int(server.user))
    command = ["initdb", "-D", str(folder / "data"), "-U", "deploy", "-A", "trust", "-E", "UTF8", "--no-sync"]
    command[0] = str(programs / "initdb")
    made = subprocess.run(server.as_user(command), capture_output=True, text=True, timeout=120, check=False, cwd="/")
    assert made.returncode == 0, made.stderr
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def s3_environment(aws_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    aws_settings(monkeypatch, aws_server, "AWS_ENDPOINT_URL_S3")
    return aws_server


@pytest.fixture
def s3_client(s3_environment: str) -> Iterator[Any]:
    """A client of the server; the bucket is there."""
    import boto3

    client = boto3.session.Session().client("s3")
    client.create_bucket(Bucket=BUCKET)
    yield client
    client.close()


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A URL of a place where nothing is kept yet; parametrised with one of PLACES."""
    return fresh_place(request, request.param, tmp_path)


def fresh_place(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> str:
    mark = uuid4().hex[:12]
    if kind == "local":
        return f"file://{tmp_path / mark}"
    if kind == "s3":
        request.getfixturevalue("s3_client")
        return f"s3://{BUCKET}/{mark}"
    return f"{request.getfixturevalue('postgres_server').url}?schema=s{mark}"


@pytest.fixture
def open_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], Backend]]:
    """Opens back-ends, closed at the end."""
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "home"))
    opened: list[Backend] = []

    def open_url(url: str) -> Backend:
        opened.append(open_backend(url))
        return opened[-1]

    yield open_url
    for backend in opened:
        backend.close()
