"""No secret shows anywhere while a deployment is made, used and changed; rotated ones are really taken over."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.clients.oscar import OscarClient, OscarRefusedError
from tests.e2e.command_line import Cli, Engine, small
from tests.e2e.test_rehearsal import picture
from tests.secret_search import SecretSearch, known_secrets

NAME = "secret-search-rehearsal"

OUTSIDE = "a-password/from+elsewhere"
KUBECONFIGS = f".deploy/{NAME}/kubeconfig"

pytestmark = pytest.mark.engine

WHERE_MACHINES_KEEP_THEM = {
    "etc/rancher/k3s/config.yaml": "K3s reads the token from its configuration",
    "etc/rancher/k3s/k3s.yaml": "K3s writes the file by which it is reached",
    "var/lib/rancher/k3s/server/token": "K3s keeps the token it was started with",
    "var/lib/rancher/k3s/server/node-token": "K3s keeps what agents join with",
    "var/lib/rancher/k3s/agent/": "an agent keeps what it joined with",
    "etc/oscar-standin/config.json": "OSCAR and its store know their passwords",
    "var/lib/oscar-standin/": "a service holds the key of the store that its results go to",
}
"""Files (or folders, with a slash) of machines that must hold a secret, each open to root alone."""


class ProcessWatch:
    """Notes argument list and environment of every process of this computer, those on machines included."""

    def __init__(self) -> None:
        self.seen: set[tuple[bytes, bytes]] = set()
        self._ended = threading.Event()
        self._looks: Counter[str] = Counter()

    def look(self) -> None:
        """Look once: at young processes each time, which may yet become others, and at old ones now and then."""
        present = {path.name for path in Path("/proc").iterdir() if path.name.isdecimal()}
        self._looks = Counter({name: self._looks[name] + 1 for name in present})
        for process in (Path("/proc", name) for name, looks in self._looks.items() if looks < 10 or looks % 10 == 0):
            try:
                self.seen.add(((process / "cmdline").read_bytes(), (process / "environ").read_bytes()))
            except OSError:
                continue

    def _go_on(self) -> None:
        while not self._ended.wait(0.03):
            self.look()

    @contextmanager
    def during(self) -> Iterator[None]:
        """Look again and again for the time of the block."""
        self._ended.clear()
        thread = threading.Thread(target=self._go_on)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join(60)
            self.look()


class Outputs:
    """Runs commands and keeps everything they print."""

    def __init__(self, cli: Cli) -> None:
        self.cli = cli
        self.printed: dict[str, str] = {}
        self.secrets: dict[str, str] = {}

    def run(self, *arguments: object) -> str:
        done = self.cli.run(*arguments)
        self.printed[" ".join(map(str, arguments))] = done.stdout + done.stderr
        return done.stdout


def check_nothing_shows(cli: Cli, engine: Engine, outputs: Outputs, watch: ProcessWatch) -> None:
    """Search everything that is left behind, everything that was printed, and everything that ran."""
    outputs.secrets |= known_secrets(cli.folder / ".deploy", NAME)
    assert {name.partition("@")[0] for name in outputs.secrets} >= {
        "layer1-rasppi-k3s-token",
        "layer1-rasppi-oscar-password",
        "layer1-rasppi-oscar-store-key",
        "ssh-key",
    }, "what is to be searched for is known"
    search = SecretSearch({**outputs.secrets, "outside": OUTSIDE})
    found = search.files(cli.folder)
    assert set(found) == {f"{KUBECONFIGS}/layer1-rasppi.yaml", f"{KUBECONFIGS}/layer2-cloudvm.yaml"}, (
        "nothing on the disk, the sealed document included, but what kubectl needs"
    )
    for path, names in found.items():
        assert all(name.startswith("kubeconfig-") for name in names)
        assert (cli.folder / path).stat().st_mode & 0o077 == 0
    assert {c: n for c, text in outputs.printed.items() if (n := search.names_in(text.encode()))} == {}
    assert len(watch.seen) > 20
    telling = {arguments for arguments, variables in watch.seen if search.names_in(arguments + variables)}
    assert {a.replace(b"\0", b" ")[:200] for a in telling if b"orchestrator.cli.main" not in a} == set()
    assert not [a for a in telling if search.names_in(a)], "the variable that a test gives is in no argument list"
    for container in engine.containers(NAME):
        assert search.names_in(json.dumps(container.attrs).encode()) == set(), "neither environment nor labels"
        assert search.names_in(container.logs()) == set()
        check_machine(container, search)
    assert not list(Path("/dev/shm").glob(f"deploy-play-{os.getpid()}-*"))


def check_machine(container: Any, search: SecretSearch) -> None:
    """Of the files that a machine writes, only those that must hold a secret do, and those are for root alone."""
    changed = [entry["Path"].lstrip("/") for entry in container.diff() or []]
    tops = {path.split("/")[0] for path in changed} & {"etc", "var", "root", "home", "opt", "srv"}
    assert {"etc", "var"} <= tops
    for top in sorted(tops):
        with tempfile.TemporaryFile() as file:
            for chunk in container.get_archive(f"/{top}")[0]:
                file.write(chunk)
            file.seek(0)
            with tarfile.open(fileobj=file) as archive:
                check_files(archive, search)
    # What lies in a machine's memory is seen from inside only.
    inside = container.exec_run(["tar", "-C", "/", "-cf", "-", "run", "tmp", "dev/shm"], demux=True).output[0]
    with tarfile.open(fileobj=io.BytesIO(inside)) as archive:
        check_files(archive, search)


def check_files(archive: tarfile.TarFile, search: SecretSearch) -> None:
    for member in archive:
        content = archive.extractfile(member) if member.isfile() else None
        if content is None or not search.names_in(content.read()):
            continue
        assert may_hold_one(member.name), f"{member.name} holds a secret"
        assert member.mode & 0o077 == 0, f"{member.name} has mode {member.mode:o}"
        assert member.uid == 0


def may_hold_one(path: str) -> bool:
    return any(path == p or (p.endswith("/") and path.startswith(p)) for p in WHERE_MACHINES_KEEP_THEM)


def oscar(manifest: dict[str, Any], cluster: str, password: str) -> OscarClient:
    found = next(c for c in manifest["clusters"] if c["name"] == cluster)
    return OscarClient(found["oscar_endpoint"], "oscar", password, found["ca_certificate"], 10)


def test_no_secret_shows_and_rotated_ones_are_taken_over(
    cli: Cli, engine: Engine, application: Path, tmp_path: Path
) -> None:
    file = small(application)
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("name: Mask Detection", "name: Secret search", 1), encoding="utf-8")
    outputs, watch = Outputs(cli), ProcessWatch()
    with watch.during():
        outputs.run("compile", file, "-o", tmp_path / "compiled")
        outputs.run("plan", file, "--rehearse", "--out", tmp_path / "saved.plan")
        outputs.run("apply", tmp_path / "saved.plan", "--auto-approve")
        for command in ("status", "manifest", "runs", "events", "secrets list", "graph"):
            outputs.run(*command.split(), *([file] if command == "graph" else []))
        outputs.run("status", NAME, "--json")
        outputs.run("invoke", NAME, "blurry-faces", picture(cli.folder), "-o", cli.folder / "first.json")
        outputs.run("ssh", NAME, "layer1-rasppi[0]", "--", "hostname")
    check_nothing_shows(cli, engine, outputs, watch)
    check_second_host(cli, tmp_path / "second")
    check_rotation(cli, engine, file, outputs, watch)
    cli.run("destroy", NAME, "--auto-approve")
    assert not (cli.folder / ".deploy" / NAME / "secrets" / "sealed.json").exists()


def check_second_host(cli: Cli, home: Path) -> None:
    """Whoever has the state, the sealed secrets and the key can log in, and finds nothing to change."""
    for part in ("state", "secrets"):
        shutil.copytree(cli.folder / ".deploy" / NAME / part, home / NAME / part)
    (home / NAME).chmod(0o700)
    second = Cli(cli.folder, {"DEPLOY_HOME": str(home)})
    assert second.run("ssh", NAME, "layer1-rasppi[0]", "--", "echo", "in").stdout == "in\n"
    assert not list(home.rglob("id_ed25519*"))
    status = json.loads(second.run("status", NAME, "--json").stdout)
    clusters = [i for i in status["instances"] if i["address"].endswith("-k3s")]
    assert [c["observed"] for c in clusters] == ["present", "present"]
    assert len(list((home / NAME / "kubeconfig").iterdir())) == 2
    shutil.rmtree(home)


def check_rotation(cli: Cli, engine: Engine, file: Path, outputs: Outputs, watch: ProcessWatch) -> None:
    password, key = "layer1-rasppi-oscar-password", "layer2-cloudvm-oscar-store-key"
    before = known_secrets(cli.folder / ".deploy", NAME)[f"{password}@1.0"]
    manifest = json.loads(cli.run("manifest", NAME, "--format", "json").stdout)
    oscar(manifest, "layer1-rasppi-k3s", before).read_service("none")
    cli.environment["OUTSIDE_PASSWORD"] = OUTSIDE
    outputs.run("secrets", "set", password, "--from", "env:OUTSIDE_PASSWORD")
    outputs.run("secrets", "rotate", key)
    refused = cli.run("secrets", "rotate", "layer1-rasppi-k3s-token", expect=2)
    assert "it is not changed in place" in refused.stderr
    oscar(manifest, "layer1-rasppi-k3s", before).read_service("none")
    plan = outputs.run("plan", file, "--rehearse")
    assert f"secret '{password}' was rotated" in plan
    assert f"secret '{key}' was rotated" in plan
    missing = Cli(cli.folder, {"OUTSIDE_PASSWORD": ""}).run("apply", file, "--rehearse", "--auto-approve", expect=2)
    assert "the environment variable OUTSIDE_PASSWORD is empty" in missing.stderr
    with watch.during():
        outputs.run("apply", file, "--rehearse", "--auto-approve")
        outputs.run("invoke", NAME, "blurry-faces", picture(cli.folder), "-o", cli.folder / "second.json")
    oscar(manifest, "layer1-rasppi-k3s", OUTSIDE).read_service("none")
    with pytest.raises(OscarRefusedError):
        oscar(manifest, "layer1-rasppi-k3s", before).read_service("none")
    assert "No changes" in outputs.run("apply", file, "--rehearse", "--auto-approve")
    check_nothing_shows(cli, engine, outputs, watch)
