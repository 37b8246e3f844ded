"""Back to what worked, drift told and mended, and a destroy that gets through: on real containers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.command_line import Cli, Engine, small

NAME = "mask-detection-rehearsal"
YES = ("--rehearse", "--auto-approve")

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def test_back_to_what_worked_then_drift_then_gone(cli: Cli, engine: Engine, application: Path) -> None:
    """One deployment for all of it, since making one takes longest."""
    file = small(application)
    cli.run("apply", file, *YES)
    first = images(cli)
    source = application / "src" / "blurry-faces" / "main.py"
    source.write_text(source.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    cli.run("apply", file, *YES)
    assert images(cli)["blurry-faces"] != first["blurry-faces"]

    shown = cli.run("rollback", NAME, "--auto-approve").stdout
    assert "kept by the container engine" in shown
    assert images(cli) == first, "by their identifiers, though the sources are others now"
    versions = cli.json("rollback", NAME, "--list", "--json")["versions"]
    assert [(v["number"], v["present"]) for v in versions] == [(3, True), (2, False), (1, True)]

    assert "No drift" in cli.run("status", NAME, "--drift", "--detailed-exitcode").stdout
    board = next(c for c in engine.containers(NAME) if c.labels["continuum.address"] == "layer1-rasppi[0]")
    machine = next(c for c in engine.containers(NAME) if c.labels["continuum.address"] == "layer2-cloudvm[0]")
    memory = machine.attrs["HostConfig"]["Memory"] // 1024**2
    machine.update(mem_limit=f"{memory - 64}m", memswap_limit=f"{memory}m", restart_policy={"Name": "no"})
    board.stop(timeout=5)
    shown = cli.run("status", NAME, "--drift", "--detailed-exitcode", expect=3).stdout
    assert ["layer1-rasppi[0]", "state", "running", "stopped"] in [line.split() for line in shown.splitlines()]
    assert ["layer2-cloudvm[0]", "memory_mb", str(memory), str(memory - 64)] in [x.split() for x in shown.splitlines()]
    assert "nodes." in shown or "OSCAR does not answer" in shown
    cli.run("rollback", NAME, "--to", "3", "--auto-approve")
    assert "No drift" in cli.run("status", NAME, "--drift", "--detailed-exitcode").stdout
    machine.reload()
    assert machine.attrs["HostConfig"]["Memory"] == memory * 1024**2, "mended in place"
    machine.update(mem_limit=f"{memory - 64}m")
    cli.run("apply", file, *YES, "--refresh-only")
    assert "No drift" in cli.run("status", NAME, "--drift", "--detailed-exitcode").stdout

    board = next(c for c in engine.containers(NAME) if c.labels["continuum.address"] == "layer2-cloudvm[0]")
    board.pause()
    state = cli.folder / ".deploy" / NAME / "state" / "snapshot.json"
    (state.parent / "snapshot.json.backup").unlink()
    state.write_bytes(state.read_bytes()[:-300])
    assert "The state is damaged." in cli.run("destroy", NAME, "--auto-approve", expect=1).stderr
    shown = cli.run("destroy", NAME, "--force", "--auto-approve").stdout
    assert "nothing is left" in shown
    assert engine.containers(NAME) == []
    assert engine.networks(NAME) == []


def images(cli: Cli) -> dict[str, str]:
    """Component to the identifier of the image that its service runs, from the manifest."""
    components = cli.json("manifest", NAME, "--format", "json")["components"]
    return {str(c["name"]): str(c["image_digest"]) for c in components}
