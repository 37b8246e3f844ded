"""``k3s agent``."""

from __future__ import annotations

import json
import ssl

from k3s_standin.machine import check_memory_cgroup, faults, write_private
from k3s_standin.nodes import node_facts
from k3s_standin.options import data_folder, first
from k3s_standin.own_node import KUBELET_PORT, apply_start_faults, keep_certificates, node_password, prepare_node
from k3s_standin.process import STOP, VERSION, FatalError, log
from k3s_standin.registries import are_registries_in_order
from k3s_standin.sockets import hold_ports, notify
from k3s_standin.supervisor import RefusedError, Supervisor, known_servers
from k3s_standin.tokens import given_token


def run_agent(options: dict[str, list[str]]) -> None:
    """Keep trying until a server lets this node in, then report to systemd and stay alive."""
    url, token = first(options, "server"), given_token(options)
    if not url:
        raise FatalError("--server is required")
    if not token:
        raise FatalError("--token is required")
    check_memory_cgroup()
    apply_start_faults()
    data = data_folder(options)
    supervisor, password = Supervisor(url, token, others=known_servers(data)), node_password()
    ports = hold_ports((KUBELET_PORT,))
    joined = announced = False
    while not STOP.is_set():
        try:
            if not announced and not are_registries_in_order(data):
                STOP.wait(1)
                continue
            if not joined:
                supervisor.connect()
            answer = supervisor.join(node_facts(options, []), password, register=not announced)
            if answer.get("servers"):
                supervisor.learn(answer["servers"])
                listed = {"ServerURL": url, "ServerAddresses": answer["servers"]}
                write_private(data / "agent" / "etc" / "k3s-agent-load-balancer.json", json.dumps(listed))
            if not announced:
                keep_certificates(data, answer["certificates"])
                prepare_node(data, options)
                log("info", f"{VERSION} agent is up and running; this is a stand-in for K3s and runs no pods")
                notify("READY=1")
            joined = announced = True
        except (RefusedError, ssl.SSLError) as reason:
            log("error", f"Failed to validate connection to cluster at {supervisor.url}: {reason}")
            supervisor.turn()
            joined = False
        STOP.wait(float(faults().get("heartbeat_interval", 1.5)) if joined else 1.0)
    notify("STOPPING=1")
    for held in ports:
        held.close()
