"""The wanted node instances: a topology with its counts expanded, its functions resolved and a profile applied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.topology.model import Value

SECRETS = "secrets."
"""Begins the keys of inputs that say which version of a secret an instance was made with."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a node.

    Attributes:
        name: As in TOSCA's Standard interface.
        artifact_type: Type of the implementation artifact; finds the executor.
        file: What the executor runs, e.g. ``playbooks/site.yml``.
        inputs: Resolved operation inputs. ``secret:NAME`` stands for a secret value and ``resource:PATH`` for a shipped
            file; executors replace them when the operation runs. ``get_attribute`` functions wait until then as well.
    """

    name: str
    artifact_type: str
    file: str
    inputs: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DesiredInstance:
    """One wanted node instance.

    Attributes:
        address: ``name`` or ``name[i]``.
        node: Node template.
        type: Node type.
        index: Position among the instances of the template, from 0.
        provider: Which infrastructure API makes it; empty for what is not a machine.
        disposable: Made by us and thrown away whole, so that what is hosted on it needs no uninstalling.
        properties: Resolved properties; what is only known after apply stays a ``get_attribute`` function.
        capabilities: Properties of its capabilities.
        settings: What the profile adds: for the provider or as variables for a play.
        artifacts: Artifact name to file, relative to the application folder.
        requirements: Requirement name to the addresses it points to.
        operations: By operation name, in the order of the Standard interface.
        secret_versions: Name to version of every secret that it or what it is wired to has, of those that were rotated.
    """

    address: str
    node: str
    type: str
    index: int = 0
    provider: str = ""
    disposable: bool = False
    properties: Mapping[str, Value] = field(default_factory=dict)
    capabilities: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    settings: Mapping[str, Value] = field(default_factory=dict)
    artifacts: Mapping[str, str] = field(default_factory=dict)
    requirements: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    operations: Mapping[str, Operation] = field(default_factory=dict)
    secret_versions: Mapping[str, int] = field(default_factory=dict)

    @property
    def dependencies(self) -> tuple[str, ...]:
        """Addresses that must be there first, each once, in order."""
        return tuple(dict.fromkeys(a for targets in self.requirements.values() for a in targets))

    @property
    def inputs(self) -> dict[str, Value]:
        """What makes the instance what it is; a difference to the recorded inputs makes it dirty."""
        merged: dict[str, Value] = {f"properties.{k}": v for k, v in self.properties.items()}
        for capability, values in self.capabilities.items():
            if capability != "scalable":
                merged.update({f"capabilities.{capability}.{k}": v for k, v in values.items()})
        merged.update({f"settings.{k}": v for k, v in self.settings.items()})
        merged.update({f"requirements.{k}": list(v) for k, v in self.requirements.items()})
        for name, operation in self.operations.items():
            merged[f"operations.{name}"] = f"{operation.artifact_type}:{operation.file}"
            merged.update({f"operations.{name}.{k}": v for k, v in operation.inputs.items()})
        if self.provider:
            merged["provider"] = self.provider
            merged["disposable"] = self.disposable
        merged.update({SECRETS + name: version for name, version in self.secret_versions.items()})
        return merged


def secret_versions_of(inputs: Mapping[str, Value]) -> dict[str, int]:
    """Versions of secrets that recorded inputs tell; a secret that is not among them had its first one."""
    return {
        key.removeprefix(SECRETS): version
        for key, version in inputs.items()
        if key.startswith(SECRETS) and isinstance(version, int)
    }
