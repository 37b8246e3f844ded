"""A cluster that somebody else looks after: adopted, checked, let go of, and only ever read from."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orchestrator.cli.main import main
from orchestrator.clients.kubernetes import _load_certificate as load_certificate
from orchestrator.clients.kubernetes import load_kubeconfig
from tests.unit.standins.k3s_machine import Node, make_node, port, server

__all__ = ["make_node", "port", "server"]

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "mask-detection"
TOKEN = "the-word-of-a-reader"
CLUSTER = "layer1-rasppi-k3s"
Deploy = Callable[..., str]


def certificate(folder: Path) -> tuple[Path, str]:
    """A self-signed certificate for loopback, with its key in one file; and as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "front")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    folder.mkdir(exist_ok=True)
    path = folder / "front.pem"
    path.write_bytes(pem + private)
    return path, pem.decode()


class Front:
    """Stands before the cluster's API, takes a token, hands requests on, and keeps a log of all of them."""

    def __init__(self, folder: Path, behind: Path) -> None:
        self.log: list[tuple[str, str]] = []
        self.answers: dict[str, tuple[int, bytes]] = {}
        access = load_kubeconfig(behind)
        context = ssl.create_default_context(cadata=access.ca)
        load_certificate(context, access)
        host = access.server.removeprefix("https://")
        front = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                front.log.append((self.command, self.path))
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    status, body = 401, b"who are you"
                elif self.path in front.answers:
                    status, body = front.answers[self.path]
                else:
                    connection = http.client.HTTPSConnection(host, timeout=5, context=context)
                    connection.request(self.command, self.path)
                    answer = connection.getresponse()
                    status, body = answer.status, answer.read()
                    connection.close()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):  # whatever the method is
                    return self.handle_any
                raise AttributeError(name)

            def log_message(self, *_arguments: Any) -> None:
                pass

        pair, self.ca = certificate(folder)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pair)
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(5)
        self._server.server_close()


@pytest.fixture
def front(server: Node, tmp_path: Path) -> Iterator[Front]:
    made = Front(tmp_path / "front", server.root / "etc/rancher/k3s/k3s.yaml")
    yield made
    made.close()


@pytest.fixture
def kubeconfig(front: Front, tmp_path: Path) -> Path:
    path = tmp_path / "reader.yaml"
    authority = base64.b64encode(front.ca.encode()).decode()
    text = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "other",
        "clusters": [{"name": "c", "cluster": {"server": front.url, "certificate-authority-data": authority}}],
        "users": [{"name": "u", "user": {"token": TOKEN}}, {"name": "n", "user": {}}],
        "contexts": [
            {"name": "other", "context": {"cluster": "c", "user": "n"}},
            {"name": "reader", "context": {"cluster": "c", "user": "u"}},
        ],
    }
    path.write_text(yaml.safe_dump(text), encoding="utf-8")
    return path


@pytest.fixture
def deploy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Deploy:
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / ".deploy"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, expect: int = 0) -> str:
        code = main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        assert code == expect, f"exit {code}\n{shown.out}\n{shown.err}"
        assert TOKEN not in shown.out + shown.err
        return shown.out + shown.err

    return run


def application(folder: Path, cluster: str) -> Path:
    """The example with its edge layer there already."""
    for path in GOLDEN.glob("*.yaml"):
        text = path.read_text(encoding="utf-8").replace("PhysicalToBeProvisioned", "PhysicalAlreadyProvisioned")
        text = text.replace("type: Virtual", "type: PhysicalAlreadyProvisioned")
        (folder / path.name).write_text(text, encoding="utf-8")
    nodes = f"""\
ComputationalLayers:
  computationalLayer1:
    number: 1
    Resources:
      resource1:
        name: RaspPi
        kubernetes: {cluster}
        oscar: {{endpoint: "https://127.0.0.1:1"}}
  computationalLayer2:
    number: 2
    Resources:
      resource1:
        name: CloudVM
        kubernetes: {{endpoint: "https://127.0.0.1:1", token: "env:T"}}
        oscar: {{endpoint: "https://127.0.0.1:1"}}
        minio: {{endpoint: "https://s3.example.org"}}
"""
    (folder / "physical_nodes.yaml").write_text(nodes, encoding="utf-8")
    return folder / "production.yaml"


