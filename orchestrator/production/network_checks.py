"""Checks that results can get where they are to go: from a component's network domain to the next one's store."""

from __future__ import annotations

import ipaddress
from enum import Enum
from urllib.parse import urlsplit

from orchestrator.production.clouds import public_cloud
from orchestrator.production.compile_resources import physical_of
from orchestrator.production.model import Layer, LayerType, Production
from orchestrator.production.placement import Placed, place_components
from orchestrator.topology.reading import Findings

_PRIVATE_NETWORKS = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
        "::1/128",
    )
)
"""What no router of the internet forwards: RFC 1918, 6598, 1122, 3927, 4193, 4291."""

_PRIVATE_ENDINGS = ("localhost", ".local", ".localdomain", ".internal", ".lan", ".home.arpa", ".svc")


class Reach(Enum):
    """Whether an address can be reached from anywhere."""

    PUBLIC = "public"
    PRIVATE = "private"
    UNKNOWN = "unknown"


def check_network(model: Production, findings: Findings) -> None:
    """Every edge between network domains ends at a store that can be reached from where it begins.

    A component writes its results into the store of the component that comes next, so it is the target that has to be
    reachable: it is in the same network domain; in one that lies inside the source's, or that the source's lies in
    (domains inside each other are networks that are joined); in a public cloud; or the input gives a public address
    for it. An address that only its own network knows cannot work from another one: an error. Where nothing is said,
    somebody may have joined the networks: a warning.
    """
    placed = place_components(model)
    families = _families(model)
    targets: dict[tuple[int, str], tuple[Reach, str]] = {}
    for edge in model.dag.edges:
        source, target = placed.get(edge.source), placed.get(edge.target)
        if source is None or target is None or target.layer.domain in families.get(source.layer.domain, ()):
            continue
        key = (target.layer.number, target.resource.name)
        if key not in targets:
            targets[key] = store_reach(target, model)
        reach, address = targets[key]
        between = (
            f"{edge.source!r} in network domain {source.layer.domain} writes its results into the store of "
            f"{edge.target!r} in {target.layer.domain}; neither domain has the other in its subNetworkDomains"
        )
        if reach is Reach.PRIVATE:
            detail = (
                f"{between}, and {address} is an address of a private network. Give a public address in "
                "physical_nodes.yaml, or name the domain that joins them."
            )
            findings.error("Results cannot get there.", detail, edge.place, edge.target)
        elif reach is Reach.UNKNOWN:
            detail = (
                f"{between}, and no public address of {target.resource.name!r} is known. Should the networks be "
                "joined, name one domain in subNetworkDomains of the other; else give a public address in "
                "physical_nodes.yaml."
            )
            findings.warning("Results may not get there.", detail, edge.place, edge.target)


def _families(model: Production) -> dict[str, frozenset[str]]:
    """Domain to itself, all domains inside it, and all that it lies in."""
    inside = {domain.key: set(domain.sub_domains) for domain in model.domains}
    below: dict[str, set[str]] = {}
    for key in inside:
        found = {key}
        waiting = [key]
        for name in waiting:  # grows while it is walked
            for inner in inside.get(name, ()):
                if inner not in found:
                    found.add(inner)
                    waiting.append(inner)
        below[key] = found
    return {key: frozenset(below[key] | {other for other in below if key in below[other]}) for key in below}


def store_reach(placed: Placed, model: Production) -> tuple[Reach, str]:
    """Whether the store of a component can be reached from other networks, and by which address."""
    if placed.runs_in_cloud_functions or _is_public_cloud(placed.layer, placed):
        return Reach.PUBLIC, ""
    physical = physical_of(model, placed.layer, placed.resource)
    addresses = [found.store_endpoint for found in physical if found.store_endpoint]
    addresses = addresses or [found.hosts[0].address for found in physical if found.hosts]
    if not addresses:
        return Reach.UNKNOWN, ""
    reaches = [(address_reach(address), address) for address in addresses]
    return next((found for found in reaches if found[0] is Reach.PUBLIC), reaches[0])


def _is_public_cloud(layer: Layer, placed: Placed) -> bool:
    return layer.type is LayerType.VIRTUAL and bool(public_cloud(placed.resource))


def address_reach(address: str) -> Reach:
    """Whether an address or URL can be reached from anywhere; a full host name is taken to be one that can."""
    host = _host(address)
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        if host.endswith(_PRIVATE_ENDINGS):
            return Reach.PRIVATE
        return Reach.PUBLIC if "." in host.strip(".") else Reach.UNKNOWN
    is_private = any(number in network for network in _PRIVATE_NETWORKS if network.version == number.version)
    return Reach.PRIVATE if is_private else Reach.PUBLIC


def _host(address: str) -> str:
    text = address.strip().casefold()
    try:
        ipaddress.ip_address(text)
    except ValueError:
        pass
    else:
        return text
    try:
        return urlsplit(text if "//" in text else f"//{text}").hostname or ""
    except ValueError:
        return ""
