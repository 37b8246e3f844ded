"""What the state holds: one record a node instance, and the template they were made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from orchestrator.topology.model import Value

SCHEMA_VERSION = 2
"""Version of the state's form; a state with a higher one is refused, a lower one upgraded. Version 2 added versions."""

KEPT_VERSIONS = 5
"""How many of the versions that were applied completely are kept to go back to."""


class Lifecycle(StrEnum):
    """States of a node instance, as TOSCA Simple Profile 1.3 names them (section 3.4.1)."""

    INITIAL = "initial"
    CREATING = "creating"
    CREATED = "created"
    CONFIGURING = "configuring"
    CONFIGURED = "configured"
    STARTING = "starting"
    STARTED = "started"
    STOPPING = "stopping"
    DELETING = "deleting"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Pending:
    """An action whose result is not known yet; made durable before the first outside call of the action.

    Attributes:
        action: ``create``, ``update``, ``replace`` or ``delete``.
        token: What the outside object carries, so that it is found again after a crash.
        run: The run that began it.
    """

    action: str
    token: str
    run: str


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """One node instance as last known.

    Attributes:
        address: ``name`` or ``name[i]``.
        node: Name of the node template.
        type: Node type.
        provider: Name of the infrastructure API that made it; empty if none did.
        generation: Counts the objects made for this address; a replacement has the next number.
        lifecycle: State in TOSCA's words.
        inputs: What it was made from: resolved properties, capabilities, bindings. Never a secret value.
        attributes: What was observed: identifiers, addresses, digests. Never a secret value.
        dependencies: Addresses that had to be there before it.
        pending: The action that was begun and not ended.
        wired: Generation of each dependency when it was last made or configured, so that one that still relies on an
            earlier object is known after a crash; empty in records of schema version 1.
    """

    address: str
    node: str
    type: str
    provider: str = ""
    generation: int = 1
    lifecycle: Lifecycle = Lifecycle.INITIAL
    inputs: Mapping[str, Value] = field(default_factory=dict)
    attributes: Mapping[str, Value] = field(default_factory=dict)
    dependencies: tuple[str, ...] = ()
    pending: Pending | None = None
    wired: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Version:
    """What was applied completely once, so that a rollback can apply it again.

    Attributes:
        number: Counts from 1 on; a number is never given twice.
        time: When that apply ended, ISO 8601, for people.
        run: The run that applied it.
        template: Text of the service template.
        profile: Name of the profile.
        profile_options: Its options.
        application_root: Folder that relative artifact files were looked up in.
        images: Identifier (``sha256:…``) of every image as it was then, by the address of its node instance.
    """

    number: int
    time: str
    run: str
    template: str
    profile: str
    profile_options: Mapping[str, str] = field(default_factory=dict)
    application_root: str = ""
    images: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class State:
    """Everything known of a deployment.

    Attributes:
        deployment: Name of the deployment (with ``-rehearsal`` if it is one).
        lineage: Random identity given once, so that two states with one name are told apart.
        serial: Grows by one with every record written.
        template: Text of the service template last applied; empty before the first apply.
        profile: Name of the profile last applied.
        profile_options: Its options, e.g. ``{"k3s": "standin"}``.
        application_root: Folder that relative artifact files are looked up in.
        instances: Records by address.
        versions: The last versions that were applied completely, the newest last.
    """

    deployment: str
    lineage: str
    serial: int = 0
    template: str = ""
    profile: str = ""
    profile_options: Mapping[str, str] = field(default_factory=dict)
    application_root: str = ""
    instances: Mapping[str, InstanceRecord] = field(default_factory=dict)
    versions: tuple[Version, ...] = ()

    def with_instance(self, record: InstanceRecord) -> State:
        """The state with ``record`` put in place of what was at its address."""
        return replace(self, instances={**self.instances, record.address: record})

    def without_instance(self, address: str) -> State:
        """The state with nothing at ``address``."""
        return replace(self, instances={a: r for a, r in self.instances.items() if a != address})

    def with_version(self, time: str, run: str, images: Mapping[str, str]) -> State:
        """The state with what it holds now as its newest version; the oldest one goes when there are too many."""
        version = Version(
            number=self.versions[-1].number + 1 if self.versions else 1,
            time=time,
            run=run,
            template=self.template,
            profile=self.profile,
            profile_options=self.profile_options,
            application_root=self.application_root,
            images=dict(images),
        )
        return replace(self, versions=(*self.versions, version)[-KEPT_VERSIONS:])

    def is_at(self, version: Version) -> bool:
        """Whether ``version`` is what was applied last, completely or not."""
        then = (version.template, version.profile, version.profile_options, version.application_root)
        return then == (self.template, self.profile, self.profile_options, self.application_root)

    def instances_of(self, node: str) -> tuple[InstanceRecord, ...]:
        """All instances of a node template, in the order of their index."""
        found = [r for r in self.instances.values() if r.node == node]
        return tuple(sorted(found, key=lambda r: (len(r.address), r.address)))
