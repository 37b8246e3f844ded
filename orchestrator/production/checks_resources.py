"""Checks resources by themselves: their images, their processors, and whether they are used."""

from __future__ import annotations

import re

from orchestrator.production.clouds import KNOWN_SCHEMES, scheme_of
from orchestrator.production.model import Layer, LayerType, Production, Resource
from orchestrator.production.physical import PhysicalResource
from orchestrator.production.placement import place_components, used_resources
from orchestrator.topology.reading import Findings, did_you_mean

_PLACEHOLDER = re.compile(r"X{4,}|[<>]", re.IGNORECASE)
_REGION = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def check_image_ids(model: Production, findings: Findings) -> None:
    """The image id of virtual machines names a cloud that is known; a warning, since others may know more of them.

    One that names none leaves the cloud to be chosen when it is applied.
    """
    used = used_resources(place_components(model))
    for layer in model.layers:
        if layer.type is not LayerType.VIRTUAL:
            continue
        for resource in layer.resources:
            image_id = resource.system.image_id
            scheme = scheme_of(image_id)
            if not image_id or scheme in KNOWN_SCHEMES or (layer.number, resource.name) not in used:
                continue
            place = resource.place_of("operatingSystemImageId")
            if "://" in image_id:
                detail = f"{image_id!r} names the cloud {scheme!r}.{did_you_mean(scheme, KNOWN_SCHEMES)}"
                findings.warning("No such cloud.", detail, place, resource.name)
            else:
                detail = (
                    f"{image_id!r} does not say which cloud makes the machines: choose it with --provider, or write "
                    "scheme://place/identifier, e.g. aws://region/image, ost://host/image or one://host/image."
                )
                findings.note("The image names no cloud.", detail, place, resource.name)


def check_placeholders(model: Production, findings: Findings) -> None:
    """Image ids and regions that are used are what a cloud calls them, not what a form or a map does; a warning."""
    used = used_resources(place_components(model))
    for layer, resource in [(on, each) for on in model.layers for each in on.resources]:
        if (layer.number, resource.name) not in used:
            continue
        image_id = resource.system.image_id
        region = resource.functions.region if resource.functions else ""
        if layer.type is LayerType.VIRTUAL and _PLACEHOLDER.search(image_id):
            detail = f"{image_id!r} is no image that a cloud could have. Write the image's identifier."
            place = resource.place_of("operatingSystemImageId")
            findings.warning("An image id was never filled in.", detail, place, resource.name)
        if region and not _REGION.fullmatch(region):
            detail = (
                f"{region!r} is not how clouds call their regions. Write the identifier, e.g. eu-south-1 for Milan."
            )
            findings.warning("No such region.", detail, resource.place_of("region"), resource.name)


def check_architectures(model: Production, findings: Findings) -> None:
    """A machine has processors of one architecture; a warning, since the first one's is taken."""
    for layer in model.layers:
        for resource in layer.resources:
            architectures = tuple(dict.fromkeys(p.architecture for p in resource.processors))
            if len(architectures) > 1:
                detail = (
                    f"{resource.name!r} has processors for {' and '.join(architectures)}, and a machine runs one of "
                    f"them; {architectures[0]} was taken. Describe other machines as a resource of their own."
                )
                findings.warning(
                    "Processors have different architectures.",
                    detail,
                    resource.place_of("processors"),
                    resource.name,
                )


def check_physical(model: Production, findings: Findings) -> None:
    """Physical machines belong to a resource, are as many as it has, and each is named once."""
    _check_machines_are_named_once(model, findings)
    for physical in model.physical:
        layer = model.layer(physical.layer)
        resource = layer.resource(physical.name) if layer else None
        if resource is None:
            detail = f"{physical.source} describes {physical.name!r} on layer {physical.layer}, which is not there."
            findings.warning("No such resource.", detail, physical.place, physical.name)
        elif physical.hosts and len(physical.hosts) != resource.total_nodes:
            detail = (
                f"{physical.source} gives {len(physical.hosts)} machines for {physical.name!r}; totalNodes is "
                f"{resource.total_nodes}."
            )
            findings.warning("The number of machines differs.", detail, physical.place, physical.name)
        _check_servers(physical, layer, resource, findings)


def _check_servers(
    physical: PhysicalResource, layer: Layer | None, resource: Resource | None, findings: Findings
) -> None:
    """A cluster of two servers stands still when either is away."""
    if layer is None or resource is None or layer.type is not LayerType.PHYSICAL_TO_BE_PROVISIONED:
        return
    servers = [host for host in physical.hosts[: resource.total_nodes] if host.is_server]
    if len(servers) == 2:
        detail = (
            f"{physical.source} has two servers for {physical.name!r}, {' and '.join(s.address for s in servers)}, "
            "which is worse than one: they decide by majority, and that of two is two. Have one server, or three."
        )
        findings.error("Two servers cannot do without either.", detail, servers[1].place, physical.name)


def _check_machines_are_named_once(model: Production, findings: Findings) -> None:
    """One machine cannot be two nodes."""
    seen: dict[tuple[str, int, str], str] = {}
    for physical in model.physical:
        layer = model.layer(physical.layer)
        if layer is None or layer.type is not LayerType.PHYSICAL_TO_BE_PROVISIONED:
            continue
        for host in physical.hosts:
            key = (host.address.casefold(), host.port, host.jump)
            if key in seen:
                detail = (
                    f"{host.address}, port {host.port}, of {physical.name!r} is a machine of {seen[key]!r} already. A "
                    "machine can be one node only: correct its address or port."
                )
                findings.error("A machine is named twice.", detail, host.place or physical.place, physical.name)
            seen.setdefault(key, physical.name)


def check_unused(model: Production, findings: Findings) -> None:
    """A resource that no component selects is left out; those that are not readable may have selected it."""
    if model.unusable:
        return
    used = {(c.layer, c.container.resource.casefold()) for c in model.components.values()}
    for layer in model.layers:
        for resource in layer.resources:
            if (layer.number, resource.name.casefold()) not in used:
                detail = f"No component selects {resource.name!r} on layer {layer.number}; it is left out."
                findings.warning("A resource is not used.", detail, resource.place, resource.name)
