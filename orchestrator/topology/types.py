"""Node types and the rest of the shipped TOSCA types: what they derive from, their properties and operations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from orchestrator.errors import DeployError
from orchestrator.resources import data_path
from orchestrator.topology.model import Value
from orchestrator.topology.plain_yaml import load_plain

STANDARD_OPERATIONS = ("create", "configure", "start", "stop", "delete")
"""Operations of TOSCA's Standard interface, in the order of a node's life."""

MACHINE = "continuum.nodes.Machine"
CLUSTER = "continuum.nodes.KubernetesCluster"
FUNCTION_PLATFORM = "continuum.nodes.FunctionPlatform"
COMPONENT_IMAGE = "continuum.nodes.ComponentImage"
CLOUD_FUNCTION_PLATFORM = "continuum.nodes.CloudFunctionPlatform"
SERVICE = "continuum.nodes.Service"
EXISTING = "continuum.artifacts.Existing"
"""Implements operations of what somebody else looks after."""

SECTIONS = ("node_types", "relationship_types", "capability_types", "artifact_types", "group_types", "policy_types")

_SCALABLE: dict[str, dict[str, Any]] = {"min_instances": {}, "max_instances": {}, "default_instances": {}}
_NORMATIVE: dict[str, dict[str, Any]] = {
    "tosca.nodes.Root": {"capabilities": {"feature": {"type": "tosca.capabilities.Node"}}},
    "tosca.nodes.Compute": {
        "derived_from": "tosca.nodes.Root",
        "capabilities": {
            "host": {"type": "tosca.capabilities.Container"},
            "os": {"type": "tosca.capabilities.OperatingSystem"},
            "endpoint": {"type": "tosca.capabilities.Endpoint.Admin"},
            "scalable": {"type": "tosca.capabilities.Scalable", "properties": _SCALABLE},
            "binding": {"type": "tosca.capabilities.network.Bindable"},
        },
        "attributes": {"private_address": {"type": "string"}, "public_address": {"type": "string"}},
    },
}
"""What the shipped types need of TOSCA's normative ones; any other ``tosca.`` name is taken to be there."""


class TypesError(DeployError):
    """A file of types cannot be used."""


class UnknownTypeError(DeployError):
    """A node has a type that nobody defines."""

    exit_code = 2

    def __init__(self, name: str) -> None:
        super().__init__(
            "No such type.",
            detail=f"No file of types defines {name!r}.",
            resolution="Correct the type, or add a file that defines it to the imports.",
        )


@dataclass(frozen=True, slots=True)
class PropertyDefinition:
    """A property or attribute as a type defines it; ``default`` counts only if ``has_default``."""

    name: str
    type: str
    required: bool = True
    has_default: bool = False
    default: Value = None
    description: str = ""
    schema: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TypeOperation:
    """An operation as a type defines it; ``inputs`` may hold functions."""

    name: str
    artifact_type: str
    file: str
    inputs: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RequirementDefinition:
    """A requirement as a type defines it; ``maximum`` is ``None`` if there may be any number."""

    name: str
    node: str
    capability: str
    relationship: str
    minimum: int
    maximum: int | None


class TypeCatalogue:
    """Types by name, with everything inherited merged in.

    Args:
        definitions: Section, such as ``node_types``, to definitions by type name.
        files: Type name to the file that defines it.
    """

    def __init__(self, definitions: Mapping[str, Mapping[str, Any]], files: Mapping[str, Path]) -> None:
        self._definitions = {section: dict(definitions.get(section, {})) for section in SECTIONS}
        self._definitions["node_types"].update(_NORMATIVE)
        self._files = dict(files)
        self._merged: dict[tuple[str, str, str], dict[str, Any]] = {}

    def names(self, section: str) -> tuple[str, ...]:
        """Every type name of a section."""
        return tuple(self._definitions[section])

    def has(self, name: str, section: str = "node_types") -> bool:
        """Whether the type is defined."""
        return name in self._definitions[section]

    def file_of(self, name: str) -> Path | None:
        """The file that defines a type; ``None`` for TOSCA's own."""
        return self._files.get(name)

    def ancestors(self, name: str, section: str = "node_types") -> Iterator[str]:
        """The type itself, then what it derives from, up to the root; a circle ends where it closes."""
        seen: set[str] = set()
        while name and name not in seen:
            seen.add(name)
            yield name
            name = str(self._definitions[section].get(name, {}).get("derived_from", ""))

    def is_derived(self, name: str, ancestor: str, section: str = "node_types") -> bool:
        """Whether a type is ``ancestor`` or derives from it."""
        return ancestor in self.ancestors(name, section)

    def properties(self, name: str, section: str = "node_types") -> Mapping[str, PropertyDefinition]:
        """Properties of a type, inherited ones first."""
        return {key: _definition(key, value) for key, value in self._inherited(name, "properties", section).items()}

    def attributes(self, name: str) -> Mapping[str, PropertyDefinition]:
        """Attributes of a node type, inherited ones first."""
        return {
            key: _definition(key, value) for key, value in self._inherited(name, "attributes", "node_types").items()
        }

    def capabilities(self, name: str) -> Mapping[str, str]:
        """Capability name to capability type."""
        found = self._inherited(name, "capabilities", "node_types")
        return {key: str(value.get("type", "") if isinstance(value, dict) else value) for key, value in found.items()}

    def requirements(self, name: str) -> Mapping[str, RequirementDefinition]:
        """Requirements of a node type by name."""
        found: dict[str, RequirementDefinition] = {}
        for ancestor in reversed(tuple(self.ancestors(name))):
            for entry in self._definitions["node_types"].get(ancestor, {}).get("requirements", ()):
                found.update({key: _requirement(key, value) for key, value in entry.items()})
        return found

    def operations(self, name: str) -> Mapping[str, TypeOperation]:
        """Operations of the Standard interface that have an implementation, in the order of that interface.

        Raises:
            TypesError: An implementation names no artifact of the type.
        """
        return _operations(self, name)

    def default_properties(self, name: str) -> Mapping[str, Value]:
        """Values of the properties that have a default."""
        return _defaults(self, name)

    def _inherited(self, name: str, part: str, section: str) -> Mapping[str, Any]:
        key = (section, name, part)
        if key not in self._merged:
            merged: dict[str, Any] = {}
            for ancestor in reversed(tuple(self.ancestors(name, section))):
                merged.update(self._definitions[section].get(ancestor, {}).get(part, {}))
            self._merged[key] = merged
        return self._merged[key]

    def standard_interface(self, name: str) -> Mapping[str, Any]:
        """Operation name to its definition as written, inherited ones first."""
        merged: dict[str, Any] = {}
        for ancestor in reversed(tuple(self.ancestors(name))):
            interface = self._definitions["node_types"].get(ancestor, {}).get("interfaces", {}).get("Standard", {})
            merged.update(interface.get("operations", interface))
        return {key: merged[key] for key in STANDARD_OPERATIONS if key in merged}

    def metadata(self, name: str) -> Mapping[str, str]:
        """Metadata of a node type, inherited ones first."""
        return {key: str(value) for key, value in self._inherited(name, "metadata", "node_types").items()}

    def artifacts(self, name: str) -> Mapping[str, Any]:
        """Artifact name to its definition, inherited ones first."""
        return self._inherited(name, "artifacts", "node_types")


