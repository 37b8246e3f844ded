"""Expands a topology into the wanted node instances and applies a profile to them. Pure: no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from orchestrator.diagnostics import Diagnostic, Location, error
from orchestrator.errors import DeployError
from orchestrator.planning.chosen_providers import PROVIDER_OPTION, contradictions, with_choice
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.planning.profile import OPTION_FUNCTION, OPTION_HERE_FUNCTION, Match, OperationRule, Profile, Rule
from orchestrator.planning.records import FRONT
from orchestrator.planning.substitution import Substitution
from orchestrator.state.former import is_former
from orchestrator.topology.functions import Scope, node_properties, resolve
from orchestrator.topology.model import NodeTemplate, Topology, Value
from orchestrator.topology.types import COMPONENT_IMAGE, STANDARD_OPERATIONS, TypeCatalogue, UnknownTypeError

_FIELD = re.compile(r"\{([a-z_][a-z0-9_.]*)\}")
_SOURCE = "source"


class MissingNodeError(DeployError):
    """A node requires one that the template does not have."""

    exit_code = 2

    def __init__(self, node: str, requirement: str, target: str) -> None:
        super().__init__(
            "A node that is required is not there.",
            detail=f"Node {node} requires {target!r} as its {requirement}; there is no such node.",
            resolution="Correct the name in the service template.",
        )


class ReservedNameError(DeployError):
    """A node is called as only a former instance may be."""

    exit_code = 2

    def __init__(self, node: str) -> None:
        super().__init__(
            "The name of a node cannot be used.",
            detail=f"Node {node!r} ends in @ and a number, as only the address of something that moved away does.",
            resolution="Give it another name in the service template.",
        )


def instance_addresses(node: NodeTemplate) -> tuple[str, ...]:
    """Addresses of a template's instances: ``name[i]`` if it has a count, else ``name``."""
    if node.is_scalable:
        return tuple(f"{node.name}[{i}]" for i in range(node.instance_count))
    return (node.name,)


def images_without_source(topology: Topology, catalogue: TypeCatalogue) -> Mapping[str, str]:
    """Image nodes that cannot be built since the sources are not there: node name to the reference to take instead."""
    return {
        node.name: str(node.properties.get("image", ""))
        for node in topology.nodes.values()
        if catalogue.is_derived(node.type, COMPONENT_IMAGE) and _SOURCE not in node.artifacts
    }


def desired_instances(
    topology: Topology,
    catalogue: TypeCatalogue,
    profile: Profile,
    options: Mapping[str, str],
    unavailable_images: frozenset[str] = frozenset(),
) -> tuple[dict[str, DesiredInstance], tuple[Substitution, ...]]:
    """Every wanted node instance, by address, and what the profile puts in the place of the real thing.

    Args:
        topology: What is wanted.
        catalogue: Its types.
        profile: Which machines, and what to substitute.
        options: Options of the profile; the rest have their defaults.
        unavailable_images: Names of image nodes, or references of images, that cannot be had.

    Raises:
        DeployError: A type, node, property or option does not exist.
    """
    chosen = profile.resolve_options(options)
    instances: dict[str, DesiredInstance] = {}
    substitutions: list[Substitution] = []
    rules_of = _RulesByType(profile, catalogue)
    for node in topology.nodes.values():
        if not catalogue.has(node.type):
            raise UnknownTypeError(node.type)
        if is_former(node.name):
            raise ReservedNameError(node.name)
        view = _View(Scope(topology, catalogue, node), chosen, unavailable_images, profile.image_schemes)
        rules = tuple(rule for rule in rules_of(node.type) if view.matches(rule.match))
        for index, address in enumerate(instance_addresses(node)):
            instances[address] = _instance(address, view.at(index), rules)
        for rule in rules:
            substitutions.extend(
                Substitution(node.name, view.fill(s.what), view.fill(s.by), view.fill(s.why))
                for s in rule.substitutions
            )
    return instances, tuple(substitutions)


