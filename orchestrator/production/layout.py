"""Finds the files of an application from the place of its production file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.production.naming import partition_of

COMPANIONS = {
    "dag": "application_dag",
    "partitions": "component_partitions",
    "physical_nodes": "physical_nodes",
    "inventory": "inventory",
    "multi_cluster_qos": "multi_cluster_qos_constraints",
    "annotations": "annotations",
    "alternatives": "alternative_workflows",
    "containers": "containers",
    "candidate_resources": "candidate_resources",
    "candidate_deployments": "candidate_deployments",
    "accounts": "auth.dat",
}
"""Each file that goes with a production file, by what it is, to its name without its ending."""

_TOOL_FOLDERS = frozenset({"common_config", "space4ai-d", "space4ai-r", "oscarp", "onnx", "pycompss", "scone"})
"""Folders of an application in which design tools leave production files."""

_ENDINGS = (".yaml", ".yml")
_INVENTORIES = ("inventory.yml", "inventory.yaml", "inventory.ini")


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What an operator says about the input, besides the production file.

    Attributes:
        application: The application's folder, if it is not to be told from the production file's place.
        files: Files to read instead of those that would be found, by their key in ``COMPANIONS``.
        qos: Files of quality-of-service constraints to read instead of those that would be found.
        alternative: Name of the alternative workflow to deploy; the best one if empty.
    """

    application: Path | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    qos: tuple[Path, ...] = ()
    alternative: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """Files of an application; one that is not there is absent from ``files``.

    Attributes:
        root: The application's folder.
        production: The production file.
        files: By their key in ``COMPANIONS``.
        qos: qos_constraints*.yaml, the general one first.
    """

    root: Path
    production: Path
    files: Mapping[str, Path]
    qos: tuple[Path, ...]

    @property
    def deployment(self) -> str:
        """Name of the deployment's folder under ``aisprint/deployments``; empty if it is somewhere else."""
        parts = self.production.absolute().parts
        for index in range(len(parts) - 3):
            if parts[index : index + 2] == ("aisprint", "deployments"):
                return parts[index + 2]
        return ""


def find_layout(production: Path, options: ReadOptions | None = None, deployment_name: str = "") -> Layout:
    """Look beside the production file, then in the folders of the application layout.

    Args:
        production: The production file.
        options: What was given by the operator; wins over what is found.
        deployment_name: Which of the application's deployments the file is, if it says so: the optimiser writes its
            choice into a folder of its own and leaves the files that go with it in the chosen deployment's folder.
    """
    options = options or ReadOptions()
    root = options.application or application_root(production)
    here = production.parent
    deployment = here.parent if here.name == "ams" else here
    is_folder = deployment_name and Path(deployment_name).name == deployment_name != ".."
    chosen = root / "aisprint" / "deployments" / deployment_name if is_folder else deployment
    places = tuple(
        dict.fromkeys(
            (
                here,
                deployment,
                chosen,
                root / "common_config",
                root / "aisprint" / "designs",
                root / "aisprint" / "deployments",
                root,
            )
        )
    )
    found: dict[str, Path] = {}
    for key, name in COMPANIONS.items():
        path = options.files.get(key) or _find(key, name, here, places, (deployment / "im", root / "im", here))
        if path is not None and path != production:
            found[key] = path
    qos = options.qos or _qos((here, deployment / "ams", deployment, chosen / "ams", chosen, root / "common_config"))
    return Layout(root, production, found, qos)


def application_root(production: Path) -> Path:
    """The application's folder: above ``aisprint/deployments`` or a design tool's folder, else the one it is in."""
    here = production.parent
    parts = here.absolute().parts
    for index in range(len(parts) - 1, 1, -1):
        if parts[index - 1 : index + 1] == ("aisprint", "deployments"):
            return Path(*parts[: index - 1])
    return here.absolute().parent if here.absolute().name in _TOOL_FOLDERS else here


def find_source(root: Path, component: str) -> Path | None:
    """Folder of a component's code, relative to ``root``; ``None`` if there is none with a ``main.py``."""
    base, partition = partition_of(component)
    candidates = [Path("src", component)]
    if partition:
        candidates += [Path("aisprint", "designs", base, partition), Path("src", base, partition)]
    candidates.append(Path("aisprint", "designs", component, "base"))
    return next((c for c in candidates if os.path.isfile(os.path.join(root, c, "main.py"))), None)  # noqa: PTH113, PTH118 - a third of the time


def wanted_source(component: str) -> str:
    """Where a component's code would be found, in words; ``X`` in a partition's name stands for any."""
    base, partition = partition_of(component)
    if not partition:
        return f"src/{component}/main.py"
    where = f"aisprint/designs/{base}/{partition}/main.py"
    return f"{where}, with a number in place of X" if "X" in partition else where


def find_environment(root: Path, component: str) -> Path | None:
    """File with a component's environment variables; a partition has those of its component."""
    base, _ = partition_of(component)
    candidates = (root / "src" / name / "env.yaml" for name in dict.fromkeys((component, base)))
    return next((c for c in candidates if c.is_file()), None)


def _find(key: str, name: str, here: Path, places: tuple[Path, ...], of_accounts: tuple[Path, ...]) -> Path | None:
    if key == "inventory":  # one that lies elsewhere in the application may be of something else
        return next((here / one for one in _INVENTORIES if (here / one).is_file()), None)
    return _first(of_accounts if key == "accounts" else places, name)


def _first(folders: tuple[Path, ...], name: str) -> Path | None:
    names = (name,) if "." in name else tuple(name + ending for ending in _ENDINGS)
    return next((folder / one for folder in folders for one in names if (folder / one).is_file()), None)


def _qos(folders: tuple[Path, ...]) -> tuple[Path, ...]:
    for folder in folders:
        general = _first((folder,), "qos_constraints")
        levels = sorted(path for ending in _ENDINGS for path in folder.glob(f"qos_constraints_L*{ending}"))
        if general or levels:
            return (*((general,) if general else ()), *levels)
    return ()
