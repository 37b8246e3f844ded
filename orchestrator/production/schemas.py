"""JSON Schemas of the input files, for editors: the canonical spelling, and what else is read, marked as deprecated."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeAlias

from orchestrator.production.model import LayerType

Schema: TypeAlias = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def _text(description: str, *examples: str) -> Schema:
    found: Schema = {"type": ["string", "number", "boolean", "null"], "description": description}
    return found | ({"examples": list(examples)} if examples else {})


def _number(description: str, unit: str = "", **limits: float) -> Schema:
    plain: Schema = {"type": ["number", "null"], **limits}
    said = f"{description} ({unit})" if unit else description
    return {"description": said, "anyOf": [plain, {"type": "string", "deprecated": True}]}


def _flag(description: str) -> Schema:
    words = {"type": "string", "pattern": "^\\s*([Tt]rue|[Ff]alse|[Ss]tring|[Nn]one|)\\s*$", "deprecated": True}
    return {"description": description, "anyOf": [{"type": ["boolean", "null"]}, words]}


def _list(description: str, items: Schema | None = None) -> Schema:
    inner = items or {"type": ["string", "number", "null"]}
    return {"description": description, "anyOf": [{"type": ["array", "null"], "items": inner}, inner]}


def _mapping(
    description: str,
    properties: Schema,
    required: tuple[str, ...] = (),
    variants: dict[str, str] | None = None,
) -> Schema:
    """A mapping; ``variants`` are other spellings of its keys, which are read with a warning."""
    known = dict(properties)
    for other, key in (variants or {}).items():
        known[other] = properties[key] | {"deprecated": True, "description": f"Write {key}."}
    made: Schema = {"type": ["object", "null"], "description": description, "properties": known}
    needs = [
        {"anyOf": [{"required": [name]} for name in (key, *(o for o, k in (variants or {}).items() if k == key))]}
        for key in required
    ]
    return made | ({"allOf": needs} if needs else {})


def _each(description: str, inner: Schema) -> Schema:
    """A mapping whose keys are free; a list is read too, with a warning."""
    wrapped = {"type": ["array", "null"], "items": {"type": ["object", "null"]}, "deprecated": True}
    return {"description": description, "anyOf": [{"type": ["object", "null"], "additionalProperties": inner}, wrapped]}


def _processor() -> Schema:
    return _mapping(
        "A processor of each machine.",
        {
            "name": _text("Its name."),
            "type": _text("Its kind.", "SkyLake", "GPU"),
            "architecture": _text("amd64 or arm64; of an accelerator, its vendor and model.", "amd64", "arm64"),
            "computingUnits": _number("How many.", "cores", minimum=0),
            "internalMemory": _number("Its memory.", "GB", minimum=0),
            "SGXFlag": _flag("Whether it offers SGX enclaves."),
        },
    )


def _resource() -> Schema:
    accelerator = _mapping(
        "An accelerator of each machine.",
        {
            "name": _text("Its name."),
            "memory": _number("Its memory.", "MB", minimum=0),
            "processors": _each("Its processors.", _processor()),
            "GFLOPS": _number("For estimates only.", "GFLOPS"),
            "powerDraw": _number("For estimates only.", "W"),
        },
        variants={"memorySize": "memory"},
    )
    return _mapping(
        "Machines of one kind, or cloud functions.",
        {
            "name": _text("The name that containers select.", "RaspPi"),
            "totalNodes": _number("How many machines there are.", minimum=1, maximum=1000),
            "description": _text("For people."),
            "flavorName": _text("The cloud's name of the size of a machine.", "t3.large"),
            "cost": _number("What a machine costs.", "per hour", minimum=0),
            "memorySize": _number("Memory of each machine.", "MB", minimum=0),
            "storageSize": _number("Disk of each machine.", "GB", minimum=0),
            "storageType": _text("Kind of disk.", "SSD"),
            "operatingSystemType": _text("Kind of system.", "linux"),
            "operatingSystemDistribution": _text("Distribution.", "ubuntu"),
            "operatingSystemVersion": _text("Version, in quotes, as it is no number.", "22.04"),
            "operatingSystemImageId": _text("Image to start machines from.", "aws://eu-south-1/ami-0123456789abcdef0"),
            "secureBoot": _flag("Whether machines must boot securely."),
            "measuredBoot": _flag("Whether machines must measure their boot."),
            "onSpot": _flag("Whether machines may be spot instances, which the cloud can take back."),
            "processors": _each("Processors of each machine.", _processor()),
            "accelerators": _each("Accelerators of each machine.", accelerator),
            "architecture": _text("Of cloud functions: amd64 or arm64.", "amd64", "arm64"),
            "computingUnits": _number("Of cloud functions.", "cores", minimum=0),
            "region": _text("Of cloud functions: where they run.", "eu-south-1"),
            "idleTime": _number("Of cloud functions: how long one is kept.", "seconds", minimum=0),
            "transitionCost": _number("Of cloud functions.", "per hand-over", minimum=0),
        },
        ("name",),
        {
            "processor": "processors",
            "Processors": "processors",
            "accelerator": "accelerators",
            "Accelerators": "accelerators",
        },
    )


def _domains() -> Schema:
    kinds = [str(kind) for kind in LayerType]
    layer = _mapping(
        "A computational layer.",
        {
            "name": _text("Its name."),
            "number": _number("The number that components refer to."),
            "type": {
                "description": "What its resources are.",
                "anyOf": [{"enum": kinds}, {"type": "string", "deprecated": True}],
            },
            "Resources": _each("Its resources.", _resource()),
        },
        ("number", "type"),
        {"Resource": "Resources", "resources": "Resources"},
    )
    domain = _mapping(
        "A network, with the layers in it.",
        {
            "name": _text("Its name."),
            "AccessDelay": _number("Time to reach it.", "seconds"),
            "Bandwidth": _number("Of the way to it.", "Mbit/s"),
            "subNetworkDomains": _list("Keys of the network domains inside."),
            "ComputationalLayers": _each("Its computational layers.", layer),
        },
        variants={
            "ComputationalLayer": "ComputationalLayers",
            "subNetworkDomain": "subNetworkDomains",
            "SubNetworkDomains": "subNetworkDomains",
        },
    )
    return _each("The networks with their layers.", domain)


def _components() -> Schema:
    resources = _list("Name of the resource that it runs on.")
    layers = _list("Number of the layer that it runs on.")
    container = _mapping(
        "How the component runs.",
        {
            "image": _list("Container image; left out, it is built from the sources."),
            "memorySize": _number("Memory that it needs.", "MB", minimum=0),
            "computingUnits": _number("What it needs.", "cores", minimum=0, maximum=1024),
            "trustedExecution": _flag("Whether it runs in an enclave."),
            "networkProtection": _flag("Whether its traffic is shielded."),
            "fileSystemProtection": _flag("Whether its files are shielded."),
            "GPURequirement": _flag("Whether it needs a graphics processor."),
            "ExposeService": _flag("Whether it answers requests at an address of its own."),
            "selectedExecutionResource": resources,
            "candidateExecutionResources": resources,
            "executionLayer": layers,
            "candidateExecutionLayers": layers,
            "Containers": {"deprecated": True, "description": "A component inside another; move it to Components."},
        },
        variants={
            "selectedExecutionResources": "selectedExecutionResource",
            "candidateExecutionResource": "candidateExecutionResources",
            "executionLayers": "executionLayer",
            "candidateExecutionLayer": "candidateExecutionLayers",
        },
    )
    component = _mapping(
        "A component of the application.",
        {
            "name": _text("Its name; services have at most 39 characters.", "mask-detector"),
            "executionLayer": layers,
            "candidateExecutionLayers": layers,
            "Containers": _each("How it runs.", container),
            "infid": _text("What the runtime notes down."),
        },
        ("name", "Containers"),
        {
            "executionLayers": "executionLayer",
            "candidateExecutionLayer": "candidateExecutionLayers",
            "Container": "Containers",
            "containers": "Containers",
        },
    )
    return _each("The application's components.", component)


def _system(description: str, properties: Schema, variants: dict[str, str] | None = None) -> Schema:
    return _mapping(
        description,
        {"System": _mapping("The application.", properties, variants=variants)},
        ("System",),
        {"system": "System"},
    )


def _production() -> Schema:
    domains = _domains()
    resources = _mapping(
        "Another place of NetworkDomains.",
        {"name": _text("The application's name."), "NetworkDomains": domains},
        variants={"NetworkDomain": "NetworkDomains"},
    )
    inner: Schema = {
        "name": _text("The application's name."),
        "DeploymentName": _text("Which of the application's deployments this is.", "deployment1"),
        "Feasible": _flag("Whether the optimiser could meet all demands."),
        "toscas": {"description": "What the runtime notes down."},
        "Resources": resources,
        "NetworkDomains": domains,
        "Components": _components(),
    }
    variants = {"NetworkDomain": "NetworkDomains", "Component": "Components", "components": "Components"}
    system = _mapping("The application.", inner, variants=variants)
    top = {other: {"deprecated": True, "description": "Put this under System."} for other in inner}
    return _mapping("Which component runs on which resource of which layer.", {"System": system, **top}) | {
        "patternProperties": {"^system$": system | {"deprecated": True}}
    }


def _edges() -> Schema:
    edge = {"type": "array", "minItems": 2, "maxItems": 3, "examples": [["first", "second", 1]]}
    return {
        "type": ["array", "null"],
        "items": edge,
        "description": "Edges: [source, target, probability from 0 to 1].",
    }


def _dag() -> Schema:
    others = {"type": ["object", "null"], "additionalProperties": _list("Components that can take its place.")}
    return _system(
        "The order in which components pass their results on.",
        {
            "name": _text("The application's name."),
            "components": _list("Names of the components."),
            "dependencies": _edges(),
            "alternative_components": others,
        },
    )


def _partitions() -> Schema:
    one = _mapping("A component.", {"partitions": _list("Its partitions.")})
    return _mapping("How components are split.", {"components": _each("The components.", one)})


def _physical_nodes() -> Schema:
    host = _mapping(
        "A machine.",
        {
            "public_ip": _text("Its address from outside.", "203.0.113.5"),
            "private_ip": _text("Its address in its own network.", "192.0.2.5"),
            "ssh_user": _text("Whom to log in as.", "pi"),
            "ssh_key": _text("Private key to log in with; never shown."),
            "ssh_port": _number("Where SSH answers.", minimum=1, maximum=65535),
        },
    )
    store = _mapping("Its object store.", {"endpoint": _text("Its address.", "https://minio.example.org")})
    resource = _mapping(
        "Machines of a resource that exists.",
        {
            "name": _text("The resource's name in the production file."),
            "fe_node": host,
            "wns": {"type": ["array", "null"], "items": host, "description": "The other machines."},
            "minio": store,
            "oscar": _mapping("Its OSCAR.", {"name": _text("The cluster's name.")}),
            "influx": {"description": "Its InfluxDB."},
            "aws": {"description": "Its account at a cloud."},
        },
        ("name",),
    )
    layer = _mapping(
        "A layer.",
        {
            "number": _number("Its number in the production file."),
            "name": _text("Its name."),
            "type": _text("Its type."),
            "Resources": _each("Its resources.", resource),
        },
        ("number",),
    )
    return _mapping("Where physical machines are.", {"ComputationalLayers": _each("The layers.", layer)})


def _constraints() -> Schema:
    local = _mapping(
        "How long a component may take.",
        {"component_name": _text("The component."), "threshold": _number("The longest time.", "seconds")},
        ("component_name", "threshold"),
    )
    way = _mapping(
        "How long a way through the application may take.",
        {
            "path_components": _list("The components of the way, in order."),
            "threshold": _number("The longest time.", "seconds"),
        },
        ("path_components", "threshold"),
        {"components_path": "path_components"},
    )
    return {
        "local_constraints": _each("Limits of components.", local),
        "global_constraints": _each("Limits of ways.", way),
        "throughput_component": {"description": "Demands on throughput."},
    }


def _qos() -> Schema:
    more = {"name": _text("The application's name."), "throughput_constraints": {"description": "The same."}}
    return _system("Limits on time.", _constraints() | more)


def _multi_cluster_qos() -> Schema:
    layer = _mapping("An execution layer.", _constraints() | {"components": {"description": "Its components."}})
    deployment = _mapping("A deployment.", {"ExecutionLayers": _each("By the layer's number.", layer)})
    return _system(
        "Limits on time, for each layer of each deployment.",
        {"name": _text("The application's name."), "Deployments": _each("The deployments.", deployment)},
    )


def _annotations() -> Schema:
    def bare(inner: Schema) -> Schema:
        return {"anyOf": [inner, {"type": ["string", "number", "boolean", "null", "array"]}]}

    arguments: dict[str, Schema] = {
        "component_name": {"name": _text("The component.")},
        "exec_time": {
            "local_time_thr": _number("The component alone.", "seconds"),
            "global_time_thr": _number("With those before it.", "seconds"),
            "prev_components": _list("The components before it."),
        },
        "expected_throughput": {"rate": _number("How much it must take.", "requests a second")},
        "partitionable_model": {"onnx_file": _text("The model."), "num_partitions": _number("Into how many.")},
        "early_exits_model": {
            "onnx_file": _text("The model."),
            "condition_function": _text("What decides."),
            "transition_probabilities": _list("From 0 to 1."),
        },
        "model_performance": {
            "metric": _text("What is measured."),
            "metric_thr": _number("The least."),
            "filtered_class": {"description": "The class that counts."},
        },
        "device_constraints": {
            "ram": _number("Memory; above 128 it is taken for MB.", "GB"),
            "vram": _number("Graphics memory; above 0 it needs a GPU.", "GB"),
            "use_gpu_for": {"description": "What the GPU is for."},
        },
        "detect_metric_drift": {
            "metric": _text("What is watched."),
            "field": _text("Its field."),
            "statistical_test": _text("Which test."),
            "test_threshold": _number("When it is drift."),
            "detection_interval": _text("How often."),
            "monitoring_period": _text("Over how long."),
            "data_collection_period": _text("Since when."),
        },
        "security": {
            name: _flag("Whether it is asked for.")
            for name in (
                "trustedExecution",
                "networkShield",
                "filesystemShield",
                "confProc",
                "integrityProc",
                "confRest",
            )
        },
    }
    known = {name: bare(_mapping(f"Arguments of {name}.", inner)) for name, inner in arguments.items()}
    one = _mapping("What the code of a component is annotated with.", known | {"annotation": {}})
    listed = {"type": "array", "items": {"type": "object"}}
    return {
        "type": ["object", "null"],
        "description": "Keyed by the path of a component's main.py.",
        "additionalProperties": {"anyOf": [one, listed]},
    }


def _alternatives() -> Schema:
    metric = _mapping("What it was ranked by.", {"name": _text("What."), "value": _number("How much.")})
    one = _mapping(
        "An alternative; a key that begins with 'alternative' names it.",
        {"dependency": _edges(), "metric": metric},
        ("dependency",),
        {"dependencies": "dependency"},
    ) | {"patternProperties": {"^[Aa]lternative": {"description": "Its name."}}}
    listed = {"type": ["array", "null"], "items": one, "description": "Best first."}
    return _system(
        "Other ways through the application.",
        {"name": _text("The application's name."), "alternative_dependencies": listed},
    )


def _containers() -> Schema:
    one = _mapping("A component.", {"docker_images": _list("Its images, of all architectures.")})
    return _mapping("Images that were built.", {"components": _each("The components.", one)})


def _env() -> Schema:
    value = {"type": ["string", "number", "boolean", "null"]}
    said = "Environment variables of a component: names to values."
    return {"type": ["object", "null"], "description": said, "additionalProperties": value}


_SCHEMAS: dict[str, tuple[str, Callable[[], Schema]]] = {
    "production": ("production_deployment.yaml", _production),
    "candidate-resources": ("candidate_resources.yaml", _production),
    "candidate-deployments": ("candidate_deployments.yaml", _production),
    "dag": ("application_dag.yaml", _dag),
    "partitions": ("component_partitions.yaml", _partitions),
    "physical-nodes": ("physical_nodes.yaml", _physical_nodes),
    "qos": ("qos_constraints.yaml", _qos),
    "multi-cluster-qos": ("multi_cluster_qos_constraints.yaml", _multi_cluster_qos),
    "annotations": ("annotations.yaml", _annotations),
    "alternatives": ("alternative_workflows.yaml", _alternatives),
    "containers": ("containers.yaml", _containers),
    "env": ("env.yaml", _env),
}


def schema_names() -> dict[str, str]:
    """Name of each schema to the file that it describes."""
    return {name: title for name, (title, _) in _SCHEMAS.items()}


def render_schema(name: str) -> str:
    """A schema as JSON text.

    Raises:
        KeyError: If there is none of that name.
    """
    title, build = _SCHEMAS[name]
    return json.dumps({"$schema": DIALECT, "title": title, **build()}, indent=2, ensure_ascii=False) + "\n"
