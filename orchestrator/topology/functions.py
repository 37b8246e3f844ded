"""Replaces TOSCA functions whose result is known before anything runs; ``get_attribute`` waits until it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.errors import DeployError
from orchestrator.topology.model import NodeTemplate, Topology, Value
from orchestrator.topology.types import TypeCatalogue

FUNCTIONS = frozenset({"get_property", "get_attribute", "get_input", "concat", "token"})
SELF = "SELF"
INDEX = "INDEX"
"""Stands for the position of the instance among those of its template."""


class FunctionError(DeployError):
    """A TOSCA function has no result."""

    exit_code = 2

    def __init__(self, node: str, function: Value, reason: str) -> None:
        super().__init__(
            "A function has no result.",
            detail=f"{function} in node {node}: {reason}.",
            resolution="Correct the names that the function is given.",
        )


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a function stands: a node template of a topology, and which of its instances."""

    topology: Topology
    catalogue: TypeCatalogue
    node: NodeTemplate
    index: int = 0

    def of(self, node: NodeTemplate) -> Scope:
        """The same in another node."""
        return Scope(self.topology, self.catalogue, node, self.index)


def function_of(value: Value) -> tuple[str, Value] | None:
    """Name and arguments, if the value is a function."""
    if isinstance(value, dict) and len(value) == 1:
        name, arguments = next(iter(value.items()))
        if name in FUNCTIONS:
            return name, arguments
    return None


def resolve(value: Value, scope: Scope) -> Value:
    """The value with every function replaced that can be.

    ``get_attribute`` stays, with ``SELF`` and requirement names replaced by the node they mean.

    Raises:
        FunctionError: A name does not exist, or functions refer to each other in a circle.
    """
    return _resolve(value, scope, ())


def node_properties(scope: Scope) -> dict[str, Value]:
    """Every property of the scope's node: defaults of its type, then what the template gives; functions resolved."""
    values = {**scope.catalogue.default_properties(scope.node.type), **scope.node.properties}
    return {key: resolve(value, scope) for key, value in values.items()}


def _resolve(value: Value, scope: Scope, trail: tuple[tuple[str, str], ...]) -> Value:
    if isinstance(value, list):
        return [_resolve(item, scope, trail) for item in value]
    if not isinstance(value, Mapping):
        return value
    function = function_of(value)
    if function is None:
        return {key: _resolve(item, scope, trail) for key, item in value.items()}
    name, arguments = function
    if name == "get_property":
        return _property(value, arguments, scope, trail)
    if name == "get_attribute":
        return _attribute(value, arguments, scope)
    if name == "concat" and isinstance(arguments, list):
        parts = [_resolve(item, scope, trail) for item in arguments]
        return {"concat": parts} if any(function_of(p) for p in parts) else "".join(str(p) for p in parts)
    raise FunctionError(scope.node.name, value, "this function is not supported")


def _start(value: Value, arguments: Value, scope: Scope) -> tuple[NodeTemplate, list[str]]:
    """The node that the arguments mean, and the arguments after it."""
    if not isinstance(arguments, list) or len(arguments) < 2:
        raise FunctionError(scope.node.name, value, "it needs a node and a name")
    first, rest = str(arguments[0]), [str(scope.index) if a == INDEX else str(a) for a in arguments[1:]]
    if first == SELF:
        return scope.node, rest
    node = scope.topology.nodes.get(first)
    if node is None:
        raise FunctionError(scope.node.name, value, f"there is no node {first!r}")
    return node, rest


def _through_requirement(node: NodeTemplate, rest: list[str], scope: Scope) -> tuple[NodeTemplate, list[str]]:
    """Follow a requirement if the first argument names one and more follows."""
    if len(rest) > 1:
        for requirement in node.requirements:
            if requirement.name == rest[0] and requirement.node in scope.topology.nodes:
                return scope.topology.nodes[requirement.node], rest[1:]
    return node, rest


def _property(value: Value, arguments: Value, scope: Scope, trail: tuple[tuple[str, str], ...]) -> Value:
    node, rest = _start(value, arguments, scope)
    node, rest = _through_requirement(node, rest, scope)
    name = rest[0]
    if (node.name, ".".join(rest)) in trail:
        raise FunctionError(scope.node.name, value, "the properties refer to each other in a circle")
    known = {**scope.catalogue.default_properties(node.type), **node.properties}
    if name in known:
        found, rest = known[name], rest[1:]
    elif len(rest) > 1 and rest[1] in node.capabilities.get(name, {}):
        found, rest = node.capabilities[name][rest[1]], rest[2:]
    elif len(rest) == 1 and name in scope.catalogue.properties(node.type):
        return None
    else:
        raise FunctionError(scope.node.name, value, f"node {node.name} has no property {'.'.join(rest)!r}")
    found = _resolve(found, scope.of(node), (*trail, (node.name, ".".join((name, *rest)))))
    for step in rest:
        if isinstance(found, list) and step.isdigit() and int(step) < len(found):
            found = found[int(step)]
        elif isinstance(found, dict) and step in found:
            found = found[step]
        else:
            raise FunctionError(scope.node.name, value, f"there is nothing at {step!r}")
    return found


def _attribute(value: Value, arguments: Value, scope: Scope) -> Value:
    node, rest = _start(value, arguments, scope)
    node, rest = _through_requirement(node, rest, scope)
    return {"get_attribute": [node.name, *rest]}
