"""Compares where components run with where the design allows them to run (candidate_deployments.yaml)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.production.model import Component
from orchestrator.production.naming import partition_of, sanitise
from orchestrator.production.read_companions import open_mapping
from orchestrator.topology.located import Scalar
from orchestrator.topology.reading import Findings, Section

_LAYERS = ("candidateExecutionLayers", "candidateExecutionLayer", "executionLayers", "executionLayer")
_RESOURCES = (
    "candidateExecutionResources",
    "candidateExecutionResource",
    "selectedExecutionResources",
    "selectedExecutionResource",
)
_OTHER_SYSTEM_KEYS = ("name", "DeploymentName", "NetworkDomains", "NetworkDomain", "Resources", "Feasible", "toscas")
_OTHER_CONTAINER_KEYS = (
    "image",
    "memorySize",
    "computingUnits",
    "trustedExecution",
    "networkProtection",
    "fileSystemProtection",
    "GPURequirement",
    "ExposeService",
)
"""What the design's files say besides; the production file decides on it."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Numbers of the layers, and names of the resources, on which a component may run."""

    layers: frozenset[int]
    resources: frozenset[str]


def read_candidates(path: Path, findings: Findings) -> dict[str, Candidates]:
    """Component to its candidates; the file has ``Components`` at its top or under ``System``."""
    top = open_mapping(path, findings)
    if top is None:
        return {}
    top.accept("System", "system")
    system = top.section("System") if top.has("System") else top
    if system is None:
        return {}
    system.accept("Components", "Component", "components")
    if system.need("Components", "the application's components") is None:
        return {}
    found: dict[str, Candidates] = {}
    for _, section in system.items("Components"):
        section.accept("Containers", "Container", "containers")
        name = section.need_text("name", "the component's name")
        layers = frozenset(number for key in _LAYERS for item in section.texts(key) for number in _layer(section, item))
        resources = frozenset(
            resource for _, container in section.items("Containers") for resource in _resources(container)
        )
        section.finish(also=(*_LAYERS, "infid"))
        if name:
            found[name] = Candidates(layers, resources)
    system.finish(also=_OTHER_SYSTEM_KEYS)
    if system is not top:
        top.finish()
    return found


def _layer(section: Section, item: Scalar) -> tuple[int, ...]:
    """The layer's number; none after an error was reported."""
    text = item.text.strip()
    if item.is_null:
        return ()
    if text.isdecimal() and len(text) < 10:
        return (int(text),)
    detail = f"{section.address} names layer {text[:60]!r}; a layer is given by its number."
    section.findings.error("A value has the wrong type.", detail, item.location, section.address)
    return ()


def _resources(container: Section) -> tuple[str, ...]:
    names = tuple(item.text.strip() for key in _RESOURCES for item in container.texts(key) if not item.is_null)
    container.finish(also=(*_RESOURCES, *_LAYERS, *_OTHER_CONTAINER_KEYS))
    return names


def check_candidates(
    components: Mapping[str, Component], candidates: Mapping[str, Candidates], findings: Findings
) -> None:
    """Warn of every component that runs where the design does not allow it."""
    folded = {_fold(name): allowed for name, allowed in candidates.items()}
    for component in components.values():
        allowed = folded.get(_fold(component.name))
        if allowed is None:
            continue
        if allowed.layers and component.layer not in allowed.layers:
            numbers = ", ".join(map(str, sorted(allowed.layers)))
            detail = f"Component {component.name!r} runs on layer {component.layer}; its candidates are {numbers}."
            findings.warning("A choice is not among the candidates.", detail, component.layer_place, component.name)
            continue  # the resources of another layer are others
        resource = component.container.resource
        if allowed.resources and resource.casefold() not in {name.casefold() for name in allowed.resources}:
            names = ", ".join(sorted(allowed.resources))
            detail = f"Component {component.name!r} runs on {resource!r}; its candidates are {names}."
            place = component.container.resource_place
            findings.warning("A choice is not among the candidates.", detail, place, component.name)


def _fold(name: str) -> tuple[str, str]:
    """What two names have in common whichever partition they are of: the component and the segment's number."""
    base, partition = partition_of(name)
    return sanitise(base), partition.rpartition("_")[2]
