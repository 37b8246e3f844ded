"""A real OpenStack on loopback: nova fakes its computers, neutron wires and cinder stores nothing.

The first bed is made from nothing. What its databases hold then is kept in the environment that has the services, and
every later bed is started from a copy of that.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import openstack
import yaml

from tests.systems.openstack_bed import configuration, content
from tests.systems.openstack_bed.cloud import ADMIN, CLOUD, OpenStackCloud
from tests.systems.openstack_bed.configuration import CATALOG, DATABASES, REGION, SERVICES, Place
from tests.systems.openstack_bed.processes import Processes, free_ports, listens
from tests.unit.state.conftest import make_certificate

READY_TIMEOUT = 120.0
BROKER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Debian's own script in PATH runs it as a user of its own, who may not write to our folder."""
WORKERS = {
    "nova": ("nova-conductor", "nova-scheduler", "nova-compute"),
    "cinder": ("cinder-scheduler", "cinder-volume"),
}

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def missing() -> str:
    """Which of the programs that are no Python packages is not there; empty if all are."""
    for program, package in (
        ("mariadbd", "mariadb-server"),
        ("mariadb-install-db", "mariadb-server"),
        ("epmd", "rabbitmq-server"),
        (str(BROKER), "rabbitmq-server"),
    ):
        if _program(program) is None:
            return f"{Path(program).name} is not installed (Debian: apt-get install {package})"
    return ""