@lru_cache(maxsize=4096)
def _defaults(catalogue: TypeCatalogue, name: str) -> Mapping[str, Value]:
    found = catalogue.properties(name).items()
    return MappingProxyType({key: definition.default for key, definition in found if definition.has_default})


@lru_cache(maxsize=4096)
def _operations(catalogue: TypeCatalogue, name: str) -> Mapping[str, TypeOperation]:
    artifacts = catalogue.artifacts(name)
    found: dict[str, TypeOperation] = {}
    for operation, definition in catalogue.standard_interface(name).items():
        implementation = definition.get("implementation") if isinstance(definition, dict) else definition
        if implementation is None:
            continue
        primary = implementation.get("primary") if isinstance(implementation, dict) else implementation
        artifact = artifacts.get(str(primary))
        if artifact is None:
            raise TypesError(
                "An operation has no artifact.",
                detail=f"Operation {operation} of {name} is implemented by {primary!r}, which the type does not have.",
                resolution="Name an artifact of the type in its file under tosca/types.",
            )
        inputs = definition.get("inputs", {}) if isinstance(definition, dict) else {}
        values = {key: _input_value(value) for key, value in inputs.items()}
        found[operation] = TypeOperation(operation, str(artifact["type"]), str(artifact["file"]), values)
    return MappingProxyType(found)


def _input_value(definition: Any) -> Value:
    """An input's value: of a definition its ``value`` or ``default``, else the value itself."""
    if isinstance(definition, dict) and "type" in definition:
        return definition.get("value", definition.get("default"))
    return definition  # type: ignore[no-any-return]


def _definition(name: str, schema: Mapping[str, Any]) -> PropertyDefinition:
    return PropertyDefinition(
        name=name,
        type=str(schema.get("type", "string")),
        required=bool(schema.get("required", True)),
        has_default="default" in schema,
        default=schema.get("default"),
        description=str(schema.get("description", "")),
        schema=schema,
    )


def _requirement(name: str, value: Any) -> RequirementDefinition:
    definition = value if isinstance(value, dict) else {"capability": value}
    minimum, maximum = definition.get("occurrences", (1, 1))
    return RequirementDefinition(
        name=name,
        node=str(definition.get("node", "")),
        capability=str(definition.get("capability", "")),
        relationship=str(definition.get("relationship", "")),
        minimum=int(minimum),
        maximum=None if maximum == "UNBOUNDED" else int(maximum),
    )


def load_types(paths: Sequence[Path]) -> TypeCatalogue:
    """Read files of types.

    Raises:
        TypesError: A file cannot be read.
    """
    definitions: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    files: dict[str, Path] = {}
    for path in paths:
        try:
            content = load_plain(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
            raise TypesError("A file of types cannot be read.", detail=f"{path}: {problem}") from problem
        if not isinstance(content, dict):
            raise TypesError("A file of types cannot be read.", detail=f"{path} holds no mapping.")
        for section in SECTIONS:
            for name, definition in (content.get(section) or {}).items():
                definitions[section][name] = definition or {}
                files[name] = path
    return TypeCatalogue(definitions, files)


@cache
def shipped_types() -> TypeCatalogue:
    """The catalogue of everything under ``tosca/types``, read once."""
    return load_types(sorted(data_path("tosca", "types").glob("*.yaml")))
