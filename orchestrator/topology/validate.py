"""Checks a topology against its types: our own checks first, then tosca-parser as a second opinion."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from orchestrator.diagnostics import Diagnostic, Location, error
from orchestrator.topology.functions import FunctionError, Scope, function_of, resolve
from orchestrator.topology.model import NodeTemplate, Topology, Value
from orchestrator.topology.property_check import type_problem
from orchestrator.topology.reading import did_you_mean
from orchestrator.topology.types import PropertyDefinition, RequirementDefinition, TypeCatalogue, TypesError

Places: TypeAlias = Callable[[tuple[str, ...]], Location | None]
"""Gives the place for a path such as ``("node_templates", "a", "properties", "size")``."""

MAX_INSTANCES = 1000


def nowhere(_path: tuple[str, ...]) -> Location | None:
    """For a topology that was never a file."""
    return None


def check_topology(topology: Topology, catalogue: TypeCatalogue, places: Places = nowhere) -> tuple[Diagnostic, ...]:
    """Every way in which the topology does not fit its types."""
    checker = _Checker(topology, catalogue, places)
    for node in topology.nodes.values():
        checker.node(node)
    checker.groups()
    checker.policies()
    checker.outputs()
    checker.cycle()
    return tuple(checker.found)


class _Checker:
    def __init__(self, topology: Topology, catalogue: TypeCatalogue, places: Places) -> None:
        self.topology = topology
        self.catalogue = catalogue
        self.places = places
        self.found: list[Diagnostic] = []

    def report(self, summary: str, detail: str, *path: str) -> None:
        address = ".".join(path[1:]) if len(path) > 1 else ""
        self.found.append(error(summary, detail, address=address, location=self.places(path)))

    def node(self, node: NodeTemplate) -> None:
        here = ("node_templates", node.name)
        if not self.catalogue.has(node.type):
            hint = did_you_mean(
                node.type, (n for n in self.catalogue.names("node_types") if n.startswith("continuum."))
            )
            self.report("No such type.", f"Node {node.name} has type {node.type!r}.{hint}", *here, "type")
            return
        try:
            self.catalogue.operations(node.type)
        except TypesError as problem:
            self.report(problem.summary, problem.detail, *here, "type")
        self._properties(node.properties, self.catalogue.properties(node.type), (*here, "properties"), node)
        self._capabilities(node)
        self._requirements(node)
        for name, artifact in node.artifacts.items():
            known = artifact.type.startswith("tosca.") or self.catalogue.has(artifact.type, "artifact_types")
            if not known:
                hint = did_you_mean(artifact.type, self.catalogue.names("artifact_types"))
                self.report(
                    "No such type.", f"Artifact {name} has type {artifact.type!r}.{hint}", *here, "artifacts", name
                )
            if artifact.file.startswith("/") or ".." in Path(artifact.file).parts:
                detail = f"{artifact.file!r} leads out of the template's folder; sources must lie inside it."
                self.report("A file lies outside.", detail, *here, "artifacts", name, "file")

    def _properties(
        self,
        values: Mapping[str, Value],
        definitions: Mapping[str, PropertyDefinition],
        path: tuple[str, ...],
        node: NodeTemplate | None,
    ) -> None:
        for name, value in values.items():
            definition = definitions.get(name)
            if definition is None:
                hint = did_you_mean(name, definitions)
                self.report("No such property.", f"{path[1]} has a property {name!r}.{hint}", *path, name)
            elif not self._has_function(value, (*path, name), node):
                problem = type_problem(value, definition.schema)
                if problem:
                    detail = f"Property {name} of {path[1]} {problem}."
                    self.report("A property has the wrong value.", detail, *path, name)
        for name, definition in definitions.items():
            if definition.required and not definition.has_default and values.get(name) is None:
                detail = f"{path[1]} must have property {name!r}: {definition.description.rstrip('.')}."
                self.report("A property is missing.", detail, *path[:2])

    def _has_function(self, value: Value, path: tuple[str, ...], node: NodeTemplate | None) -> bool:
        """Whether a function is anywhere in the value; checks that it has a result."""
        if not any(_functions(value)):
            return False
        if node is None:
            self.report(
                "A function has no place here.", "Functions stand in properties of nodes and in outputs.", *path
            )
            return True
        try:
            self._attributes(resolve(value, Scope(self.topology, self.catalogue, node)), path)
        except FunctionError as problem:
            self.report(problem.summary, problem.detail, *path)
        return True

    def _attributes(self, value: Value, path: tuple[str, ...]) -> None:
        for function in _functions(value):
            name, arguments = function
            if name != "get_attribute" or not isinstance(arguments, list) or len(arguments) < 2:
                continue
            node = self.topology.nodes.get(str(arguments[0]))
            known = self.catalogue.attributes(node.type) if node else {}
            if node is not None and str(arguments[1]) not in known:
                hint = did_you_mean(str(arguments[1]), known)
                detail = f"Node {node.name} has no attribute {arguments[1]!r}.{hint}"
                self.report("A function has no result.", detail, *path)

    def _capabilities(self, node: NodeTemplate) -> None:
        here = ("node_templates", node.name, "capabilities")
        known = self.catalogue.capabilities(node.type)
        for name in node.capabilities:
            if name not in known:
                detail = f"Node {node.name} has a capability {name!r}.{did_you_mean(name, known)}"
                self.report("No such capability.", detail, *here, name)
        scalable = node.capabilities.get("scalable", {})
        for name, count in scalable.items():
            if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MAX_INSTANCES:
                detail = f"{name} of {node.name} is {count!r}; it must be a whole number from 0 to {MAX_INSTANCES}."
                self.report("A number is out of range.", detail, *here, "scalable", "properties", name)

    def _requirements(self, node: NodeTemplate) -> None:
        here = ("node_templates", node.name, "requirements")
        known = self.catalogue.requirements(node.type)
        counts: dict[str, int] = {}
        for requirement in node.requirements:
            counts[requirement.name] = counts.get(requirement.name, 0) + 1
            definition = known.get(requirement.name)
            target = self.topology.nodes.get(requirement.node)
            if definition is None:
                hint = did_you_mean(requirement.name, known)
                self.report(
                    "No such requirement.", f"Node {node.name} has a requirement {requirement.name!r}.{hint}", *here
                )
            elif target is None:
                hint = did_you_mean(requirement.node, self.topology.nodes)
                detail = f"Node {node.name} requires {requirement.node!r} as its {requirement.name}.{hint}"
                self.report("A node that is required is not there.", detail, *here)
            elif not self._fits(target, definition):
                wanted, found = definition.node, target.type
                detail = f"{requirement.name} of {node.name} must be a {wanted}; {target.name} is a {found}."
                self.report("A requirement points to the wrong type.", detail, *here)
            if requirement.relationship and not self._known_relationship(requirement.relationship):
                hint = did_you_mean(requirement.relationship, self.catalogue.names("relationship_types"))
                self.report("No such type.", f"{requirement.relationship!r} is no relationship type.{hint}", *here)
        for name, definition in known.items():
            count = counts.get(name, 0)
            if count < definition.minimum or (definition.maximum is not None and count > definition.maximum):
                most = "any number" if definition.maximum is None else str(definition.maximum)
                allowed = f"from {definition.minimum} to {most} are allowed"
                detail = f"Node {node.name} has {count} of requirement {name!r}; {allowed}."
                self.report("The number of requirements is wrong.", detail, *here)

    def _fits(self, target: NodeTemplate, definition: RequirementDefinition) -> bool:
        """Whether the target has the type that is required; an unknown type is reported elsewhere."""
        known = bool(definition.node) and self.catalogue.has(target.type)
        return not known or self.catalogue.is_derived(target.type, definition.node)

    def _known_relationship(self, name: str) -> bool:
        return name.startswith("tosca.relationships.") or self.catalogue.has(name, "relationship_types")

    def groups(self) -> None:
        for group in self.topology.groups.values():
            here = ("groups", group.name)
            if self._known(group.type, "group_types", here):
                definitions = self.catalogue.properties(group.type, "group_types")
                self._properties(group.properties, definitions, (*here, "properties"), None)
            self._members(group.members, self.topology.nodes, (*here, "members"))

    def policies(self) -> None:
        targets = {**self.topology.nodes, **self.topology.groups}
        for policy in self.topology.policies.values():
            here = ("policies", policy.name)
            if self._known(policy.type, "policy_types", here):
                definitions = self.catalogue.properties(policy.type, "policy_types")
                self._properties(policy.properties, definitions, (*here, "properties"), None)
            self._members(policy.targets, targets, (*here, "targets"))

    def _known(self, name: str, section: str, here: tuple[str, ...]) -> bool:
        if self.catalogue.has(name, section):
            return True
        hint = did_you_mean(name, self.catalogue.names(section))
        self.report("No such type.", f"{here[1]} has type {name!r}.{hint}", *here, "type")
        return False

    def _members(self, names: Iterable[str], known: Collection[str], here: tuple[str, ...]) -> None:
        for name in names:
            if name not in known:
                self.report("No such node.", f"{here[1]} names {name!r}.{did_you_mean(name, known)}", *here)

    def outputs(self) -> None:
        for name, value in self.topology.outputs.items():
            here = ("outputs", name, "value")
            for function, arguments in _functions(value):
                first = str(arguments[0]) if isinstance(arguments, list) and arguments else ""
                node = self.topology.nodes.get(first)
                if node is None:
                    hint = did_you_mean(first, self.topology.nodes) if first else ""
                    self.report("No such node.", f"Output {name} takes {function} of {first!r}.{hint}", *here)
                elif self.catalogue.has(node.type):
                    self._has_function({function: arguments}, here, node)

    def cycle(self) -> None:
        """Report one circle of requirements."""
        edges = {
            n.name: [r.node for r in n.requirements if r.node in self.topology.nodes]
            for n in self.topology.nodes.values()
        }
        waiting = {name: len(targets) for name, targets in edges.items()}
        users: dict[str, list[str]] = {}
        for name, targets in edges.items():
            for target in targets:
                users.setdefault(target, []).append(name)
        ready = [name for name, count in waiting.items() if count == 0]
        for name in ready:  # grows while it is walked
            for user in users.get(name, ()):
                waiting[user] -= 1
                if waiting[user] == 0:
                    ready.append(user)
        left = set(edges) - set(ready)
        if not left:
            return
        path = [next(name for name in edges if name in left)]
        while path.count(path[-1]) == 1:
            path.append(next(t for t in edges[path[-1]] if t in left))
        circle = path[path.index(path[-1]) :]
        detail = f"{' → '.join(circle)}: each requires the next, so that none can be made first."
        self.report("Nodes require each other in a circle.", detail, "node_templates", circle[0], "requirements")


def _functions(value: Value) -> Iterable[tuple[str, Value]]:
    found = function_of(value)
    if found is not None:
        yield found
    elif isinstance(value, list):
        for item in value:
            yield from _functions(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _functions(item)
