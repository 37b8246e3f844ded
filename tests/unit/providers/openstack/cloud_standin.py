"""A stand-in for a cloud with block storage, in one process: cinder's volumes, and as much of the others as they need.

A real cinder is asked in ``tests/systems``; this one does what that one cannot be told to do, and is there at once. It
speaks cinder's protocol as far as the provider does: volumes with paging, metadata that an update replaces, quotas,
what it refuses to remove. Its nova makes volumes as nova does (the same checks of the order, the same names, no
metadata) and can fail half-way with volumes made. Keystone, glance and neutron hold what they are given and check
nothing.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from threading import RLock
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from tests.faulty_api import operation_of
from tests.http_server import serving

PROJECT = "0123456789abcdef0123456789abcdef"
IMAGE, FLAVOR, NETWORK = "11111111-2222-3333-4444-555555555555", "m1.small", "99999999-2222-3333-4444-555555555555"
DISKLESS = "m1.diskless"
PAGE = 2
_REMOVABLE = {"available", "error", "error_restoring", "error_extending", "error_managing"}
_HELD = (
    "Invalid volume: Volume status must be available or error or error_restoring or error_extending or error_managing "
    "and must not be migrating, attached, belong to a group, have snapshots, awaiting a transfer, or be disassociated "
    "from snapshots after volume transfer."
)

Answer = tuple[int, Any]
Thing = dict[str, Any]


class RefusedError(Exception):
    """A service says no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class CloudStandin:
    """What is there, and what is to go wrong.

    Attributes:
        url: Where it is.
        seen_at: Where its catalog says that it is, if something is to be on the way.
        volume_types: As what block storage is in the catalog; empty for none.
        volume_path: What its endpoint in the catalog ends with.
        quota: Of cinder; ``None`` for one that does not tell.
        fails_after: Servers go to error when so many of their volumes are made; ``None`` for none.
        forgets_volumes: Whether nova then does not know of these volumes.
        keeps_volumes: Whether volumes stay when their server goes.
        servers: Of nova.
        volumes: Of cinder.
        parts: Of neutron, by kind.
        calls: Operations that arrived.
    """

    url: str = ""
    seen_at: str = ""
    volume_types: tuple[str, ...] = ("block-storage",)
    volume_path: str = f"/volume/v3/{PROJECT}"
    quota: dict[str, tuple[int, int]] | None = field(
        default_factory=lambda: {"volumes": (10, 0), "gigabytes": (1000, 0), "per_volume_gigabytes": (-1, 0)}
    )
    fails_after: int | None = None
    forgets_volumes: bool = False
    keeps_volumes: bool = False
    servers: dict[str, Thing] = field(default_factory=dict)
    volumes: dict[str, Thing] = field(default_factory=dict)
    parts: dict[str, dict[str, Thing]] = field(default_factory=dict)
    keys: dict[str, Thing] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    lock: RLock = field(default_factory=RLock)

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    def volume(self, size: int, name: str = "", *, bootable: bool = False, **more: Any) -> Thing:
        """A new volume."""
        made: Thing = {
            "id": str(uuid.uuid4()), "name": name, "size": size, "status": "available", "attachments": [],
            "metadata": {}, "bootable": str(bootable).lower(), "created_at": "2026-01-02T03:04:05.000000",
        }  # fmt: skip
        self.volumes[made["id"]] = made | more
        return self.volumes[made["id"]]

    def attach(self, server: Thing, volume: Thing, *, goes: bool) -> None:
        """Attach a volume to a server as a person would, or nova itself."""
        number = len(server["os-extended-volumes:volumes_attached"]) + bool(server["image"])
        device = f"/dev/vd{chr(ord('a') + number)}"
        volume |= {"status": "in-use", "attachments": [{"server_id": server["id"], "device": device}]}
        server["os-extended-volumes:volumes_attached"].append({"id": volume["id"], "delete_on_termination": goes})

    def detach(self, server: Thing, volume_id: str) -> None:
        """The opposite."""
        attached = server["os-extended-volumes:volumes_attached"]
        server["os-extended-volumes:volumes_attached"] = [one for one in attached if one["id"] != volume_id]
        self.volumes[volume_id] |= {"status": "available", "attachments": []}

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        """What a request is answered."""
        first, _, rest = path.strip("/").partition("/")
        self.calls.append(f"{first} {operation_of(method, '/' + rest.replace(f'/{PROJECT}', ''))}")
        service = {
            "identity": self._keystone, "compute": self._nova, "network": self._neutron, "image": self._glance,
            "volume": self._cinder,
        }[first]  # fmt: skip
        return service(method, [part for part in rest.split("/") if part][1:], query, body)

    def _keystone(self, _method: str, _path: list[str], _query: dict[str, str], _body: Any) -> Answer:
        paths = {"compute": "/compute/v2.1", "network": "/network/v2.0", "image": "/image/v2"}
        paths |= dict.fromkeys(self.volume_types, self.volume_path)
        base = self.seen_at or self.url
        catalog = [
            {
                "type": name, "id": name, "name": name,
                "endpoints": [
                    {"id": name, "interface": "public", "region": "one", "region_id": "one", "url": f"{base}{path}"}
                ],
            }
            for name, path in paths.items()
        ]  # fmt: skip
        return 201, {
            "token": {
                "methods": ["password"], "expires_at": "2999-01-01T00:00:00.000000Z", "catalog": catalog, "roles": [],
                "issued_at": "2026-01-01T00:00:00.000000Z", "user": {"id": "u", "name": "me", "domain": {"id": "d"}},
                "project": {"id": PROJECT, "name": "edge", "domain": {"id": "d", "name": "d"}},
            }
        }  # fmt: skip

    def _glance(self, _method: str, path: list[str], _query: dict[str, str], _body: Any) -> Answer:
        if path != ["images", IMAGE]:
            raise RefusedError(404, "No image found")
        return 200, {"id": IMAGE, "status": "active", "hw_architecture": "x86_64", "min_disk": 5}

    def _neutron(self, method: str, path: list[str], query: dict[str, str], body: Any) -> Answer:
        kind = path[0].replace("-", "_")
        there = self.parts.setdefault(kind, {})
        if kind == "quotas":
            return 200, {"quota": {}}
        if method == "GET":
            if len(path) > 1:
                return 200, {kind.removesuffix("s"): _found(there, path[1])}
            asked = {name: value for name, value in query.items() if name in {"id", "name", "device_id"}}
            return 200, {kind: [one for one in there.values() if all(one.get(k) == v for k, v in asked.items())]}
        if method == "DELETE":
            _found(there, path[1])
            del there[path[1]]
            return 204, None
        if path[-1] == "tags":
            _found(there, path[1])["tags"] = body["tags"]
            return 200, body
        if kind == "security_group_rules":
            for rule in body[kind]:
                group = self.parts["security_groups"][rule["security_group_id"]]
                group["security_group_rules"].append({"id": str(uuid.uuid4()), **rule})
            return 201, body
        ((one, asked),) = body.items()
        if method == "PUT":
            _found(there, path[1]).update(asked)
            return 200, {one: there[path[1]]}
        made = {"id": str(uuid.uuid4()), "tags": [], "security_group_rules": [], **asked}
        there[made["id"]] = made
        return 201, {one: made}

    def _nova(self, method: str, path: list[str], query: dict[str, str], body: Any) -> Answer:
        if path[0] == "os-keypairs":
            return self._key(method, path, body)
        if path[0] == "flavors":
            told = {"vcpus": 2, "ram": 4096, "extra_specs": {}}
            sizes = {FLAVOR: 20, DISKLESS: 0}
            return 200, {"flavors": [{"id": n, "name": n, "disk": size, **told} for n, size in sizes.items()]}
        if path[0] == "limits":
            return 200, {"limits": {"absolute": {}}}
        if method == "POST" and path == ["servers"]:
            return 202, {"server": {"id": self._make(body["server"])["id"]}}
        if path == ["servers", "detail"]:
            return 200, {"servers": list(self.servers.values())}
        server = _found(self.servers, path[1])
        if method == "DELETE":
            self._end(server)
            return 204, None
        if path[2:] == ["metadata"]:
            server["metadata"] |= body["metadata"]
            return 200, {"metadata": server["metadata"]}
        if path[2:3] == ["metadata"] or path[2:3] == ["tags"]:
            return 201, None
        return 200, {"server": server}

    def _key(self, method: str, path: list[str], body: Any) -> Answer:
        if method == "POST":
            self.keys[body["keypair"]["name"]] = body["keypair"]
            return 201, body
        if len(path) == 1:
            return 200, {"keypairs": [{"keypair": key} for key in self.keys.values()]}
        key = _found(self.keys, path[1])
        if method == "DELETE":
            del self.keys[path[1]]
            return 202, None
        return 200, {"keypair": key}

    def _make(self, asked: Thing) -> Thing:
        disks = asked.get("block_device_mapping_v2", [])
        _check_order(asked, disks)
        server: Thing = {
            "id": str(uuid.uuid4()), "status": "ACTIVE", "flavor": {"original_name": asked["flavorRef"]},
            "image": {"id": asked["imageRef"]} if asked.get("imageRef") else "", "OS-EXT-STS:task_state": None,
            "os-extended-volumes:volumes_attached": [], "OS-SRV-USG:launched_at": "2026-01-02T03:04:06.000000",
            **{name: asked[name] for name in ("name", "metadata", "tags")},
        }  # fmt: skip
        self.servers[server["id"]] = server
        wanted = [disk for disk in disks if disk["destination_type"] == "volume"]
        for number, disk in enumerate(wanted):
            if number == self.fails_after:
                message = "Build of instance aborted: VolumeLimitExceeded: Maximum number of volumes allowed (1) "
                fault = {"code": 500, "message": f"{message}exceeded for quota 'volumes'."}
                server |= {"status": "ERROR", "OS-SRV-USG:launched_at": None, "fault": fault}
                break
            is_empty = disk["source_type"] == "blank"
            name = f"{server['id']}-blank-vol" if is_empty else ""
            volume = self.volume(disk["volume_size"], name, bootable=not is_empty)
            self.attach(server, volume, goes=disk.get("delete_on_termination", False))
        if server["status"] == "ERROR" and self.forgets_volumes:
            for one in list(server["os-extended-volumes:volumes_attached"]):
                self.detach(server, one["id"])
        return server

    def _end(self, server: Thing) -> None:
        for one in list(server["os-extended-volumes:volumes_attached"]):
            self.detach(server, one["id"])
            if one["delete_on_termination"] and not self.keeps_volumes:
                del self.volumes[one["id"]]
        del self.servers[server["id"]]

    def _cinder(self, method: str, path: list[str], query: dict[str, str], body: Any) -> Answer:
        if path[0] != PROJECT:
            raise RefusedError(400, f"Malformed request url: {'/'.join(path)}")
        path = path[1:]
        if path[0] == "os-quota-sets":
            if self.quota is None:
                raise RefusedError(403, "Policy doesn't allow volume_extension:quotas:show to be performed.")
            if query.get("usage") != "true":
                return 200, {"quota_set": {"id": path[1], **{n: limit for n, (limit, _) in self.quota.items()}}}
            told = {n: {"limit": limit, "in_use": used, "reserved": 0} for n, (limit, used) in self.quota.items()}
            return 200, {"quota_set": {"id": path[1], **told}}
        if path == ["volumes", "detail"]:
            ids = list(self.volumes)
            first = ids.index(query["marker"]) + 1 if "marker" in query else 0
            answer: Thing = {"volumes": [_shown(self.volumes[one]) for one in ids[first : first + PAGE]]}
            if first + PAGE < len(ids):
                following = f"{self.url}{self.volume_path}/volumes/detail?marker={ids[first + PAGE - 1]}"
                answer["volumes_links"] = [{"rel": "next", "href": following}]
            return 200, answer
        volume = _found(self.volumes, path[1])
        if method == "PUT":
            volume |= {name: value for name, value in body["volume"].items() if name in {"name", "metadata"}}
        if method == "DELETE":
            if volume["status"] not in _REMOVABLE or volume["attachments"] or volume.get("snapshots"):
                raise RefusedError(400, _HELD)
            del self.volumes[path[1]]
            return 202, None
        return 200, {"volume": _shown(volume)}


