"""Reads where physical machines are, and how clusters are reached that are there already: physical_nodes.yaml."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from orchestrator.diagnostics import Location
from orchestrator.production.physical import ClusterAccess, OscarAccess, PhysicalHost, PhysicalResource
from orchestrator.production.read_companions import open_mapping
from orchestrator.state.secrets import PREFIX, is_outside_reference, is_secret_name
from orchestrator.topology.located import Mapping, Sequence
from orchestrator.topology.reading import Findings, Section

_ADDRESS = re.compile(r"[A-Za-z0-9:][A-Za-z0-9._:%-]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]*\$?")
_JUMP = re.compile(
    r"(?:[A-Za-z0-9_][\w.\\-]*@)?(?:[A-Za-z0-9][\w.-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?", flags=re.ASCII
)
_HOST_KEY = re.compile(r"(?:ssh|ecdsa|sk)-[\w@.-]+ [A-Za-z0-9+/]{32,}={0,2}(?: .*)?|SHA256:[A-Za-z0-9+/]{43}")


def read_physical_nodes(path: Path, findings: Findings) -> tuple[PhysicalResource, ...]:
    """Where physical machines are. Keys and passwords in the file are looked over and not kept."""
    top = open_mapping(path, findings, secret=True)
    if top is None:
        return ()
    found: list[PhysicalResource] = []
    for _, layer in top.sections("ComputationalLayers"):
        number = layer.integer("number") if layer.need("number", "the layer's number") else None
        for _, section in layer.sections("Resources"):
            resource = _physical_resource(number, section, path.absolute().parent)
            if resource is not None:
                found.append(resource)
        layer.finish(also=("name", "type"))
    top.finish()
    return tuple(found)


def _physical_resource(number: int | None, section: Section, folder: Path) -> PhysicalResource | None:
    name = section.need_text("name", "the resource's name in the production file")
    hosts: list[PhysicalHost] = []
    front = section.section("fe_node")
    if front is not None:
        hosts.append(_host(front, is_first=True))
    workers = section.take("wns")
    if isinstance(workers, Sequence):
        for index, item in enumerate(workers.items):
            if isinstance(item, Mapping):
                hosts.append(_host(Section(item, f"{section.address}.wns[{index}]", section.findings)))
    elif workers is not None:
        section.wrong("wns", "a list of machines")
    store, oscar = section.section("minio"), section.section("oscar")
    endpoint = store.text("endpoint") if store else ""
    oscar_name = oscar.text("name") if oscar else ""
    cluster = _cluster(section.section("kubernetes"), folder)
    section.finish(also=("influx", "aws"))
    if not name or number is None:
        return None
    return PhysicalResource(
        number,
        name,
        tuple(sorted((host for host in hosts if host.address), key=lambda host: not host.is_server)),
        endpoint,
        oscar_name,
        section.key_place("name"),
        cluster,
        _oscar(store, oscar, folder),
    )


def _host(section: Section, *, is_first: bool = False) -> PhysicalHost:
    private, public = section.text("private_ip"), section.text("public_ip")
    if not private and not public:
        section.need("private_ip", "the machine's address")
    host = make_host(
        section.findings,
        section.place,
        address=public or private,
        user=section.text("ssh_user"),
        key_file=section.text("ssh_key"),
        port=section.text("ssh_port"),
        jump=section.text("jump"),
        become_password=_credential(section, "become_password"),
        key_passphrase=_credential(section, "key_passphrase"),
        host_key=section.text("host_key"),
    )
    role = section.text("role").strip().casefold()
    if role not in ("", "server", "agent") or (is_first and role == "agent"):
        detail = f"{section.address}.role is {role!r}. " + (
            "The first machine runs a server, and no other role." if is_first else "It may be server or agent."
        )
        section.findings.error("A role is not possible.", detail, section.value_place("role"), section.address)
    section.finish()
    return replace(host, is_server=is_first or role == "server")


def make_host(findings: Findings, place: Location | None, **said: str) -> PhysicalHost:
    """A machine from what a file says of it; what could do harm, or means nothing, is reported and left out.

    Args:
        findings: Where reports go.
        place: Where it is described.
        said: Values of the attributes of ``PhysicalHost``, as written.
    """
    address, user, port = (said.get(key, "").strip() for key in ("address", "user", "port"))
    if address and not _ADDRESS.fullmatch(address):
        findings.error("An address is not understood.", "It must be a host name or an IP address.", place)
        address = ""
    if user and not _USER.fullmatch(user):
        findings.error("A login name is not understood.", "It holds signs that no login name has.", place)
        user = ""
    if port and not (port.isdecimal() and 0 < int(port) < 65536):
        findings.error("A port is not understood.", f"The port of SSH at {address} must be from 1 to 65535.", place)
        port = ""
    host_key = " ".join(said.get("host_key", "").split()[:2])
    if host_key and not _HOST_KEY.fullmatch(host_key):
        detail = f"The host key of {address} must be 'ssh-ed25519 AAAA…', as in /etc/ssh/*.pub there, or 'SHA256:…'."
        findings.error("A host key is not understood.", detail, place)
        host_key = ""
    return PhysicalHost(
        address=address,
        user=user,
        key_file=_key_file(findings, place, address, said.get("key_file", "")),
        port=int(port or 22),
        jump=_jump(findings, place, address, said.get("jump", "")),
        become_password=said.get("become_password", ""),
        key_passphrase=said.get("key_passphrase", ""),
        host_key=host_key,
        place=place,
    )


def _key_file(findings: Findings, place: Location | None, address: str, text: str) -> str:
    """The path; a key that is written out itself serves exports only, and does not come into a template."""
    if "\n" not in text.strip() and "PRIVATE KEY" not in text:
        return text.strip()
    detail = (
        f"The private key for {address} stands in the file itself. It was left out: `deploy apply` takes keys from "
        "files of their own, or from an agent. Name the file."
    )
    findings.warning("A private key is written out.", detail, place)
    return ""


def _jump(findings: Findings, place: Location | None, address: str, text: str) -> str:
    hops = [hop.strip() for hop in text.split(",") if hop.strip()]
    if all(_JUMP.fullmatch(hop) for hop in hops):
        return ",".join(hops)
    detail = f"The machines on the way to {address} are written as user@host:port, separated by commas."
    findings.error("A way is not understood.", detail, place)
    return ""


def is_reference(text: str) -> bool:
    """Whether a text stands for a secret that is kept elsewhere."""
    return (text.startswith(PREFIX) and is_secret_name(text.removeprefix(PREFIX))) or is_outside_reference(text)


def refuse_password(findings: Findings, what: str, place: Location | None) -> None:
    """Report that a secret is written out where a reference belongs."""
    detail = (
        f"{what} holds a value, and this file is no place for one. Write a reference: secret:NAME (its value is given "
        "with `deploy secrets set NAME`), env:NAME or file:PATH."
    )
    findings.error("A password is written out.", detail, place)


def _credential(section: Section, key: str, *, strict: bool = True) -> str:
    """A reference; a value that is written out is refused, or not kept where files in use have one."""
    text = section.text(key).strip()
    if not text or is_reference(text):
        return text
    if strict:
        refuse_password(section.findings, f"{section.address}.{key}", section.value_place(key))
    return ""


def _cluster(section: Section | None, folder: Path) -> ClusterAccess:
    if section is None:
        return ClusterAccess()
    access = ClusterAccess(
        kubeconfig=_file(section.text("kubeconfig"), folder),
        context=section.text("context").strip(),
        endpoint=section.text("endpoint").strip().rstrip("/"),
        ca_cert=_file(section.text("ca_cert"), folder),
        token=_credential(section, "token"),
        version=section.text("version").strip(),
    )
    section.finish()
    if access.endpoint and not access.endpoint.startswith("https://"):
        detail = f"{section.address}.endpoint must be an https address, so that what answers there can be verified."
        section.findings.error("An address is not understood.", detail, section.value_place("endpoint"))
    elif not access.kubeconfig and not (access.endpoint and access.token):
        detail = f"{section.address} needs a kubeconfig, or an endpoint with a token (and ca_cert, if it signs itself)."
        section.findings.error("A cluster cannot be reached.", detail, section.place)
    return access


def _oscar(store: Section | None, oscar: Section | None, folder: Path) -> OscarAccess:
    """What is needed to reach an OSCAR; values that are written out, as files in use have them, are not kept."""
    return OscarAccess(
        endpoint=oscar.text("endpoint").strip().rstrip("/") if oscar else "",
        user=oscar.text("user").strip() if oscar else "",
        password=_credential(oscar, "password", strict=False) if oscar else "",
        ca_cert=_file(oscar.text("ca_cert"), folder) if oscar else "",
        access_key=_credential(store, "access_key", strict=False) if store else "",
        secret_key=_credential(store, "secret_key", strict=False) if store else "",
    )


def _file(text: str, folder: Path) -> str:
    """A reference to a file that is named by its path, relative to the file that names it."""
    text = text.strip()
    if not text or is_reference(text):
        return text
    return f"file:{text}" if text.startswith(("~", "/")) else f"file:{folder / text}"
