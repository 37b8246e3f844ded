"""Policies of the topology: where services run, what that costs, how fast, how well and how safe they have to be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.production.model import Annotations, DriftDetection, Production, Resource, SecurityNeeds
from orchestrator.production.naming import MAX_RESOURCE, resource_node, sanitise, shorten
from orchestrator.production.placement import is_cloud_functions, place_components, platform_node
from orchestrator.production.ways import DeployedNames, annotated_constraints, annotations_by_component
from orchestrator.topology.model import NodeTemplate, Policy, Value


def build_policies(model: Production, nodes: Mapping[str, NodeTemplate]) -> dict[str, Policy]:
    """Policies in the order placement, scaling, cost, quality of service, what the code asks for, security."""
    found = [
        *_placement(model),
        *_scaling(model, nodes),
        *_cost(model, nodes),
        *_quality(model),
        *_annotated(model),
        *_security(model),
    ]
    return {policy.name: policy for policy in found}


def _placement(model: Production) -> Iterable[Policy]:
    for placed in place_components(model).values():
        properties: dict[str, Value] = {"layer": placed.layer.number, "resource": placed.resource.name}
        yield _of_service("placement", placed.component.name, "Placement", properties)


def _of_service(prefix: str, component: str, kind: str, properties: Mapping[str, Value]) -> Policy:
    service = sanitise(component)
    return Policy(f"{prefix}-{service}", f"continuum.policies.{kind}", (f"service-{service}",), dict(properties))


def _scaling(model: Production, nodes: Mapping[str, NodeTemplate]) -> Iterable[Policy]:
    """Machines stay as many as the file has; of cloud functions there are none until they are used."""
    for layer in model.layers:
        for resource in layer.resources:
            functions = is_cloud_functions(layer)
            node = platform_node(layer, resource) if functions else resource_node(layer.number, resource.name)
            if node in nodes:
                fewest = 0 if functions else resource.total_nodes
                properties: dict[str, Value] = {"min_instances": fewest, "max_instances": resource.total_nodes}
                yield Policy(f"scaling-{node}", "continuum.policies.Scaling", (node,), properties)


def _cost(model: Production, nodes: Mapping[str, NodeTemplate]) -> Iterable[Policy]:
    for layer in model.layers:
        for resource in layer.resources:
            if is_cloud_functions(layer):
                node, properties = platform_node(layer, resource), _function_use(resource)
                if node in nodes and properties:
                    yield Policy(f"cost-{node}", "continuum.policies.FunctionUse", (node,), properties)
                continue
            node = resource_node(layer.number, resource.name)
            if resource.cost is not None and node in nodes:
                yield Policy(
                    f"cost-{node}", "continuum.policies.Cost", (node,), {"cost_per_hour": float(resource.cost)}
                )


def _function_use(resource: Resource) -> dict[str, Value]:
    functions = resource.functions
    numbers = (
        ("cost", resource.cost),
        ("transition_cost", functions.transition_cost if functions else None),
        ("idle_time", functions.idle_time if functions else None),
    )
    return {key: float(number) for key, number in numbers if number is not None}


def _quality(model: Production) -> Iterable[Policy]:
    """Longest times, of the files and of annotations; a component that was split has a way through its segments."""
    names = DeployedNames(model)
    taken: set[str] = set()
    for constraint in (*model.constraints, *annotated_constraints(model)):
        way = names.way(constraint.components)
        if not way:
            continue
        is_way = constraint.is_global or len(way) > 1
        properties: dict[str, Value] = {"path": list(way)} if is_way else {}
        properties["threshold"] = float(constraint.threshold)
        key = shorten(sanitise(constraint.key), MAX_RESOURCE)
        name = base = f"qos-{key}"
        if constraint.layer is not None:
            properties["execution_layer"] = constraint.layer
            name = base = f"qos-layer{constraint.layer}-{key}"
        number = 2
        while name in taken:
            name, number = f"{base}-{number}", number + 1
        taken.add(name)
        kind = "continuum.policies.GlobalQos" if is_way else "continuum.policies.LocalQos"
        yield Policy(name, kind, tuple(f"service-{sanitise(part)}" for part in way), properties)


def _annotated(model: Production) -> Iterable[Policy]:
    """What the code of components asks for; of a split component it is about all its segments."""
    names = DeployedNames(model)
    for name, found in model.annotations.items():
        targets = tuple(f"service-{sanitise(part)}" for part in names.of(name))
        if targets:
            for prefix, kind, properties in _asked(found):
                yield Policy(f"{prefix}-{sanitise(name)}", f"continuum.policies.{kind}", targets, properties)


def _asked(found: Annotations) -> Iterable[tuple[str, str, dict[str, Value]]]:
    """Prefix of the name, type and properties of each policy that annotations lead to."""
    if found.early_exits:
        yield "early-exits", "EarlyExits", {"probabilities": list(found.early_exits)}
    if found.throughput is not None:
        yield "throughput", "Throughput", {"requests_per_second": float(found.throughput)}
    if found.performance is not None:
        metric, least = found.performance
        yield "performance", "ModelPerformance", {"metric": metric, "threshold": float(least)}
    if found.device is not None:
        needs: dict[str, Value] = {"memory_mb": found.device.ram_mb, "video_memory_mb": found.device.vram_mb}
        yield "device", "DeviceConstraints", needs
    if found.drift is not None:
        yield "drift", "DriftDetection", _drift(found.drift)


def _drift(drift: DriftDetection) -> dict[str, Value]:
    properties: dict[str, Value] = {"metric": drift.metric, "field": drift.field, "statistical_test": drift.test}
    if drift.threshold is not None:
        properties["test_threshold"] = float(drift.threshold)
    properties["detection_interval"] = drift.interval
    properties["monitoring_period"] = drift.monitoring_period
    properties["data_collection_period"] = drift.collection_period
    return {key: value for key, value in properties.items() if value != ""}


def _security(model: Production) -> Iterable[Policy]:
    annotated = annotations_by_component(model)
    for component in model.components.values():
        container = component.container
        flags: dict[str, Value] = {
            "trusted_execution": container.trusted_execution,
            "network_protection": container.network_protection,
            "file_system_protection": container.file_system_protection,
        }
        annotations = annotated.get(component.name)
        asked = asked_shields(annotations.security) if annotations and annotations.security else ()
        if any(flags.values()) or asked:
            also: dict[str, Value] = {"asked": list(asked)} if asked else {}
            yield _of_service("security", component.name, "Security", {**flags, **also})


def asked_shields(needs: SecurityNeeds) -> tuple[str, ...]:
    """What an annotation asks for, in the words of the policy."""
    shields = {
        "trusted_execution": needs.trusted_execution,
        "network_shield": needs.network_shield,
        "file_system_shield": needs.file_system_shield,
        "confidentiality_of_processing": needs.confidentiality_of_processing,
        "integrity_of_processing": needs.integrity_of_processing,
        "confidentiality_at_rest": needs.confidentiality_at_rest,
    }
    return tuple(name for name, is_asked in shields.items() if is_asked)
