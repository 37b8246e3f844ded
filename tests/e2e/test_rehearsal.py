"""The whole story on the example: apply twice, use it, lose a Pi, heal, destroy twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.e2e.command_line import EXAMPLE, Cli, Engine
from tests.secret_search import known_secrets

NAME = "mask-detection-rehearsal"
MACHINES = ["layer1-rasppi[0]", "layer1-rasppi[1]", "layer1-rasppi[2]", "layer2-cloudvm[0]", "layer2-cloudvm[1]"]

pytestmark = pytest.mark.engine


def picture(folder: Path) -> Path:
    file = folder / "people.png"
    drawing = [sys.executable, EXAMPLE / "make_picture.py", file, "--people", "4", "--masked", "2"]
    subprocess.run(drawing, check=True, timeout=60)
    return file


def test_from_the_production_file_to_a_torn_down_application(cli: Cli, engine: Engine) -> None:
    file = EXAMPLE / "production.yaml"
    assert engine.containers(NAME) == []

    first = cli.run("apply", file, "--rehearse", "--auto-approve").stdout
    assert engine.addresses(NAME) == MACHINES
    assert "stand-in for K3s" in first
    assert "runner for OSCAR" in first

    second = cli.run("apply", file, "--rehearse", "--auto-approve").stdout
    assert "No changes" in second
    cli.run("plan", file, "--rehearse", "--detailed-exitcode", expect=0)

    status = cli.json("status", NAME, "--json")
    assert status["well"] is True
    assert {i["address"] for i in status["instances"]} >= set(MACHINES)

    check_manifest(cli)
    check_no_secret_shows(cli)
    check_the_pipeline(cli)
    check_shell(cli)
    check_kubectl(cli)

    lost = engine.containers(NAME)[1]
    address = lost.labels["continuum.address"]
    lost.remove(force=True)
    shown = cli.run("status", NAME, "--detailed-exitcode", expect=3).stdout
    assert "missing" in next(line for line in shown.splitlines() if address in line)
    changes = {c["address"]: c["action"] for c in cli.json("plan", file, "--rehearse", "--json")["changes"]}
    assert changes[address] == "create"
    touched = {a for a, action in changes.items() if action != "no-op"}
    # The service puts its image on the machine that is new, and is registered again.
    assert touched <= {address, "layer1-rasppi-k3s", "service-blurry-faces"}
    healed = cli.run("apply", file, "--rehearse", "--auto-approve", "--json").stdout
    check_events(healed, address)
    assert engine.addresses(NAME) == MACHINES
    assert cli.json("status", NAME, "--json")["well"] is True
    check_the_pipeline(cli)

    gone = cli.run("destroy", NAME, "--auto-approve").stdout
    assert "nothing is left" in gone
    assert engine.containers(NAME) == []
    assert engine.networks(NAME) == []
    again = cli.run("destroy", NAME, "--auto-approve").stdout
    assert "nothing is left" in again
    check_runs(cli, healed)


def check_events(printed: str, mended: str) -> None:
    """Nothing but events is on stdout, from the first to the last, which holds the manifest."""
    events = [json.loads(line) for line in printed.splitlines()]
    assert (events[0]["event"], events[-1]["event"]) == ("run-started", "run-finished")
    assert mended in [event["address"] for event in events if event["event"] == "change-finished"]
    assert events[-1]["outcome"] == "succeeded"
    assert events[-1]["manifest"]["deployment"] == NAME


def check_runs(cli: Cli, healed: str) -> None:
    """Every run is listed, also after the deployment is gone, and can be read again as it was printed."""
    listed = cli.json("runs", NAME, "--json")["runs"]
    assert [(run["command"].split()[1], run["outcome"]) for run in listed] == [
        ("apply", "succeeded"),
        ("apply", "succeeded"),
        ("apply", "succeeded"),
        ("destroy", "succeeded"),
    ]
    assert cli.run("events", NAME, "--run", listed[2]["run"], "--json").stdout == healed


def check_manifest(cli: Cli) -> None:
    manifest = cli.json("manifest", NAME, "--format", "json")
    assert yaml.safe_load(cli.run("manifest", NAME, "--format", "yaml").stdout) == manifest
    assert "COMPONENT_BLURRY_FACES_ENDPOINT=https://" in cli.run("manifest", NAME, "--format", "env").stdout
    components = {c["name"]: c for c in manifest["components"]}
    assert set(components) == {"blurry-faces", "mask-detector"}
    assert all(c["image_digest"].startswith("sha256:") for c in components.values())
    assert [len(c["nodes"]) for c in manifest["clusters"]] == [3, 2]
    assert manifest["substitutions"]


def check_no_secret_shows(cli: Cli) -> None:
    """Neither in what was written (state, logs, artefacts) nor in the argument list of anything that runs now."""
    folder = cli.folder / ".deploy" / NAME
    values = known_secrets(cli.folder / ".deploy", NAME).values()
    assert len(values) >= 6, "a token, a password and a key for each of the two clusters"
    kept_on_purpose = {"secrets", "ssh", "kubeconfig"}
    files = [p for p in folder.rglob("*") if p.is_file() and p.relative_to(folder).parts[0] not in kept_on_purpose]
    assert len(files) > 8
    running = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if os.access(p, os.R_OK)]
    shown = cli.run("manifest", NAME).stdout + cli.run("status", NAME, "--json").stdout
    for value in values:
        assert not [p for p in files if value.encode() in p.read_bytes()]
        assert not [line for line in running if value.encode() in line]
        assert value not in shown
    modes = {p.stat().st_mode & 0o077 for name in kept_on_purpose for p in (folder / name).rglob("*") if p.is_file()}
    assert modes <= {0, 0o044}, "only public keys may be read by others"


def check_the_pipeline(cli: Cli) -> None:
    source, result, counts = picture(cli.folder), cli.folder / "result.png", cli.folder / "result.json"
    for file in (result, counts):
        file.unlink(missing_ok=True)
    cli.run("invoke", NAME, "blurry-faces", source, "-o", result)
    found = json.loads(counts.read_text(encoding="utf-8"))
    assert (found["faces"], found["masked"], found["unmasked"]) == (4, 2, 2)
    assert result.read_bytes().startswith(b"\x89PNG")
    assert result.read_bytes() != source.read_bytes()


def check_shell(cli: Cli) -> None:
    answer = cli.run("ssh", NAME, "layer1-rasppi[0]", "--", "cat", "/sys/firmware/devicetree/base/model").stdout
    assert "Raspberry Pi" in answer


def check_kubectl(cli: Cli) -> None:
    kubectl = shutil.which("kubectl")
    assert kubectl, "scripts/bootstrap test installs it"
    for cluster in cli.json("manifest", NAME, "--format", "json")["clusters"]:
        done = subprocess.run(
            [kubectl, "--kubeconfig", cluster["kubeconfig"], "get", "nodes"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert done.stdout.count(" Ready ") == len(cluster["nodes"]), done.stdout
