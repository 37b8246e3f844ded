"""What is known of machines, clusters and services that are there already: how each is reached."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.diagnostics import Location


@dataclass(frozen=True, slots=True)
class PhysicalHost:
    """How to reach a physical machine.

    Attributes:
        address: Name or address that SSH connects to.
        user: Whom to log in as; empty for whoever runs the program.
        key_file: Path of a private key on the operator's computer; empty for what the agent or the home folder has.
        port: Port of SSH.
        jump: Machines to go through, as ``user@host:port``, separated by commas; empty for none.
        become_password: Reference to the password for sudo; empty if it asks for none.
        key_passphrase: Reference to the passphrase of the private key; empty if it has none.
        host_key: The machine's public host key; empty if it is to be learned at first contact.
        is_server: Whether it is said to run a server of its cluster; without any such machine the first one does.
        place: Where it is described.
    """

    address: str
    user: str
    key_file: str
    port: int = 22
    jump: str = ""
    become_password: str = ""
    key_passphrase: str = ""
    host_key: str = ""
    is_server: bool = False
    place: Location | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """How to reach a cluster that is there already; every credential is a reference.

    Attributes:
        kubeconfig: Reference to the whole file, or empty.
        context: Which of its contexts; the file's own choice if empty.
        endpoint: URL of the API, where there is no kubeconfig.
        ca_cert: Reference to the certificate that signs it, as PEM.
        token: Reference to a bearer token.
        version: Version that it has to have, or the beginning of one; any if empty.
    """

    kubeconfig: str = ""
    context: str = ""
    endpoint: str = ""
    ca_cert: str = ""
    token: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class OscarAccess:
    """How to reach an OSCAR with its store that are there already; every credential is a reference."""

    endpoint: str = ""
    user: str = ""
    password: str = ""
    ca_cert: str = ""
    access_key: str = ""
    secret_key: str = ""


@dataclass(frozen=True, slots=True)
class PhysicalResource:
    """What is said about the physical machines of a resource; secret values are not kept.

    ``source`` is the file that says where they are, for messages.
    """

    layer: int
    name: str
    hosts: tuple[PhysicalHost, ...]
    store_endpoint: str
    oscar_name: str
    place: Location = field(compare=False)
    cluster: ClusterAccess = ClusterAccess()
    oscar: OscarAccess = OscarAccess()
    source: str = field(default="physical_nodes.yaml", compare=False)
