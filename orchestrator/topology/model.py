"""A TOSCA service template as frozen values; the contract between compiling and everything after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"
"""What YAML can hold; TOSCA functions are one-key dicts such as ``{"get_property": [node, name]}``."""

EMPTY: Mapping[str, Value] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Requirement:
    """A named requirement of a node template: ``name`` in the type's words, ``node`` the template it points to."""

    name: str
    node: str
    relationship: str = ""
    properties: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that belongs to a node template; ``file`` is relative to the service template's folder."""

    file: str
    type: str


@dataclass(frozen=True, slots=True)
class NodeTemplate:
    """A desired node: one entry of ``node_templates``. Order of requirements is kept."""

    name: str
    type: str
    properties: Mapping[str, Value] = field(default_factory=dict)
    capabilities: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    requirements: tuple[Requirement, ...] = ()
    artifacts: Mapping[str, Artifact] = field(default_factory=dict)
    description: str = ""

    @property
    def instance_count(self) -> int:
        """How many node instances are wanted: ``scalable.default_instances``, 1 if not given."""
        count = self.capabilities.get("scalable", {}).get("default_instances", 1)
        return count if isinstance(count, int) else 1

    @property
    def is_scalable(self) -> bool:
        """Whether instances are addressed as ``name[i]`` (a count was given) or as ``name``."""
        return "default_instances" in self.capabilities.get("scalable", {})


@dataclass(frozen=True, slots=True)
class Group:
    """A named set of node templates, e.g. a computational layer."""

    name: str
    type: str
    members: tuple[str, ...]
    properties: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Policy:
    """A rule over targets (node templates or groups)."""

    name: str
    type: str
    targets: tuple[str, ...]
    properties: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Topology:
    """A whole service template.

    Attributes:
        name: The deployment's name, sanitised (``[a-z0-9-]``, at most 40 characters); ``metadata.template_name``.
        description: Free text.
        nodes: By name, in the order of the template.
        groups: By name.
        policies: By name.
        outputs: Name to value, usually a ``get_attribute`` function.
    """

    name: str
    description: str = ""
    nodes: Mapping[str, NodeTemplate] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    outputs: Mapping[str, Value] = field(default_factory=dict)

    def dependants(self, name: str) -> tuple[NodeTemplate, ...]:
        """Every node template with a requirement on ``name``."""
        return tuple(n for n in self.nodes.values() if any(r.node == name for r in n.requirements))