def _shown(volume: Thing) -> Thing:
    """With what cinder shows among the metadata, and is none of it."""
    return volume | {"metadata": volume["metadata"] | ({"attached_mode": "rw"} if volume["attachments"] else {})}


def _check_order(asked: Thing, disks: list[Thing]) -> None:
    """What nova checks of the volumes of a server that is asked for."""
    for disk in disks:
        if disk["source_type"] == "blank" and (disk.get("uuid") or not disk.get("volume_size")):
            raise RefusedError(400, "Block Device Mapping is Invalid: a blank volume needs a size and no device UUID.")
        if disk["source_type"] != "blank" and not disk.get("uuid"):
            raise RefusedError(400, "Block Device Mapping is Invalid: Missing device UUID.")
        is_local_image = disk["source_type"] == "image" and disk["destination_type"] == "local"
        if is_local_image and not (asked.get("imageRef") and disk.get("boot_index") == 0):
            raise RefusedError(400, "Block Device Mapping is Invalid: Mapping image to local is not supported.")
    boots = sorted(index for disk in disks if (index := disk.get("boot_index")) is not None and index >= 0)
    if disks and boots != list(range(len(boots) or 1)):
        raise RefusedError(400, "Block Device Mapping is Invalid: Boot sequence for the instance is not valid.")
    if not disks and not asked.get("imageRef"):
        raise RefusedError(400, "Invalid imageRef provided.")


def _found(there: dict[str, Thing], identifier: str) -> Thing:
    if identifier not in there:
        raise RefusedError(404, f"{identifier} could not be found.")
    return there[identifier]


@contextmanager
def cloud_standin() -> Iterator[CloudStandin]:
    """Runs one on a free port of loopback."""
    cloud = CloudStandin()

    class Handler(BaseHTTPRequestHandler):
        protocol_version: ClassVar[str] = "HTTP/1.1"
        wbufsize = -1

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(asked.query).items()}
            try:
                with cloud.lock:
                    status, content = cloud.answer(self.command, asked.path, query, json.loads(text or "null"))
            except RefusedError as no:
                status, content = no.status, {"badRequest": {"code": no.status, "message": str(no)}}
            self._send(status, b"" if content is None else json.dumps(content).encode())

        do_GET = do_PUT = do_DELETE = do_POST  # noqa: N815 - as the class below looks for them

        def _send(self, status: int, content: bytes) -> None:
            self.send_response(status)
            if self.path.endswith("/auth/tokens"):
                self.send_header("X-Subject-Token", "token")
            self.send_header("Content-Type", "application/json")
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Quiet."""

    with serving(Handler) as cloud.url:
        yield cloud