def check_profile(
    topology: Topology,
    catalogue: TypeCatalogue,
    profile: Profile,
    options: Mapping[str, str],
    places: Mapping[str, Location] | None = None,
) -> tuple[Diagnostic, ...]:
    """What the profile refuses to deploy, as errors.

    Args:
        topology: What is wanted.
        catalogue: Its types.
        profile: The profile.
        options: Its options.
        places: Node name to the place that a message should point to.
    """
    chosen = profile.resolve_options(options)
    text = chosen.get(PROVIDER_OPTION, "")
    found = list(contradictions(topology, catalogue, profile.image_schemes, text, places or {}))
    rules_of = _RulesByType(profile, catalogue)
    for node in topology.nodes.values():
        refusing = [rule for rule in rules_of(node.type) if rule.refusal]
        if not refusing:
            continue
        view = _View(Scope(topology, catalogue, node), chosen, frozenset(), profile.image_schemes)
        for rule in refusing:
            if rule.refusal and view.matches(rule.match):
                detail = view.fill(rule.refusal.detail)
                place = (places or {}).get(node.name)
                found.append(error(rule.refusal.summary, detail, address=node.name, location=place))
    return tuple(found)


class _RulesByType:
    """The rules that may match nodes of a type: what a rule asks of the type is looked up once a type, not a node."""

    def __init__(self, profile: Profile, catalogue: TypeCatalogue) -> None:
        self._profile = profile
        self._catalogue = catalogue
        self._found: dict[str, tuple[Rule, ...]] = {}

    def __call__(self, node_type: str) -> tuple[Rule, ...]:
        if node_type not in self._found:
            self._found[node_type] = tuple(
                rule
                for rule in self._profile.rules
                if not rule.match.types or any(self._catalogue.is_derived(node_type, t) for t in rule.match.types)
            )
        return self._found[node_type]


class _View:
    """A node as the rules of a profile see it."""

    def __init__(
        self, scope: Scope, options: Mapping[str, str], unavailable: frozenset[str], schemes: Mapping[str, str]
    ) -> None:
        self.scope = scope
        self.options = options
        self.unavailable = unavailable
        self.schemes = schemes
        self.properties = with_choice(node_properties(scope), scope, options.get(PROVIDER_OPTION, ""), schemes)
        self.provider = ""

    def at(self, index: int) -> _View:
        """The same node, seen from one of its instances."""
        if not index:
            return self
        return _View(replace(self.scope, index=index), self.options, self.unavailable, self.schemes)

    def matches(self, match: Match) -> bool:
        """Whether everything that the match asks for, besides the type, is so."""
        node = self.scope.node
        return (
            all(self.properties.get(key) == value for key, value in match.properties.items())
            and all(
                node.capabilities.get(name, {}).get(key) == value
                for name, values in match.capabilities.items()
                for key, value in values.items()
            )
            and all(self._is_like(key, pattern) for key, pattern in match.like.items())
            and not any(self._is_like(key, p) for key, patterns in match.unlike.items() for p in patterns)
            and all(self.options.get(key) == value for key, value in match.options.items())
            and self._differs(match.differs)
            and (not match.unavailable_image or self._is_unavailable())
        )

    def _is_like(self, name: str, pattern: str) -> bool:
        return fnmatchcase(str(self.properties.get(name, "")), pattern)

    def _differs(self, texts: tuple[str, ...]) -> bool:
        if not texts:
            return True
        filled = {self.fill(text) for text in texts}
        return len(filled) > 1 and "" not in filled

    def _is_unavailable(self) -> bool:
        names = {self.scope.node.name, str(self.properties.get("image", ""))}
        return _SOURCE not in self.scope.node.artifacts and bool(names & self.unavailable)

    def fill(self, text: str) -> str:
        """The text with its fields replaced.

        ``{property}``, ``{capability.property}``, ``{option.name}``, and ``{place_of.property}`` for what stands for
        the place in a property of the form ``scheme://place/identifier``.
        """
        return _FIELD.sub(lambda found: self._field(found.group(1)), text)

    def _field(self, name: str) -> str:
        head, dot, tail = name.partition(".")
        if head == "option":
            value: Value = self.options.get(tail)
        elif head == "place_of":
            value = _place_in(str(self.properties.get(tail) or ""))
        elif dot:
            value = self.scope.node.capabilities.get(head, {}).get(tail)
        elif name == "count":
            value = self.scope.node.instance_count
        else:
            value = self.properties.get(name)
        return "" if value is None else str(value)

    def value(self, value: Value) -> Value:
        """A value of the type or the profile with its functions replaced."""
        return resolve(self._with_options(value), self.scope)

    def _with_options(self, value: Value) -> Value:
        if isinstance(value, list):
            return [self._with_options(item) for item in value]
        if isinstance(value, dict):
            if set(value) == {OPTION_FUNCTION}:
                return self.options.get(str(value[OPTION_FUNCTION]), "")
            if set(value) == {OPTION_HERE_FUNCTION}:
                return _option_at(self.provider, self.options.get(str(value[OPTION_HERE_FUNCTION]), ""))
            return {key: self._with_options(item) for key, item in value.items()}
        return value


