"""Reads the components of a production file and their containers."""

from __future__ import annotations

from orchestrator.production.model import Component, Container
from orchestrator.production.read_resources import read_megabytes
from orchestrator.topology.located import Scalar
from orchestrator.topology.reading import Section

DEFAULT_MEMORY_MB = 512
DEFAULT_UNITS = 1.0
_SELECTED = ("selectedExecutionResource", "selectedExecutionResources", "candidateExecutionResources")


def read_components(system: Section) -> dict[str, Component]:
    """Every component by name, in the order of the file."""
    if system.need("Components", "the application's components") is None:
        return {}
    found: dict[str, Component] = {}
    for key, section in system.sections("Components"):
        component = _component(key, section)
        if component is None:
            continue
        if component.name in found:
            first = found[component.name].place.line
            detail = f"The name {component.name!r} is taken by the component in line {first}."
            section.findings.error(
                "Two components have one name.", detail, section.value_place("name"), section.address
            )
            continue
        found[component.name] = component
    return found


def _component(key: str, section: Section) -> Component | None:
    name = section.need_text("name", "the component's name")
    layer, layer_key = _layer(section)
    containers = [(k, c) for k, s in section.sections("Containers") if (c := _container(k, s)) is not None]
    if not section.has("Containers"):
        section.need("Containers", "how the component runs")
    section.finish()
    if len(containers) > 1:
        detail = f"{section.address} has {len(containers)} containers; the first, {containers[0][0]!r}, is used."
        section.findings.warning("More than one container.", detail, section.key_place("Containers"), section.address)
    if not name or layer is None or not containers:
        return None
    return Component(key, name, layer, containers[0][1], section.value_place("name"), section.value_place(layer_key))


def _layer(section: Section) -> tuple[int | None, str]:
    """The number of the component's layer, and the key that gives it."""
    if section.has("executionLayer"):
        return section.integer("executionLayer"), "executionLayer"
    candidates = section.texts("candidateExecutionLayers")
    if len(candidates) == 1 and isinstance(candidates[0].value, int):
        detail = f"The only candidate, layer {candidates[0].text}, was taken."
        section.findings.warning("A layer is given as candidate.", detail, candidates[0].location, section.address)
        return int(candidates[0].value), "candidateExecutionLayers"
    if candidates:
        detail = f"{section.address} has {len(candidates)} candidate layers. Choose one with executionLayer."
        section.findings.error(
            "A component has no layer yet.", detail, section.key_place("candidateExecutionLayers"), section.address
        )
    else:
        section.need("executionLayer", "the number of its layer")
    return None, "executionLayer"


def _container(key: str, section: Section) -> Container | None:
    resource, place_key = _resource(section)
    container = Container(
        key=key,
        image=_image(section),
        memory_mb=_memory(section),
        computing_units=_units(section),
        trusted_execution=section.boolean("trustedExecution"),
        network_protection=section.boolean("networkProtection"),
        file_system_protection=section.boolean("fileSystemProtection"),
        gpu=section.boolean("GPURequirement"),
        expose=section.boolean("ExposeService"),
        resource=resource,
        place=section.place,
        resource_place=section.value_place(place_key),
        places=section.value_places(),
    )
    section.finish(also=_SELECTED)
    return container if resource else None


def _resource(section: Section) -> tuple[str, str]:
    """The selected resource, and the key that gives it; an empty name after an error was reported."""
    for key in _SELECTED:
        names = tuple(item.text.strip() for item in section.texts(key) if item.text.strip())
        if not names:
            continue
        if len(names) > 1:
            detail = f"{section.address}.{key} has {len(names)} resources. Choose one with selectedExecutionResource."
            section.findings.error(
                "A component has no resource yet.", detail, section.value_place(key), section.address
            )
            return "", key
        if key != _SELECTED[0]:
            detail = f"{key} with the only entry {names[0]!r} was taken for {_SELECTED[0]}."
            section.findings.warning("A key is written differently.", detail, section.key_place(key), section.address)
        return names[0], key
    if not any(section.has(key) for key in _SELECTED):
        section.need(_SELECTED[0], "the name of a resource of its layer")
    return "", _SELECTED[0]


def _image(section: Section) -> str:
    items = tuple(
        item for item in section.texts("image") if not item.is_null and item.text.strip().casefold() != "none"
    )
    if len(items) > 1:
        detail = f"{section.address}.image is a list of {len(items)}; the first, {items[0].text!r}, is used."
        section.findings.warning("More than one image.", detail, items[0].location, section.address)
    return items[0].text.strip() if items else ""


def _memory(section: Section) -> int:
    if section.take("memorySize") is None:
        detail = f"{section.address} has no 'memorySize'; {DEFAULT_MEMORY_MB} MB was assumed."
        section.findings.warning("A number is missing.", detail, section.place, section.address)
        return DEFAULT_MEMORY_MB
    return read_megabytes(section, "memorySize", DEFAULT_MEMORY_MB)


def _units(section: Section) -> float:
    node = section.take("computingUnits")
    if node is None:
        detail = f"{section.address} has no 'computingUnits'; {DEFAULT_UNITS:g} was assumed."
        section.findings.warning("A number is missing.", detail, section.place, section.address)
        return DEFAULT_UNITS
    found = section.number("computingUnits", unit="cores")
    if found is None:
        return DEFAULT_UNITS
    if not 0 < found <= 1024:
        text = node.text if isinstance(node, Scalar) else ""
        detail = f"{section.address}.computingUnits is {text}; it must be above 0 and at most 1024 cores."
        section.findings.error("A number is out of range.", detail, node.location, section.address)
        return DEFAULT_UNITS
    return found
