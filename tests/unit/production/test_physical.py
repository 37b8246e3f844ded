"""physical_nodes.yaml: how machines and clusters are reached that are there already."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.production.physical import ClusterAccess, PhysicalHost, PhysicalResource
from orchestrator.production.read_physical import read_physical_nodes
from orchestrator.services.load import load_topology
from orchestrator.topology.reading import Findings

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "mask-detection"
HEAD = """\
ComputationalLayers:
  computationalLayer1:
    number: 1
    Resources:
      resource1:
        name: RaspPi
"""


def read(folder: Path, text: str) -> tuple[tuple[PhysicalResource, ...], list[tuple[str, str, int]]]:
    path = folder / "physical_nodes.yaml"
    path.write_text(HEAD + text, encoding="utf-8")
    findings = Findings()
    found = read_physical_nodes(path, findings)
    return found, [(d.severity.value, d.summary, d.location.line if d.location else 0) for d in findings.all()]


FULL = """\
        fe_node: {private_ip: 192.0.2.1, ssh_user: pi, ssh_key: ~/k, ssh_port: 2222, jump: "pi@192.0.2.9:23,gate",
          become_password: "secret:sudo", key_passphrase: "env:PASS", host_key: "ssh-ed25519 %s comment"}
        wns: [{private_ip: "2001:db8::7"}]
"""


def test_everything_about_a_machine_is_read(tmp_path: Path) -> None:
    key = "A" * 68
    (made,), said = read(tmp_path, FULL % key)
    assert said == []
    way = "pi@192.0.2.9:23,gate"
    assert made.hosts == (
        PhysicalHost(
            "192.0.2.1", "pi", "~/k", 2222, way, "secret:sudo", "env:PASS", f"ssh-ed25519 {key}", is_server=True
        ),
        PhysicalHost("2001:db8::7", "", ""),
    )


def test_machines_with_the_role_of_a_server_come_first(tmp_path: Path) -> None:
    machines = """\
        fe_node: {private_ip: 192.0.2.1}
        wns: [{private_ip: 192.0.2.2, role: agent}, {private_ip: 192.0.2.3, role: Server}, {private_ip: 192.0.2.4}]
