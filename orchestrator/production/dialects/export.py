"""Turns a loaded deployment into the documents of a dialect, by file name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.diagnostics import Diagnostic, has_errors
from orchestrator.production.dag_order import in_order
from orchestrator.production.dialects.companions import Companions, read_companions
from orchestrator.production.dialects.fdl import build_fdl
from orchestrator.production.dialects.infrastructure_manager import build_templates
from orchestrator.production.dialects.settings import ExportSettings, SecretReferences, Secrets
from orchestrator.production.dialects.sites import Site, build_sites
from orchestrator.production.dialects.text import render_yaml
from orchestrator.production.dialects.wiring import Wiring
from orchestrator.production.load import Loaded
from orchestrator.production.model import LayerType, Production
from orchestrator.production.placement import place_components
from orchestrator.topology.model import Topology
from orchestrator.topology.reading import Findings

_TAKEN = frozenset({"infras"})
"""Files that other tools keep beside the templates."""


@dataclass(frozen=True, slots=True)
class Export:
    """The documents of an export.

    Attributes:
        files: File name to text.
        diagnostics: What was found on the way; there are no files if one is an error.
    """

    files: Mapping[str, str]
    diagnostics: tuple[Diagnostic, ...]


def export(
    loaded: Loaded,
    topology: Topology,
    dialect: str,
    settings: ExportSettings | None = None,
    secrets: Secrets | None = None,
) -> Export:
    """The documents of a deployment in a dialect.

    Args:
        loaded: What was read; without errors.
        topology: What it compiles to.
        dialect: One of ``DIALECTS`` of the settings.
        settings: Choices for the export.
        secrets: Gives what stands for a secret; references if left out.
    """
    model = loaded.model
    if model is None:
        raise ValueError("A deployment with errors cannot be exported.")
    settings = settings or ExportSettings()
    companions = read_companions(loaded, model)
    placed = place_components(model)
    sites = build_sites(placed, in_order(placed, model.dag.edges), companions, settings)
    findings = Findings()
    for name, site in sites.items():
        _check(name, site, dialect, findings)
    _check_stores(sites, model, findings)
    wiring = Wiring(model, topology, sites, companions, settings, secrets or SecretReferences())
    _check_drift(model, companions, wiring, findings)
    if has_errors(findings.all()):
        return Export({}, findings.all())
    if dialect == "fdl":
        documents = {"fdl.yaml": build_fdl(wiring)}
    else:
        documents = {f"{name}.yaml": template for name, template in build_templates(wiring).items()}
    head = f"{mark(dialect, topology.name)} compiling again overwrites it.\n"
    return Export({name: head + render_yaml(document) for name, document in documents.items()}, findings.all())


def mark(dialect: str, deployment: str) -> str:
    """Begins every file of an export, and tells it from the files of others."""
    return f"# Written by `deploy compile --dialect {dialect}` for the deployment {deployment};"


def _check(name: str, site: Site, dialect: str, findings: Findings) -> None:
    placed = site.placed
    container, resource = placed.component.container, placed.resource
    if dialect == "im" and (not name or name.startswith(".") or "/" in name or name in _TAKEN):
        detail = f"The template of {name!r} would be the file {name}.yaml, which cannot be or belongs to another tool."
        findings.error("A component's name cannot be a file's name.", detail, placed.component.place, name)
    if not container.image:
        detail = f"{name!r} has no image; whoever reads the export cannot build one. Name the image of its container."
        findings.error("A component has no image.", detail, container.place, name)
    where = f"layer {placed.layer.number}, resource {resource.name!r}"
    if site.is_physical and (site.facts.front is None or not _address(site)):
        detail = f"{where} has no fe_node with an address in physical_nodes.yaml, from which its cluster would be run."
        findings.error("A physical machine is missing.", detail, resource.place, name)
    if site.is_functions and not site.facts.bucket:
        detail = f"{where} has no aws.bucket in physical_nodes.yaml, in which its functions keep their files."
        findings.error("A bucket is not known.", detail, resource.place, name)


def _check_stores(sites: Mapping[str, Site], model: Production, findings: Findings) -> None:
    """A store whose address is not known is none for others; its own components can do without the address."""
    unknown = {
        name: site
        for name, site in sites.items()
        if site.placed.layer.type is LayerType.PHYSICAL_ALREADY_PROVISIONED and not site.store
    }
    told: set[str] = set()
    for edge in model.dag.edges:
        source, target = sites.get(edge.source), unknown.get(edge.target)
        if source is not None and target is not None and not source.shares_store(target):
            detail = (
                f"{edge.source!r} sends its results to {edge.target!r} on resource {target.placed.resource.name!r}, of "
                "which physical_nodes.yaml gives no minio.endpoint."
            )
            findings.error("An object store is not known.", detail, target.placed.resource.place, edge.target)
            told.add(target.placed.platform)
    for name, site in unknown.items():
        if site.placed.platform not in told:
            told.add(site.placed.platform)
            detail = (
                f"physical_nodes.yaml gives no minio.endpoint of resource {site.placed.resource.name!r}; measurements "
                f"of its components are filed under the names of their clusters, {name!r} under {site.cluster}."
            )
            findings.warning("An object store is not known.", detail, site.placed.resource.place, name)


def _address(site: Site) -> str:
    front = site.facts.front
    return (front.private_ip or front.public_ip) if front is not None else ""


def _check_drift(model: Production, companions: Companions, wiring: Wiring, findings: Findings) -> None:
    wanted = sorted(name for name, found in model.annotations.items() if found.drift is not None)
    if wanted and not companions.drift_image:
        detail = (
            f"{', '.join(wanted)} asks for drift detection, but containers.yaml names no image of drift-detector, so "
            "that the export has none."
        )
        findings.warning("Drift is not detected.", detail, model.annotations[wanted[0]].place)
    elif companions.drift_image and wiring.drift is None:
        detail = "No component runs on a cluster that the Infrastructure Manager makes, which the drift detector needs."
        findings.warning("Drift is not detected.", detail, model.place)
