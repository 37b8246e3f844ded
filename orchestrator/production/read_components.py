"""Reads the components of a production file and their containers, and settles where each one runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.diagnostics import Location
from orchestrator.production.model import Component, Container, Layer
from orchestrator.production.read_containers import choose_image
from orchestrator.production.read_resources import read_megabytes, read_reference
from orchestrator.topology.located import Scalar
from orchestrator.topology.reading import Section

DEFAULT_MEMORY_MB = 512
DEFAULT_UNITS = 1.0
_LAYER_KEYS = ("executionLayer", "executionLayers", "candidateExecutionLayers", "candidateExecutionLayer")
_RESOURCE_KEYS = (
    "selectedExecutionResource",
    "selectedExecutionResources",
    "candidateExecutionResources",
    "candidateExecutionResource",
)


@dataclass(frozen=True, slots=True)
class _Draft:
    """A container with the resources that it may run on, what the file calls them, and the images it names."""

    container: Container
    resources: tuple[Scalar, ...]
    key: str
    images: tuple[str, ...]


def read_components(system: Section, layers: Sequence[Layer] = ()) -> dict[str, Component]:
    """Every component by name, in the order of the file.

    Args:
        system: What holds ``Components``.
        layers: The layers of the file; where one component has several candidates, they tell which one is possible.
    """
    system.accept("Components", "Component", "components")
    if system.need("Components", "the application's components") is None:
        return {}
    found: dict[str, Component] = {}
    for key, section in system.items("Components"):
        component = _component(key, section, layers)
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


def _component(key: str, section: Section, layers: Sequence[Layer]) -> Component | None:
    section.accept("Containers", "Container", "containers")
    name = section.need_text("name", "the component's name")
    numbers, layer_key = _layer_numbers(section, layers)
    drafts = [draft for k, inner in section.items("Containers") if (draft := _container(k, inner)) is not None]
    if not section.has("Containers"):
        section.need("Containers", "how the component runs")
    section.finish(also=(*_LAYER_KEYS, "infid"))  # the runtime notes down there what it deployed
    if not name or not numbers or not drafts:
        return None
    chosen = _choose(section, name, numbers, layer_key, drafts, layers)
    if chosen is None:
        return None
    number, container = chosen
    return Component(key, name, number, container, section.value_place("name"), section.value_place(layer_key))


def _layer_numbers(section: Section, layers: Sequence[Layer]) -> tuple[tuple[int, ...], str]:
    """The numbers of the layers that the component may run on, and the key that gives them."""
    for key in _LAYER_KEYS:
        items = [item for item in section.texts(key) if not item.is_null]
        if not items:
            continue
        numbers = tuple(dict.fromkeys(n for item in items if (n := _layer_number(section, item, layers)) is not None))
        if numbers and key != _LAYER_KEYS[0] and len(numbers) == 1:
            detail = f"{key} with the only entry {numbers[0]} was taken for {_LAYER_KEYS[0]}."
            section.findings.warning("A key is written differently.", detail, section.key_place(key), section.address)
        return numbers, key
    if not any(section.has(key) for key in _LAYER_KEYS):
        section.need(_LAYER_KEYS[0], "the number of its layer")
    return (), _LAYER_KEYS[0]


def _layer_number(section: Section, item: Scalar, layers: Sequence[Layer]) -> int | None:
    """The number of the layer that is written; a layer's key or name is taken for its number."""
    text = item.text.strip()
    if text.lstrip("+-").isdecimal() and len(text) < 19:
        return int(text)
    if isinstance(item.value, float) and item.value.is_integer():
        return int(item.value)
    for layer in layers:
        if text.casefold() in (layer.key.casefold(), layer.name.casefold()):
            detail = f"{text!r} was taken for layer {layer.number}."
            section.findings.warning("A layer is written differently.", detail, item.location, section.address)
            return layer.number
    known = ", ".join(str(layer.number) for layer in layers) or "none"
    detail = f"{section.address} names layer {text[:60]!r}; a layer is given by its number. The layers are {known}."
    section.findings.error("A value has the wrong type.", detail, item.location, section.address)
    return None


def _container(key: str, section: Section) -> _Draft | None:
    if section.has("Containers"):
        detail = (
            f"{section.address} has containers of its own, so it is a component inside another one's Containers. Move "
            "it to Components."
        )
        section.findings.error("A component stands inside another.", detail, section.place, section.address)
        return None
    resources, place_key = _resources(section)
    images = _images(section)
    container = Container(
        key=key,
        image=images[0] if images else "",
        memory_mb=_memory(section),
        computing_units=_units(section),
        trusted_execution=section.boolean("trustedExecution"),
        network_protection=section.boolean("networkProtection"),
        file_system_protection=section.boolean("fileSystemProtection"),
        gpu=section.boolean("GPURequirement"),
        expose=section.boolean("ExposeService"),
        resource="",
        place=section.place,
        resource_place=section.value_place(place_key),
        places=section.value_places(),
    )
    section.finish(also=(*_RESOURCE_KEYS, *_LAYER_KEYS))
    return _Draft(container, resources, place_key, images) if resources else None