def _program(name: str) -> str | None:
    """Debian keeps servers where ordinary users do not look."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/bin"]))


@contextmanager
def running(python: Path, lock: Path) -> Iterator[OpenStackCloud]:
    """A cloud that ends with the block, whatever happens in it.

    Args:
        python: Of the environment that has the services.
        lock: What that environment was made from.
    """
    folder = Path(tempfile.mkdtemp(prefix="deploy-openstack-"))
    try:
        keeping = python.parent.parent / "openstack-bed" / _digest(lock)
        if not keeping.is_dir():
            _make_from_nothing(python, folder / "first", keeping)
        with _started(python, folder / "bed", keeping) as cloud:
            yield cloud
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _digest(lock: Path) -> str:
    """Changes with everything that what is kept depends on."""
    version = subprocess.run([_program("mariadbd") or "mariadbd", "--version"], capture_output=True, check=True).stdout
    parts = [lock.read_bytes(), version]
    parts += [Path(__file__).with_name(f"{name}.py").read_bytes() for name in ("bed", "configuration", "content")]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


@contextmanager
def _place(python: Path, folder: Path, secret: str) -> Iterator[tuple[Place, Processes]]:
    """Configuration, database and broker; what runs there ends with the block."""
    for name in ("", "kept", "kept/nova", "locks", "staging", "tasks", "instances", "neutron", "cinder"):
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    ports = free_ports(2 * len(SERVICES) + 3)
    named = {service: (ports[2 * number], ports[2 * number + 1]) for number, service in enumerate(SERVICES)}
    place = Place(folder, python.parent, {**named, "broker": (ports[-3], ports[-2])}, secret)
    configuration.write(place)
    make_certificate(folder, "keystone")
    processes = Processes(folder, configuration.environment(place), folder.parent)
    try:
        _start_broker(place, processes, port_mapper=ports[-1])
        yield place, processes
    finally:
        processes.close()


def _start_broker(place: Place, processes: Processes, port_mapper: int) -> None:
    """RabbitMQ, with a port mapper of its own: otherwise it leaves one behind that all of the machine shares."""
    port, distribution = place.ports["broker"]
    folder = place.folder / "broker"
    folder.mkdir(mode=0o700)
    (folder / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = 127.0.0.1:{port}\ndefault_user = services\ndefault_pass = {place.secret}\n"
        "vm_memory_high_watermark.absolute = 512MB\ndisk_free_limit.absolute = 1MB\n"
        "log.file = false\nlog.console = true\nlog.console.level = warning\n",
        encoding="utf-8",
    )
    (folder / "rabbitmq.conf").chmod(0o600)
    (folder / "enabled_plugins").write_text("[].\n", encoding="utf-8")
    processes.start("port mapper", ["epmd", "-address", "127.0.0.1", "-port", str(port_mapper)])
    settings = {
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(port_mapper),
        "RABBITMQ_NODENAME": "bed@localhost",
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": os.devnull,
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        # It is the very process that was started, then, and not the child of a script.
        "RABBITMQ_ALLOW_INPUT": "1",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-noinput +S 1:1 -kernel inet_dist_use_interface {127,0,0,1}",
    }
    processes.until("port mapper", lambda: listens(port_mapper))
    processes.start("broker", [BROKER], settings)


def _start_database(place: Place, processes: Processes) -> None:
    processes.start(
        "database",
        [
            "mariadbd",
            "--no-defaults",
            f"--datadir={place.kept / 'mysql'}",
            f"--socket={place.socket}",
            f"--pid-file={place.folder / 'mysql.pid'}",
            f"--tmpdir={place.folder}",
            "--skip-networking",
            "--skip-log-bin",
            "--skip-name-resolve",
            "--performance-schema=off",
            "--innodb-buffer-pool-size=64M",
            "--innodb-log-file-size=32M",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-doublewrite=0",
            "--max-connections=400",
            *_as_this_user(),
        ],
    )
    processes.until("database", place.socket.exists)


def _as_this_user() -> list[str]:
    """The database refuses to run as root unless that is said."""
    return ["--user=root"] if os.geteuid() == 0 else []


def _ask_database(place: Place, processes: Processes, statements: str) -> None:
    command = ["mariadb", "--no-defaults", f"--socket={place.socket}", "--user=root", f"--execute={statements}"]
    processes.run("statements", command)


def _start_api(place: Place, processes: Processes, service: str) -> None:
    certificate = [place.folder / "keystone.crt", place.folder / "keystone.key"] if service == "keystone" else []
    ports = [str(port) for port in place.ports[service]]
    program = Path(__file__).with_name("serve.py")
    calls = place.folder / f"{service}.calls"
    calls.touch()
    processes.start(service, [place.programs / "python", "-P", program, service, calls, *ports, *certificate])


def _answers(place: Place, service: str) -> bool:
    """Whether an interface answers at both of its ports."""
    internal, public = place.ports[service]
    try:
        with _DIRECT.open(f"http://127.0.0.1:{internal}/", timeout=10):
            pass
    except urllib.error.HTTPError as answer:  # 300: several versions to choose from
        answer.close()
    except OSError:
        return False
    return listens(public)


def _wait_for_apis(place: Place, processes: Processes, *services: str) -> None:
    for service in services:
        processes.until(service, functools.partial(_answers, place, service))


def _start_workers(place: Place, processes: Processes) -> None:
    for service, names in WORKERS.items():
        settings = place.configuration(service) / f"{service}.conf"
        for name in names:
            processes.start(name, [place.programs / name, "--config-file", settings])


def _write_clouds(place: Place, passwords: dict[str, str]) -> Path:
    """What clients read: a cloud for the operator, who administers nothing, and one for the administrator."""
    clouds = {
        name: {
            "auth": {
                "auth_url": place.url("keystone", "public"),
                "username": user,
                "password": passwords[user],
                "project_name": project,
                "user_domain_id": "default",
                "project_domain_id": "default",
            },
            "region_name": REGION,
            "interface": "public",
            "cacert": str(place.folder / "keystone.crt"),
        }
        for name, user, project in ((CLOUD, content.OPERATOR, content.PROJECT), (ADMIN, "admin", "admin"))
    }
    path = place.folder / "clouds.yaml"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump({"clouds": clouds}), encoding="utf-8")
    return path


def _wait_for_workers(admin: openstack.connection.Connection, processes: Processes, since: datetime) -> None:
    """Until each has reported after it was started: what they reported in an earlier life is in the database too."""

    asked = {"nova": admin.compute, "cinder": admin.block_storage}

    def reported(service: str, name: str) -> bool:
        return any(
            worker.updated_at and datetime.fromisoformat(worker.updated_at).replace(tzinfo=UTC) >= since
            for worker in asked[service].services(binary=name)
        )

    for service, names in WORKERS.items():
        for name in names:
            processes.until(name, functools.partial(reported, service, name))


# ------------------------------------------------------------------------------------------------- from what was kept


@contextmanager
def _started(python: Path, folder: Path, keeping: Path) -> Iterator[OpenStackCloud]:
    folder.mkdir(mode=0o700)
    shutil.copytree(keeping, folder / "kept")
    passwords = json.loads((folder / "kept" / "passwords.json").read_text(encoding="utf-8"))
    with _place(python, folder, passwords["services"]) as (place, processes):
        _start_database(place, processes)
        _ask_database(place, processes, "; ".join(_statements_for_the_catalog(place)))
        since = datetime.now(UTC).replace(microsecond=0)
        for service in SERVICES:
            _start_api(place, processes, service)
        _start_workers(place, processes)
        _wait_for_apis(place, processes, *SERVICES)
        clouds = _write_clouds(place, passwords)
        cloud = OpenStackCloud(
            auth_url=place.url("keystone", "public"),
            username=content.OPERATOR,
            password=passwords[content.OPERATOR],
            project=content.PROJECT,
            region=REGION,
            ca=place.folder / "keystone.crt",
            clouds_file=clouds,
            folder=folder,
            processes=processes,
            ports={service: place.ports[service][1] for service in SERVICES},
            answers=functools.partial(_answers, place),
        )
        with cloud.connection(ADMIN) as admin:
            _wait_for_workers(admin, processes, since)
        yield cloud


def _statements_for_the_catalog(place: Place) -> Iterator[str]:
    """Every bed has other ports than the one that was kept."""
    for service, (kind, _) in CATALOG.items():
        for interface in ("internal", "public"):
            url = place.url(service, interface)
            yield (
                f"UPDATE keystone.endpoint SET url = '{url}' WHERE interface = '{interface}'"  # noqa: S608 - all ours
                f" AND service_id = (SELECT id FROM keystone.service WHERE type = '{kind}')"
            )


# -------------------------------------------------------------------------------------------------------- from nothing


def _make_from_nothing(python: Path, folder: Path, keeping: Path) -> None:
    """Databases, users, the catalog, and what operators find: images, flavors, networks, a zone."""
    folder.mkdir(mode=0o700)
    passwords = {user: secrets.token_urlsafe(18) for user in ("services", "admin", content.OPERATOR)}
    with _place(python, folder, passwords["services"]) as (place, processes):
        _make_databases(place, processes)
        _make_keystone(place, processes, passwords)
        _start_api(place, processes, "keystone")
        _wait_for_apis(place, processes, "keystone")
        clouds = _write_clouds(place, passwords)
        with OpenStackCloud.connect(clouds, ADMIN) as admin:
            content.make_users(admin, place, passwords)
        since = datetime.now(UTC).replace(microsecond=0)
        for service in SERVICES[1:]:
            _start_api(place, processes, service)
        _start_workers(place, processes)
        _wait_for_apis(place, processes, *SERVICES[1:])
        # A client of its own: what there is to ask was in the token of the other one, and was less.
        with OpenStackCloud.connect(clouds, ADMIN) as admin:
            _wait_for_workers(admin, processes, since)
            _discover_host(place, processes, admin)
            content.make_cloud(admin)
        processes.stop("database")  # all is on disk then
        (place.kept / "passwords.json").touch(mode=0o600)
        (place.kept / "passwords.json").write_text(json.dumps(passwords), encoding="utf-8")
    _keep(place.kept, keeping)


def _make_databases(place: Place, processes: Processes) -> None:
    processes.run(
        "database files",
        [
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={place.kept / 'mysql'}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--innodb-log-file-size=32M",
            *_as_this_user(),
        ],
    )
    _start_database(place, processes)
    _ask_database(place, processes, "; ".join(f"CREATE DATABASE {name} CHARACTER SET utf8" for name in DATABASES))
    nova = ["nova-manage", "--config-file", str(place.configuration("nova") / "nova.conf")]
    neutron = ["neutron-db-manage", "--config-file", str(place.configuration("neutron") / "neutron.conf")]
    tables = {
        "neutron": [*neutron, "upgrade", "heads"],
        "nova_api": [*nova, "api_db", "sync"],
        "keystone": ["keystone-manage", *_keystone_files(place), "db_sync"],
        "placement": ["placement-manage", "--config-dir", str(place.configuration("placement")), "db", "sync"],
        "glance": ["glance-manage", "--config-dir", str(place.configuration("glance")), "db_sync"],
        "cinder": ["cinder-manage", "--config-dir", str(place.configuration("cinder")), "db", "sync"],
    }
    for name, command in tables.items():
        processes.start(f"tables of {name}", command)
    processes.wait("tables of nova_api")
    processes.run("first cell", [*nova, "cell_v2", "map_cell0", "--database_connection", place.database("nova_cell0")])
    processes.run("tables of nova", [*nova, "db", "sync"])
    for name in tables:
        if name != "nova_api":
            processes.wait(f"tables of {name}")
    # Filled in from each service's own configuration, so that they fit the next bed too.
    templates = ["--database_connection", "{scheme}://root@localhost/{path}?{query}"]
    templates += ["--transport-url", "{scheme}://{username}:{password}@{hostname}:{port}/{path}"]
    processes.run("second cell", [*nova, "cell_v2", "create_cell", "--name", "cell1", *templates])
    _ask_database(
        place,
        processes,
        "UPDATE nova_api.cell_mappings SET database_connection = '{scheme}://root@localhost/nova_cell0?{query}'"
        " WHERE name = 'cell0'",
    )


def _keystone_files(place: Place) -> list[str]:
    return ["--config-file", str(place.configuration("keystone") / "keystone.conf")]


def _make_keystone(place: Place, processes: Processes, passwords: dict[str, str]) -> None:
    manage = ["keystone-manage", *_keystone_files(place)]
    for keys in ("fernet", "credential"):
        folder = place.kept / f"{keys}-keys"
        folder.mkdir(mode=0o700)
        for number in ("0", "1"):
            (folder / number).touch(mode=0o600)
            (folder / number).write_bytes(base64.urlsafe_b64encode(secrets.token_bytes(32)))
    bootstrap = [*manage, "bootstrap", "--bootstrap-region-id", REGION]
    for interface in ("internal", "public"):
        bootstrap += [f"--bootstrap-{interface}-url", place.url("keystone", interface)]
    processes.run("administrator", bootstrap, {"OS_BOOTSTRAP_PASSWORD": passwords["admin"]})


def _discover_host(place: Place, processes: Processes, admin: openstack.connection.Connection) -> None:
    """Until the compute host is in its cell: nothing can be placed on it before."""
    settings = str(place.configuration("nova") / "nova.conf")
    command = ["nova-manage", "--config-file", settings, "cell_v2", "discover_hosts"]
    ends = time.monotonic() + READY_TIMEOUT
    while not list(admin.compute.hypervisors()):
        assert time.monotonic() < ends, processes.complaint("nova-compute")
        processes.run("discovery", command)


def _keep(kept: Path, keeping: Path) -> None:
    """Put it where the next bed finds it, whole or not at all; those of other versions go."""
    keeping.parent.mkdir(mode=0o700, exist_ok=True)
    for other in keeping.parent.iterdir():
        if not other.name.startswith("partial-"):  # which may be somebody's at this moment
            shutil.rmtree(other, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=keeping.parent))
    shutil.copytree(kept, partial, dirs_exist_ok=True)
    try:
        partial.rename(keeping)
    except OSError:  # somebody else was faster
        shutil.rmtree(partial)
