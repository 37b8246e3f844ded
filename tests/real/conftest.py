"""The machines of a run against the real thing: boards of an inventory, or containers of this machine."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.plays_by_hand import Played, list_inventory, play
from tests.simulated_boards import BOARD, simulated_boards

_TIMEOUT = 3600.0
_CONTAINERS = 3
_CONTAINER_MEMORY_MB = 2048


@dataclass(slots=True)
class Run:
    """One run.

    Attributes:
        inventory: Inventory of the machines.
        folder: Where everything that was seen is kept.
        variables: Further variables of every play.
        names: Machines, the first server first.
        before: Machine to its listing before anything was done; empty until then.
        installed: Whether there is something to remove.
    """

    inventory: Path
    folder: Path
    variables: Mapping[str, Any]
    names: tuple[str, ...]
    before: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    installed: bool = False

    def play(self, playbook: str | Path, label: str, **variables: Any) -> Played:
        """Run a playbook and keep its output as ``<label>.log``."""
        began = time.monotonic()
        played = play(playbook, self.inventory, {**self.variables, **variables}, timeout=_TIMEOUT)
        text = f"{played.output}\n{time.monotonic() - began:.1f} s, exit code {played.exit_code}\n"
        (self.folder / f"{label}.log").write_text(text, encoding="utf-8")
        return played

    def look(self, label: str) -> dict[str, dict[str, Any]]:
        """Machine to its ``board`` (facts and findings) and ``listing``; kept in the folder ``<label>``."""
        folder = self.folder / label
        folder.mkdir()
        looked = self.play(Path(__file__).with_name("look.yml"), label, listing_folder=str(folder))
        assert looked.exit_code == 0, looked.output
        return {name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in self.names}


@pytest.fixture(scope="session")
def run(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The machines; what was installed is removed in the end, whatever came of it, unless ``KEEP=1``."""
    binary, inventory = os.environ.get("K3S_BINARY", ""), os.environ.get("INVENTORY", "")
    if not binary and not inventory:
        pytest.skip("neither K3S_BINARY nor INVENTORY is set: `make test-real` says what they are")
    results = Path(os.environ.get("RESULTS") or repository / ".cache" / "test-real").resolve()
    folder = results / time.strftime("%Y-%m-%dT%H-%M-%S")
    folder.mkdir(parents=True)
    variables = {"deployment_folder": str(folder), "k3s_cluster_name": "test-real"}
    if binary:
        variables["k3s_binary_file"] = binary
    if inventory:
        yield from _run(Path(inventory), folder, variables)
        return
    settings = {**BOARD, "kubernetes_node": True}
    keys = tmp_path_factory.mktemp("boards")
    with simulated_boards(keys, _CONTAINERS, settings=settings, memory_mb=_CONTAINER_MEMORY_MB) as boards:
        yield from _run(boards.inventory, folder, variables)


def _run(inventory: Path, folder: Path, variables: Mapping[str, Any]) -> Iterator[Run]:
    listed = list_inventory(inventory)
    names = tuple(name for group in ("server", "agent") for name in listed.get(group, {}).get("hosts", []))
    assert names, f"{inventory} has no machine in its groups `server` and `agent`"
    made = Run(inventory, folder, variables, names)
    yield made
    if made.installed and os.environ.get("KEEP") != "1":
        made.play("reset.yml", "reset-after-failure")
