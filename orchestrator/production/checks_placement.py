"""Checks where components run: that the resource is there, and has what they need."""

from __future__ import annotations

import re

from orchestrator.production.clouds import function_cloud
from orchestrator.production.model import Annotations, Component, Layer, Production
from orchestrator.production.placement import Placed, place_components, used_resources
from orchestrator.topology.reading import Findings, did_you_mean

MAX_FUNCTION_MEMORY_MB = {"aws": 10240}
"""Most memory that a cloud gives one function."""

_IN_NAME = re.compile(r"(?:^|[/:._-])(?P<found>amd64|x86[-_]64|arm64(?:v8)?|aarch64|armv8)(?=$|[/:._-])", re.IGNORECASE)


def check_placement(model: Production, findings: Findings) -> None:
    """Every component is on a layer and a resource that are there; that there are no layers at all is told once."""
    if not model.layers:
        return
    for component in model.components.values():
        layer = model.layer(component.layer)
        if layer is None:
            numbers = ", ".join(str(found.number) for found in model.layers)
            detail = f"Component {component.name!r} runs on layer {component.layer}; the layers are {numbers}."
            findings.error("No such layer.", detail, component.layer_place, component.name)
            continue
        place, wanted = component.container.resource_place, component.container.resource
        resource = layer.resource(wanted)
        if resource is None:
            findings.error("No such resource.", _missing(component, layer, model), place, component.name)
        elif resource.name != wanted:
            detail = f"{wanted!r} was taken for {resource.name!r}."
            findings.warning("A name is written differently.", detail, place, component.name)


def _missing(component: Component, layer: Layer, model: Production) -> str:
    wanted = component.container.resource
    detail = f"Component {component.name!r} selects {wanted!r}, which is not on layer {layer.number} ({layer.key})."
    others = [found.number for found in model.layers if found is not layer and found.resource(wanted)]
    if others:
        return f"{detail} It is on layer {others[0]}: change executionLayer or the resource."
    names = [r.name for r in layer.resources]
    return detail + (did_you_mean(wanted, names) if names else " That layer has no resources.")


def check_fit(model: Production, findings: Findings) -> None:
    """Each component fits on one node of its resource, or into one function of its cloud."""
    for name, placed in place_components(model).items():
        container, resource = placed.component.container, placed.resource
        most, whose = _most_memory(placed, model)
        if container.memory_mb > most:
            detail = f"Component {name!r} needs {container.memory_mb} MB; {whose} has {most} MB."
            findings.error("A component fits on no node.", detail, container.place_of("memorySize"), name)
        if container.computing_units > resource.cores and not placed.runs_in_cloud_functions:
            detail = (
                f"Component {name!r} needs {container.computing_units:g} cores; a node of {resource.name!r} has "
                f"{resource.cores}."
            )
            findings.error("A component fits on no node.", detail, container.place_of("computingUnits"), name)


def _most_memory(placed: Placed, model: Production) -> tuple[int, str]:
    """Memory for one run in MB, and who gives it; functions have what the file says, else what their cloud gives."""
    resource = placed.resource
    if not placed.runs_in_cloud_functions:
        return resource.memory_mb, f"a node of {resource.name!r}"
    cloud = function_cloud(resource, model.accounts)
    limit = MAX_FUNCTION_MEMORY_MB.get(cloud, placed.component.container.memory_mb)
    if "memorySize" in resource.places:
        return min(resource.memory_mb, limit), f"a function of {resource.name!r}"
    return limit, f"a function of {cloud}"


def check_capacity(model: Production, findings: Findings) -> None:
    """All components of a resource fit on it together; a warning, since services run only when something arrives."""
    for group in used_resources(place_components(model)).values():
        resource = group[0].resource
        if len(group) < 2 or group[0].runs_in_cloud_functions:
            continue
        containers = [placed.component.container for placed in group]
        nodes = resource.total_nodes
        sums = (
            ("MB of memory", sum(c.memory_mb for c in containers), nodes * resource.memory_mb, "memorySize"),
            ("cores", sum(c.computing_units for c in containers), nodes * resource.cores, "totalNodes"),
            ("graphics processors", sum(c.gpu for c in containers), nodes * resource.gpus, "accelerators"),
        )
        for what, wanted, there, key in sums:
            if wanted > there and not (key == "accelerators" and there == 0):
                detail = (
                    f"The {len(group)} components on {resource.name!r} need {wanted:g} {what} when all of them run at "
                    f"once, and {nodes} of its nodes have {there:g}. Services run when something arrives, so that "
                    "some would wait for others."
                )
                findings.warning(
                    "Components together need more than there is.", detail, resource.place_of(key), resource.name
                )