def test_it_is_adopted_checked_and_let_go_of_with_reads_only(
    deploy: Deploy, front: Front, kubeconfig: Path, server: Node, tmp_path: Path
) -> None:
    file = application(tmp_path, f"{{kubeconfig: {kubeconfig}, context: reader, version: v1}}")
    apply = ("apply", file, "--target", CLUSTER, "--auto-approve")
    deploy(*apply)
    (record,) = [i for i in json.loads(deploy("status", "--json"))["instances"] if i["address"] == CLUSTER]
    assert (record["lifecycle"], record["observed"]) == ("started", "present")
    assert "No changes" in deploy("plan", *apply[1:-1], "--detailed-exitcode")
    manifest = json.loads(deploy("manifest", "--format", "json"))
    (cluster,) = manifest["clusters"]
    assert (cluster["api_endpoint"], cluster["kubeconfig"]) == (front.url, str(kubeconfig))

    front.answers["/readyz"] = (500, b"etcd is away")
    assert "etcd is away" in deploy("status", expect=0)
    front.answers.clear()

    shown = deploy("destroy", "--auto-approve")
    assert "somebody else looks after it" in shown
    assert front.log
    assert {method for method, _ in front.log} == {"GET"}
    assert {path for _, path in front.log} == {"/readyz", "/api/v1/nodes"}
    assert server.process is not None
    assert server.process.poll() is None


def test_without_a_kubeconfig_an_endpoint_and_a_token_do(
    deploy: Deploy, front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_text(front.ca)
    monkeypatch.setenv("READER", TOKEN)
    file = application(tmp_path, f'{{endpoint: "{front.url}", ca_cert: ca.pem, token: "env:READER"}}')
    deploy("apply", file, "--target", CLUSTER, "--auto-approve")
    assert {method for method, _ in front.log} == {"GET"}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"version": "v9"}, "It has to have version v9, and there are: pi-0 v1"),
        ({"context": "other"}, "its user has neither a token nor a certificate"),
        ({"context": "nowhere"}, "has no context 'nowhere'; it has: other, reader"),
    ],
)
def test_what_is_not_as_it_has_to_be_is_told(
    deploy: Deploy, kubeconfig: Path, tmp_path: Path, changed: dict[str, str], words: str
) -> None:
    said = {"kubeconfig": str(kubeconfig), "context": "reader", **changed}
    file = application(tmp_path, json.dumps(said))
    assert words in deploy("apply", file, "--target", CLUSTER, "--auto-approve", expect=1)


def test_whoever_else_answers_is_refused(deploy: Deploy, front: Front, kubeconfig: Path, tmp_path: Path) -> None:
    text = yaml.safe_load(kubeconfig.read_text())
    _, stranger = certificate(tmp_path / "stranger")
    text["clusters"][0]["cluster"]["certificate-authority-data"] = base64.b64encode(stranger.encode()).decode()
    kubeconfig.write_text(yaml.safe_dump(text))
    file = application(tmp_path, json.dumps({"kubeconfig": str(kubeconfig), "context": "reader"}))
    shown = deploy("apply", file, "--target", CLUSTER, "--auto-approve", expect=1)
    assert "shows a certificate that its kubeconfig does not know" in shown
    assert front.log == []


@pytest.mark.parametrize(
    ("entry", "key", "value", "words"),
    [
        ("clusters", "insecure-skip-tls-verify", True, "switches off the verification"),
        ("clusters", "certificate-authority", "/ca.pem", "it names other files (certificate-authority)"),
        ("users", "exec", {"command": "x"}, "told by a command"),
    ],
)
def test_what_a_kubeconfig_may_not_ask_for(
    deploy: Deploy, kubeconfig: Path, tmp_path: Path, entry: str, key: str, value: Any, words: str
) -> None:
    text = yaml.safe_load(kubeconfig.read_text())
    text[entry][0][entry.removesuffix("s")][key] = value
    kubeconfig.write_text(yaml.safe_dump(text))
    file = application(tmp_path, json.dumps({"kubeconfig": str(kubeconfig), "context": "reader"}))
    assert words in deploy("apply", file, "--target", CLUSTER, "--auto-approve", expect=1)
