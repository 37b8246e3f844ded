"""Checks that results can get where they are to go: from a component's network domain to the next one's store."""

from __future__ import annotations

import ipaddress
from enum import Enum
from urllib.parse import urlsplit

from orchestrator.production.clouds import public_cloud
from orchestrator.production.compile_resources import physical_of
from orchestrator.production.model import Edge, Layer, LayerType, Production
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
    (domains inside each other are networks that are joined); in one that lies in a third domain together with the
    source's, which is how files say what joins them; in a public cloud; or the input gives a public address for it.
    An address that only its own network knows cannot work from another one: an error, or a warning where a third
    domain may forward it. Where nothing is said, somebody may have joined the networks: a warning.
    """
    placed = place_components(model)
    below = _domains_below(model)
    targets: dict[tuple[int, str], tuple[Reach, str]] = {}
    for edge in model.dag.edges:
        source, target = placed.get(edge.source), placed.get(edge.target)
        if source is None or target is None:
            continue
        here, there = source.layer.domain, target.layer.domain
        if there in below.get(here, ()) or here in below.get(there, ()):
            continue
        key = (target.layer.number, target.resource.name)
        if key not in targets:
            targets[key] = store_reach(target, model)
        joint = next((name for name, inner in below.items() if here in inner and there in inner), "")
        _report(edge, (source, target), targets[key], joint, findings)


def _report(edge: Edge, ends: tuple[Placed, Placed], store: tuple[Reach, str], joint: str, findings: Findings) -> None:
    """Tell what is wrong with an edge between domains that are not inside each other; ``joint`` holds both."""
    reach, address = store
    source, target = ends
    between = (
        f"{edge.source!r} in network domain {source.layer.domain} writes its results into the store of "
        f"{edge.target!r} in {target.layer.domain}; "
    )
    if joint:
        between += f"both lie in {joint}"
    else:
        between += "neither domain has the other in its subNetworkDomains"
    if reach is Reach.PRIVATE and joint:
        detail = (
            f"{between}, but {address} is an address of a private network. Give a public address in "
            f"physical_nodes.yaml, unless {joint} forwards this one."
        )
        findings.warning("Results may not get there.", detail, edge.place, edge.target)
    elif reach is Reach.PRIVATE:
        detail = (
            f"{between}, and {address} is an address of a private network. Give a public address in "
            "physical_nodes.yaml, or name the domain that joins them."
        )
        findings.error("Results cannot get there.", detail, edge.place, edge.target)
    elif reach is Reach.UNKNOWN and not joint:
        detail = (
            f"{between}, and no public address of {target.resource.name!r} is known. Should the networks be "
            "joined, name one domain in subNetworkDomains of the other; else give a public address in "
            "physical_nodes.yaml."
        )
        findings.warning("Results may not get there.", detail, edge.place, edge.target)


def _domains_below(model: Production) -> dict[str, frozenset[str]]:
    """Domain to itself and all domains inside it."""
    inside = {domain.key: domain.sub_domains for domain in model.domains}
    below: dict[str, frozenset[str]] = {}
    for key in inside:
        found = {key}
        waiting = [key]
        for name in waiting:  # grows while it is walked
            for inner in inside.get(name, ()):
                if inner not in found:
                    found.add(inner)
                    waiting.append(inner)
        below[key] = frozenset(found)
    return below


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