def _resources(section: Section) -> tuple[tuple[Scalar, ...], str]:
    """The resources that the container may run on, and the key that gives them; none after an error was reported."""
    for key in _RESOURCE_KEYS:
        items = tuple(item for item in section.texts(key) if not item.is_null and item.text.strip())
        if not items:
            continue
        if key != _RESOURCE_KEYS[0] and len(items) == 1:
            detail = f"{key} with the only entry {items[0].text.strip()!r} was taken for {_RESOURCE_KEYS[0]}."
            section.findings.warning("A key is written differently.", detail, section.key_place(key), section.address)
        return items, key
    if not any(section.has(key) for key in _RESOURCE_KEYS):
        section.need(_RESOURCE_KEYS[0], "the name of a resource of its layer")
    return (), _RESOURCE_KEYS[0]


def _choose(
    section: Section,
    name: str,
    numbers: tuple[int, ...],
    layer_key: str,
    drafts: Sequence[_Draft],
    layers: Sequence[Layer],
) -> tuple[int, Container] | None:
    """The one layer and container that fit together; what is left open or does not fit is reported."""
    every = [(number, draft, item) for number in numbers for draft in drafts for item in draft.resources]
    on = {(layer.number, resource.name.casefold()) for layer in layers for resource in layer.resources}
    fitting = [way for way in every if (way[0], way[2].text.strip().casefold()) in on]
    ways = fitting or every
    # Without any that fits, the first is looked at by the checks, which say what is wrong with it.
    if len({number for number, _, _ in ways}) > 1 and (fitting or len(numbers) > 1):
        _report_open(section, name, ways, section.key_place(layer_key), "layer", "executionLayer")
        return None
    names = dict.fromkeys(item.text.strip().casefold() for _, _, item in ways)
    if len(names) > 1 and (fitting or len(drafts) == 1):
        _report_open(section, name, ways, ways[0][1].container.resource_place, "resource", _RESOURCE_KEYS[0])
        return None
    number, draft, item = ways[0]
    if len(numbers) > 1 or len(draft.resources) > 1:
        detail = (
            f"Of the candidates of component {name!r} only {item.text.strip()!r} on layer {number} is there; it was "
            "taken."
        )
        section.findings.warning("A place is given as candidate.", detail, item.location, section.address)
    others = [other for other in drafts if other is not draft]
    if others:
        why = "it runs on the component's layer" if fitting else "it is the first"
        detail = f"{section.address} has {len(drafts)} containers; {draft.container.key!r} is used, since {why}."
        section.findings.warning("More than one container.", detail, section.key_place("Containers"), section.address)
    container = replace(draft.container, resource=item.text.strip(), resource_place=item.location)
    if len(draft.images) > 1:
        container = replace(container, image=_image_of_several(section, draft, number, item.text.strip(), layers))
    return number, container


def _image_of_several(section: Section, draft: _Draft, number: int, resource: str, layers: Sequence[Layer]) -> str:
    """The one of several images that is for the resource's architecture, else the first."""
    layer = next((layer for layer in layers if layer.number == number), None)
    found = layer.resource(resource) if layer is not None else None
    chosen = choose_image(draft.images, found.architecture) if found is not None else ""
    why = "is for the architecture of its resource" if chosen else "is the first"
    image = chosen or draft.images[0]
    place = draft.container.place_of("image")
    detail = f"{section.address} names {len(draft.images)} images; {image!r} is used, since it {why}."
    section.findings.warning("More than one image.", detail, place, section.address)
    return image


def _report_open(
    section: Section,
    name: str,
    ways: Sequence[tuple[int, _Draft, Scalar]],
    place: Location,
    what: str,
    key: str,
) -> None:
    choices = "; ".join(dict.fromkeys(f"{item.text.strip()} on layer {number}" for number, _, item in ways))
    detail = f"Component {name!r} can run in several places: {choices}. Choose one with {key}."
    section.findings.error(f"A component has no {what} yet.", detail, place, section.address)


def _images(section: Section) -> tuple[str, ...]:
    items = tuple(
        item for item in section.texts("image") if not item.is_null and item.text.strip().casefold() != "none"
    )
    return tuple(found for item in items if (found := read_reference(section, "image", item.text, item.location)))


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
