"""How a server comes to its cluster's state: as the first one, by joining others, or from its last start."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

from k3s_standin.machine import now, write_private
from k3s_standin.options import first, node_name
from k3s_standin.process import STOP, FatalError, log
from k3s_standin.sockets import local_addresses
from k3s_standin.store import Store, new_state
from k3s_standin.supervisor import RefusedError, Supervisor
from k3s_standin.tokens import given_token, parse_token, write_tokens


def critical_settings(options: dict[str, list[str]]) -> dict[str, str]:
    """What has to be the same on every server."""
    defaults = {
        "cluster-cidr": "10.42.0.0/16", "service-cidr": "10.43.0.0/16", "cluster-domain": "cluster.local",
        "flannel-backend": "vxlan",
    }  # fmt: skip
    disabled = ",".join(sorted(options.get("disable", [])))
    return {**{name: first(options, name, value) for name, value in defaults.items()}, "disable": disabled}


def own_url(options: dict[str, list[str]], port: int) -> str:
    """Where the other servers find this one."""
    address = first(options, "advertise-address") or first(options, "node-ip") or local_addresses()[0]
    return f"https://{address}:{port}"


def join_servers(options: dict[str, list[str]], data: Path, url: str) -> None:
    """Take CA and state from a server that is there; whatever stands against it is fatal, as with K3s."""
    state, name = data / "server" / "db" / "state.json", node_name(options)
    if state.is_file() and name in json.loads(state.read_text())["members"]:
        return
    start = "starting kubernetes: preparing server: "
    token = given_token(options)
    if not token:
        raise FatalError("--token is required to join a cluster")
    ca_hash, _, password = parse_token(token)
    supervisor = Supervisor(
        first(options, "server"), f"K10{ca_hash}::server:{password}" if ca_hash else password, user="server"
    )
    try:
        supervisor.connect()
        for file, content in json.loads(supervisor.read("/v1-k3s/server-bootstrap")).items():
            write_private(data / "server" / "tls" / file, content)
        asked = {"what": "member", "name": name, "url": url, "settings": critical_settings(options)}
        code, text = supervisor.call("POST", "/v1-k3s/peer/member", body=json.dumps(asked))
    except (RefusedError, ssl.SSLError) as reason:
        raise FatalError(f"{start}{reason}") from reason
    if code != 200:
        message = str(json.loads(text)["message"])
        if "critical configuration" in message:
            raise FatalError(f"{start}failed to validate server configuration: {message}")
        raise FatalError(
            f"starting kubernetes: preparing server: start managed database: joining etcd cluster: {message}"
        )
    write_private(state, json.dumps({**new_state(), "version": 0, "members": json.loads(text)["members"]}))
    write_tokens(data, (data / "server" / "tls" / "server-ca.crt").read_text(), password)


def begin_store(options: dict[str, list[str]], data: Path, password: str, url: str) -> Store:
    """The cluster's state; ``cluster-init`` turns a single server's into embedded etcd."""
    store = Store(data, node_name(options), password)
    if first(options, "cluster-reset") == "true":
        store.reset()
        raise FatalError(
            "Managed etcd cluster membership has been reset, restart without --cluster-reset flag now. Backup and "
            "delete ${datadir}/server/db on each peer etcd server and rejoin the nodes"
        )
    if not store.members:
        store.state["settings"] = critical_settings(options)
        if first(options, "cluster-init") == "true":
            store.members[store.name] = {"url": url, "joined": now()}
            store.save()
    elif store.name in store.members and store.members[store.name]["url"] != url:
        known = [f"{name}={entry['url']}" for name, entry in store.members.items()]
        raise FatalError(
            "starting kubernetes: preparing server: this server is a not a member of the etcd cluster. Found "
            f"[{' '.join(known)}], expect: {store.name}={url}"
        )
    return store


def note_etcd(data: Path, store: Store) -> None:
    """What tells embedded etcd from K3s's other ways to keep its data: its folder."""
    if store.members:
        write_private(data / "server" / "db" / "etcd" / "name", f"{store.name}-{store.members[store.name]['joined']}\n")


def wait_for_quorum(store: Store) -> None:
    """A server whose etcd has no majority goes on waiting for one."""
    store.look_around()
    while not store.has_quorum() and not STOP.is_set():
        if store.name not in store.members:
            raise FatalError(
                f"starting kubernetes: preparing server: this server is a not a member of the etcd cluster. Found "
                f"{sorted(store.members)}, expect: {store.name}"
            )
        log(
            "error",
            f"Failed to test etcd connection: {store.alive} of {len(store.members)} members answer: "
            "context deadline exceeded",
        )
        STOP.wait(1)
        store.look_around()