def _place_in(text: str) -> str:
    """``eu-central-1`` of ``aws://eu-central-1/ami-1``; empty if there is none."""
    place, slash, identifier = text.partition("://")[2].partition("/")
    return place if slash and identifier else ""


def _option_at(provider: str, text: str) -> str:
    """What of an option holds for a provider: its own entry, else the one that names none."""
    entries = [entry.strip().rpartition("=") for entry in text.split(",")]
    found = {name.strip(): value.strip() for name, _, value in entries}
    return found.get(provider) or found.get("", "")


def _instance(address: str, view: _View, rules: Iterable[Rule]) -> DesiredInstance:
    scope = view.scope
    node = scope.node
    operations = _operations_of(view, node.type)
    disposable = False
    settings: dict[str, Value] = {}
    requirements = _requirements(scope)
    for rule in rules:
        view.provider = view.fill(rule.provider) or view.provider
    for rule in rules:
        if rule.behind_first and scope.index > 0:
            requirements[FRONT] = (instance_addresses(node)[0],)
        disposable = disposable if rule.disposable is None else rule.disposable
        settings.update({key: view.value(value) for key, value in rule.settings.items()})
        if rule.operations_of:
            operations.update(_operations_of(view, rule.operations_of))
        for name, change in rule.operations.items():
            operations[name] = _changed(operations.get(name, Operation(name, "", "")), change, view)
    return DesiredInstance(
        address=address,
        node=node.name,
        type=node.type,
        index=scope.index,
        provider=view.provider,
        disposable=disposable,
        properties=view.properties,
        capabilities={n: {k: view.value(v) for k, v in values.items()} for n, values in node.capabilities.items()},
        settings=settings,
        artifacts={name: artifact.file for name, artifact in node.artifacts.items()},
        requirements=requirements,
        operations={name: operations[name] for name in STANDARD_OPERATIONS if name in operations},
    )


def _operations_of(view: _View, type_name: str) -> dict[str, Operation]:
    if not view.scope.catalogue.has(type_name):
        raise UnknownTypeError(type_name)
    return {
        name: Operation(name, found.artifact_type, found.file, {k: view.value(v) for k, v in found.inputs.items()})
        for name, found in view.scope.catalogue.operations(type_name).items()
    }


def _changed(operation: Operation, change: OperationRule, view: _View) -> Operation:
    return Operation(
        name=operation.name,
        artifact_type=change.artifact_type or operation.artifact_type,
        file=change.file or operation.file,
        inputs={**operation.inputs, **{key: view.value(value) for key, value in change.inputs.items()}},
    )


def _requirements(scope: Scope) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for requirement in scope.node.requirements:
        target = scope.topology.nodes.get(requirement.node)
        if target is None:
            raise MissingNodeError(scope.node.name, requirement.name, requirement.node)
        found[requirement.name] = (*found.get(requirement.name, ()), *instance_addresses(target))
    return found