def check_graphics(model: Production, findings: Findings) -> None:
    """A component that asks for a graphics processor has one."""
    for name, placed in place_components(model).items():
        container = placed.component.container
        if container.gpu and placed.resource.gpus == 0:
            detail = (
                f"Component {name!r} has GPURequirement, and {placed.resource.name!r} has no accelerator of type GPU."
            )
            findings.error("A component needs a GPU.", detail, container.place_of("GPURequirement"), name)


def check_device_constraints(model: Production, findings: Findings) -> None:
    """What a component's code says that it needs is there, and the production file gives it.

    More memory than a node has is an error, as it is when the production file asks for it. A graphics processor that
    only the annotation asks for is a warning: the deployment has decided otherwise, and models run without one too.
    The constraints are about a whole component: its segments are not measured by them.
    """
    for name, placed in place_components(model).items():
        annotations = model.annotations.get(name)
        if annotations is not None and annotations.device is not None:
            _check_device(placed, annotations, model, findings)


def _check_device(placed: Placed, annotations: Annotations, model: Production, findings: Findings) -> None:
    device, container, name = annotations.device, placed.component.container, placed.component.name
    if device is None:
        return
    most, whose = _most_memory(placed, model)
    if device.ram_mb > most:
        detail = f"The code of {name!r} is annotated to need {device.ram_mb} MB; {whose} has {most} MB."
        findings.error("A component fits on no node.", detail, device.place, name)
    elif device.ram_mb > container.memory_mb:
        detail = (
            f"The code of {name!r} is annotated to need {device.ram_mb} MB; memorySize is {container.memory_mb} MB."
        )
        findings.warning("An annotation asks for more.", detail, container.place_of("memorySize"), name)
    if device.vram_mb > 0:
        _check_video_memory(placed, device.vram_mb, findings)


def _check_video_memory(placed: Placed, wanted: int, findings: Findings) -> None:
    container, resource, name = placed.component.container, placed.resource, placed.component.name
    asked = f"The code of {name!r} is annotated to need a graphics processor with {wanted} MB"
    known = [round(a.memory_gb * 1024) for a in resource.accelerators if a.type.upper() == "GPU" and a.memory_gb]
    if resource.gpus == 0:
        detail = f"{asked}; {resource.name!r} has none."
        findings.warning("An annotation asks for more.", detail, container.place_of("GPURequirement"), name)
    elif not container.gpu:
        detail = f"{asked}; without GPURequirement: true it does not get the one that {resource.name!r} has."
        findings.warning("An annotation asks for more.", detail, container.place_of("GPURequirement"), name)
    elif known and max(known) < wanted:
        detail = f"{asked}; those of {resource.name!r} have {max(known)} MB."
        findings.error("A component fits on no node.", detail, resource.place_of("accelerators"), name)


def check_image_architecture(model: Production, findings: Findings) -> None:
    """An image whose name ends in an architecture runs on machines of that one; a warning, since a name proves little.

    ``…/detector_amd64:latest`` and ``…/detector:1.0-arm64`` are how images for one architecture are told apart.
    """
    for name, placed in place_components(model).items():
        container = placed.component.container
        found = named_architecture(container.image)
        there = {p.architecture for p in placed.resource.processors} or {placed.resource.architecture}
        if found and found not in there:
            detail = (
                f"By its name the image {container.image!r} of component {name!r} is for {found}; "
                f"{placed.resource.name!r} is {' and '.join(sorted(there))}."
            )
            findings.warning("An image is for another architecture.", detail, container.place_of("image"), name)


def named_architecture(image: str) -> str:
    """The architecture that an image's name or tag ends in, ``amd64`` or ``arm64``; empty if it names none."""
    reference = image.partition("@")[0]
    head, slash, rest = reference.partition("/")
    if slash and (any(sign in head for sign in ".:") or head == "localhost"):
        reference = rest  # what comes first is the registry
    found = [match["found"].casefold() for match in _IN_NAME.finditer(reference)]
    if not found:
        return ""
    return "amd64" if found[-1].startswith(("amd", "x86")) else "arm64"
