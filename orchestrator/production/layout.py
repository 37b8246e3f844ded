"""Finds the files of an application from the place of its production file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.production.naming import partition_of


@dataclass(frozen=True, slots=True)
class Layout:
    """Files of an application; ``None`` for one that is not there.

    Attributes:
        root: The application's folder.
        production: The production file.
        dag: application_dag.yaml.
        partitions: component_partitions.yaml.
        physical_nodes: physical_nodes.yaml.
        qos: qos_constraints*.yaml, the general one first.
    """

    root: Path
    production: Path
    dag: Path | None
    partitions: Path | None
    physical_nodes: Path | None
    qos: tuple[Path, ...]


def find_layout(production: Path) -> Layout:
    """Look beside the production file, then in the folders of the application layout."""
    root = application_root(production)
    here = production.parent
    places = (here, root / "common_config", root / "aisprint" / "designs", root)
    return Layout(
        root=root,
        production=production,
        dag=_first(places, "application_dag.yaml"),
        partitions=_first(places, "component_partitions.yaml"),
        physical_nodes=_first(places, "physical_nodes.yaml"),
        qos=_qos((here / "ams", here, root / "common_config")),
    )


def application_root(production: Path) -> Path:
    """The application's folder: above ``aisprint/deployments/<name>``, else the one the file is in."""
    here = production.parent
    parents = here.absolute().parts
    if len(parents) > 3 and parents[-3:-1] == ("aisprint", "deployments"):
        return Path(*parents[:-3])
    if here.name == "common_config":
        return here.parent
    return here


def find_source(root: Path, component: str) -> Path | None:
    """Folder of a component's code, relative to ``root``; ``None`` if there is none with a ``main.py``."""
    base, partition = partition_of(component)
    candidates = [Path("src", component)]
    if partition:
        candidates += [Path("aisprint", "designs", base, partition), Path("src", base, partition)]
    candidates.append(Path("aisprint", "designs", component, "base"))
    return next((c for c in candidates if (root / c / "main.py").is_file()), None)


def find_environment(root: Path, component: str) -> Path | None:
    """File with a component's environment variables; a partition has those of its component."""
    base, _ = partition_of(component)
    candidates = (root / "src" / name / "env.yaml" for name in dict.fromkeys((component, base)))
    return next((c for c in candidates if c.is_file()), None)


def _first(folders: tuple[Path, ...], name: str) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _qos(folders: tuple[Path, ...]) -> tuple[Path, ...]:
    for folder in folders:
        found = [folder / "qos_constraints.yaml"] if (folder / "qos_constraints.yaml").is_file() else []
        found += sorted(folder.glob("qos_constraints_L*.yaml"))
        if found:
            return tuple(found)
    return ()
