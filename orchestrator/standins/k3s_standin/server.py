"""``k3s server``."""

from __future__ import annotations

import base64
import contextlib
import ssl
import threading
from pathlib import Path
from typing import Any

from k3s_standin.certificates import make_certificates
from k3s_standin.front import REJECTED, Front
from k3s_standin.https_server import Server
from k3s_standin.machine import check_memory_cgroup, faults, rooted, write_private
from k3s_standin.manifests import read_manifests
from k3s_standin.membership import begin_store, join_servers, note_etcd, own_url, wait_for_quorum
from k3s_standin.nodes import node_facts
from k3s_standin.options import data_folder, first
from k3s_standin.own_node import KUBELET_PORT, apply_start_faults, keep_certificates, node_password, prepare_node
from k3s_standin.process import STOP, VERSION, FatalError, log
from k3s_standin.registries import are_registries_in_order
from k3s_standin.sockets import hold_ports, notify
from k3s_standin.store import QuorumError
from k3s_standin.tokens import server_password, write_tokens


def write_kubeconfig(options: dict[str, list[str]], tls: Path, port: int) -> None:
    """``k3s.yaml`` with the administrator's certificate."""
    encoded = {n: base64.b64encode((tls / n).read_bytes()).decode() for n in
               ("server-ca.crt", "client-admin.crt", "client-admin.key")}  # fmt: skip
    text = (
        "apiVersion: v1\nclusters:\n- cluster:\n"
        f"    certificate-authority-data: {encoded['server-ca.crt']}\n    server: https://127.0.0.1:{port}\n"
        "  name: default\ncontexts:\n- context:\n    cluster: default\n    user: default\n  name: default\n"
        "current-context: default\nkind: Config\npreferences: {}\nusers:\n- name: default\n  user:\n"
        f"    client-certificate-data: {encoded['client-admin.crt']}\n"
        f"    client-key-data: {encoded['client-admin.key']}\n"
    )
    given = first(options, "write-kubeconfig")
    path = Path(given) if given else rooted("/etc/rancher/k3s/k3s.yaml")
    write_private(path, text, int(first(options, "write-kubeconfig-mode", "600"), 8))


def run_server(options: dict[str, list[str]]) -> None:
    """Serve until told to stop."""
    check_memory_cgroup()
    apply_start_faults()
    data, port = data_folder(options), int(first(options, "https-listen-port", "6443"))
    tls, url = data / "server" / "tls", own_url(options, port)
    password = server_password(options, data)
    if first(options, "server"):
        join_servers(options, data, url)
    make_certificates(tls, options.get("tls-san", []))
    write_tokens(data, (tls / "server-ca.crt").read_text(), password)
    store = begin_store(options, data, password, url)
    (data / "server" / "manifests").mkdir(parents=True, exist_ok=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls / "serving-kube-apiserver.crt", tls / "serving-kube-apiserver.key")
    context.load_verify_locations(tls / "client-ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    front = Front(store, password, tls)
    address = (first(options, "bind-address", "0.0.0.0"), port)  # noqa: S104
    try:
        server = Server(address, context, front)
    except OSError as reason:
        raise FatalError(f"listen tcp {address[0]}:{port}: bind: {str(reason.strerror).lower()}") from reason
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ports = hold_ports((2379, 2380, KUBELET_PORT) if store.members else (KUBELET_PORT,))
    wait_for_quorum(store)
    note_etcd(data, store)
    write_kubeconfig(options, tls, port)
    run_own_node(options, front, data)
    notify("STOPPING=1")
    server.shutdown()
    for held in ports:
        held.close()


def run_own_node(options: dict[str, list[str]], front: Front, data: Path) -> None:
    """The server's own node and controllers, until told to stop; K3s is ready before its own node is."""
    roles = ["control-plane", "etcd", "master"] if front.store.members else ["control-plane", "master"]
    sent: list[tuple[str, int]] = []
    announced = joined = deciding = False
    while not STOP.is_set():
        front.store.look_around()
        if front.decides() and not deciding:
            front.cluster.nodes.begin_term()
        deciding = front.decides()
        if joined or are_registries_in_order(data):
            joined = join_own_node(front, data, options, node_facts(options, roles), register=not joined) or joined
        sent = hand_in_manifests(front, data, options, sent)
        if deciding and front.store.has_quorum():
            with contextlib.suppress(QuorumError):
                front.controllers.tick()
        if not announced:
            log("info", f"{VERSION} is up and running; this is a stand-in for K3s and runs no pods")
            notify("READY=1")
            announced = True
        STOP.wait(float(faults().get("heartbeat_interval", 1.5)))


def join_own_node(
    front: Front, data: Path, options: dict[str, list[str]], facts: dict[str, Any], *, register: bool
) -> bool:
    """Register the server's own node, or say that it lives."""
    asked = {"what": "join", "name": facts["name"], "password": node_password()}
    code, answer = front.ask({**asked, "facts": {**facts, "register": register}})
    if code == 403:
        raise FatalError(REJECTED)
    if code != 200:
        log("error", f"Unable to update the status of node {facts['name']}: {answer}")
        return False
    if register:
        keep_certificates(data, front.kubelet_certificates(facts["name"], facts["address"]))
        prepare_node(data, options)
    return True


def hand_in_manifests(
    front: Front, data: Path, options: dict[str, list[str]], sent: list[tuple[str, int]]
) -> list[tuple[str, int]]:
    """Have the files of this server's folder applied if there is anything new; what was handed in."""
    files = read_manifests(data / "server" / "manifests", options.get("disable", []))
    fresh = [(file["path"], file["changed"]) for file in files]
    if fresh == sent:
        return sent
    code, answer = front.ask({"what": "manifests", "name": front.store.name, "files": files})
    return fresh if code == 200 and answer["clean"] else []
