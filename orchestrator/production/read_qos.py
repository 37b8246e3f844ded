"""Reads quality-of-service constraints: of the application, of a layer, and of each layer of several clusters."""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.production.model import QosConstraint
from orchestrator.production.naming import sanitise
from orchestrator.production.read_companions import open_system
from orchestrator.topology.reading import Findings, Section

_LEVEL = re.compile(r"_L(\d{1,6})$")
_KINDS = ("local_constraints", "global_constraints")
_Found = dict[tuple[str, tuple[str, ...], float, int | None], QosConstraint]


def read_qos(paths: tuple[Path, ...], findings: Findings) -> tuple[QosConstraint, ...]:
    """Local and global constraints of every file; ``qos_constraints_L<n>.yaml`` holds those of execution layer n."""
    found: _Found = {}
    for path in paths:
        level = _LEVEL.search(path.stem)
        system = open_system(path, findings)
        if system is not None:
            _take(system, int(level[1]) if level else None, found)
            system.finish(also=("name", "throughput_component", "throughput_constraints"))
    return tuple(found.values())


def read_multi_cluster_qos(path: Path, deployment: str, findings: Findings) -> tuple[QosConstraint, ...]:
    """Constraints of each execution layer of one deployment.

    Args:
        path: The file.
        deployment: Name of the deployment; may be empty, then the only one there is counts.
        findings: Where reports go.
    """
    system = open_system(path, findings)
    if system is None:
        return ()
    deployments = dict(system.sections("Deployments"))
    system.finish(also=("name",))
    chosen = next((s for name, s in deployments.items() if sanitise(name) == sanitise(deployment)), None)
    if chosen is None and len(deployments) == 1 and not deployment:
        chosen = next(iter(deployments.values()))
    if chosen is None:
        there = ", ".join(deployments) or "none"
        which = f"Deployment {deployment!r} is not in it" if deployment else "The production file names no deployment"
        detail = f"{which}, so that none of its constraints were taken. There is: {there}."
        findings.note("Constraints of other deployments.", detail, system.place, "System.Deployments")
        return ()
    found: _Found = {}
    for key, layer in chosen.sections("ExecutionLayers"):
        if not (key.isdecimal() and len(key) < 7):
            detail = f"Execution layers are given by their numbers; this is {key[:60]!r}."
            findings.error("A key is not known.", detail, layer.place, layer.address)
            continue
        _take(layer, int(key), found)
        layer.finish(also=("components", "throughput_component"))
    chosen.finish()
    return tuple(found.values())


def _take(section: Section, layer: int | None, found: _Found) -> None:
    for kind in _KINDS:
        for key, inner in section.sections(kind):
            constraint = _constraint(key, inner, kind == _KINDS[1], layer)
            if constraint is not None:
                found.setdefault((kind, constraint.components, constraint.threshold, layer), constraint)


def _constraint(key: str, section: Section, is_global: bool, layer: int | None) -> QosConstraint | None:
    if is_global:
        section.accept("path_components", "components_path")
        components = tuple(item.text for item in section.texts("path_components"))
        if not components:
            section.need("path_components", "the components of the way, in order")
    else:
        name = section.need_text("component_name", "the component")
        components = (name,) if name else ()
    if section.need("threshold", "the longest time in seconds") is None:
        return None
    threshold = section.number("threshold", unit="seconds")
    if threshold is not None and threshold <= 0:
        detail = f"{section.address}.threshold is {threshold:g}; it must be above 0."
        section.findings.error("A number is out of range.", detail, section.value_place("threshold"), section.address)
        return None
    section.finish()
    if threshold is None or not components:
        return None
    return QosConstraint(key, components, threshold, is_global, section.place, layer)