"""
    (made,), said = read(tmp_path, machines)
    assert said == []
    assert [(host.address[-1], host.is_server) for host in made.hosts] == [
        ("1", True),
        ("3", True),
        ("2", False),
        ("4", False),
    ]


@pytest.mark.parametrize("machine", ["fe_node: {private_ip: a, role: agent}", "wns: [{private_ip: a, role: master}]"])
def test_a_role_that_is_none_is_refused(tmp_path: Path, machine: str) -> None:
    _, said = read(tmp_path, f"        {machine}\n")
    assert said == [("error", "A role is not possible.", 7)]


@pytest.mark.parametrize(
    ("key", "value", "finding"),
    [
        ("become_password", "hidden-word", ("error", "A password is written out.", 8)),
        ("key_passphrase", "hidden-word", ("error", "A password is written out.", 8)),
        ("become_password", "secret:", ("error", "A password is written out.", 8)),
        ("ssh_port", "70000", ("error", "A port is not understood.", 7)),
        ("ssh_user", "-oProxyCommand=hidden-word", ("error", "A login name is not understood.", 7)),
        ("public_ip", "-oProxyCommand=hidden-word", ("error", "An address is not understood.", 7)),
        ("jump", "a b", ("error", "A way is not understood.", 7)),
        ("jump", "-oX=y", ("error", "A way is not understood.", 7)),
        ("host_key", "hidden-word", ("error", "A host key is not understood.", 7)),
    ],
)
def test_what_cannot_be_is_refused_at_its_line_and_not_shown(
    tmp_path: Path, key: str, value: str, finding: tuple[str, str, int]
) -> None:
    machine = f'        fe_node:\n          {key}: "{value}"\n          private_ip: 192.0.2.1\n'
    path = tmp_path / "physical_nodes.yaml"
    path.write_text(HEAD + machine, encoding="utf-8")
    findings = Findings()
    made = read_physical_nodes(path, findings)
    (found,) = findings.all()
    assert (found.severity.value, found.summary) == finding[:2]
    assert found.location is not None
    assert found.location.line in (finding[2], 8)
    assert "hidden-word" not in repr((made, found))


def test_a_key_that_is_written_out_does_not_reach_the_template(tmp_path: Path) -> None:
    text = '        fe_node: {private_ip: 192.0.2.1, ssh_key: "-----BEGIN OPENSSH PRIVATE KEY-----\\nhidden-word"}\n'
    (made,), said = read(tmp_path, text)
    assert said == [("warning", "A private key is written out.", 7)]
    assert "hidden-word" not in repr(made)


def test_a_cluster_that_is_there(tmp_path: Path) -> None:
    (made,), said = read(tmp_path, '        kubernetes: {kubeconfig: edge.yaml, context: a, version: "v1.3"}\n')
    assert said == []
    assert made.cluster == ClusterAccess(f"file:{tmp_path}/edge.yaml", "a", version="v1.3")
    (made,), said = read(
        tmp_path, '        kubernetes: {endpoint: "https://h:6443/", ca_cert: ~/ca.pem, token: "env:TOKEN"}\n'
    )
    assert said == []
    assert made.cluster == ClusterAccess(endpoint="https://h:6443", ca_cert="file:~/ca.pem", token="env:TOKEN")


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("{context: a}", "A cluster cannot be reached."),
        ('{endpoint: "https://h"}', "A cluster cannot be reached."),
        ('{endpoint: "http://h", token: "env:T"}', "An address is not understood."),
        ('{endpoint: "https://h", token: hidden-word}', "A password is written out."),
    ],
)
def test_a_cluster_that_cannot_be_reached(tmp_path: Path, text: str, summary: str) -> None:
    made, said = read(tmp_path, f"        kubernetes: {text}\n")
    assert ("error", summary, 7) in said
    assert "hidden-word" not in repr(made)


def test_one_machine_cannot_be_two_nodes(tmp_path: Path) -> None:
    for path in GOLDEN.glob("*.yaml"):
        text = path.read_text(encoding="utf-8").replace("192.0.2.12", "192.0.2.11")
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    found = [d for d in load_topology(tmp_path / "production.yaml").diagnostics if d.is_error]
    assert [d.summary for d in found] == ["A machine is named twice."]
    assert "192.0.2.11, port 22" in found[0].detail


def test_a_layer_that_is_there_already_gets_credentials_as_references(tmp_path: Path) -> None:
    for path in GOLDEN.glob("*.yaml"):
        text = path.read_text(encoding="utf-8").replace("PhysicalToBeProvisioned", "PhysicalAlreadyProvisioned")
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    read(
        tmp_path,
        "        kubernetes: {kubeconfig: ~/edge.yaml, version: v1.33}\n"
        "        minio: {endpoint: https://s3.example.org, access_key: hidden-word, secret_key: env:STORE}\n"
        "        oscar: {endpoint: https://o.example.org, user: me, password: hidden-word, ca_cert: ~/ca.pem}\n",
    )
    loaded = load_topology(tmp_path / "production.yaml")
    assert [d for d in loaded.diagnostics if d.is_error] == []
    cluster = loaded.topology.nodes["layer1-rasppi-k3s"].properties
    assert (cluster["kubeconfig"], cluster["wanted_version"]) == ("file:~/edge.yaml", "v1.33")
    oscar = loaded.topology.nodes["layer1-rasppi-oscar"].properties
    assert oscar["endpoint"] == "https://o.example.org"
    assert (oscar["user"], oscar["ca_cert"]) == ("me", "file:~/ca.pem")
    assert (oscar["password"], oscar["store_secret_key"]) == ("secret:layer1-rasppi-oscar-password", "env:STORE")
    assert "hidden-word" not in loaded.template_text


def test_a_fingerprint_stands_for_a_host_key(tmp_path: Path) -> None:
    shown = "SHA256:" + "a" * 43
    (made,), said = read(tmp_path, f'        fe_node: {{private_ip: 192.0.2.1, host_key: "{shown}"}}\n')
    assert (said, made.hosts[0].host_key) == ([], shown)
