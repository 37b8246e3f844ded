"""JSON Schemas of the input files, for editors: the canonical spelling, and what else is read, marked as deprecated."""

from __future__ import annotations

import json
from collections.abc import Callable

from orchestrator.production.model import LayerType
from orchestrator.production.schema_forms import Schema, each, flag, listing, mapping, number, text, with_definitions

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def _processor() -> Schema:
    return mapping(
        "A processor of each machine.",
        {
            "name": text("Its name."),
            "type": text("Its kind.", "SkyLake", "GPU"),
            "architecture": text("amd64 or arm64; of an accelerator, its vendor and model.", "amd64", "arm64"),
            "computingUnits": number("How many.", "cores", minimum=0),
            "internalMemory": number("Its memory.", "GB", minimum=0),
            "SGXFlag": flag("Whether it offers SGX enclaves."),
        },
    )


def _resource() -> Schema:
    accelerator = mapping(
        "An accelerator of each machine.",
        {
            "name": text("Its name."),
            "memory": number("Its memory.", "MB", minimum=0),
            "processors": each("Its processors.", _processor()),
            "GFLOPS": number("For estimates only.", "GFLOPS"),
            "powerDraw": number("For estimates only.", "W"),
        },
        variants={"memorySize": "memory"},
    )
    return mapping(
        "Machines of one kind, or cloud functions.",
        {
            "name": text("The name that containers select.", "RaspPi"),
            "totalNodes": number("How many machines there are.", minimum=1, maximum=1000),
            "description": text("For people."),
            "flavorName": text("The cloud's name of the size of a machine.", "t3.large"),
            "cost": number("What a machine costs.", "per hour", minimum=0),
            "memorySize": number("Memory of each machine.", "MB", minimum=0),
            "storageSize": number("Disk of each machine.", "GB", minimum=0),
            "storageType": text("Kind of disk.", "SSD"),
            "operatingSystemType": text("Kind of system.", "linux"),
            "operatingSystemDistribution": text("Distribution.", "ubuntu"),
            "operatingSystemVersion": text("Version, in quotes, as it is no number.", "22.04"),
            "operatingSystemImageId": text("Image to start machines from.", "aws://eu-south-1/ami-0123456789abcdef0"),
            "secureBoot": flag("Whether machines must boot securely."),
            "measuredBoot": flag("Whether machines must measure their boot."),
            "onSpot": flag("Whether machines may be spot instances, which the cloud can take back."),
            "processors": each("Processors of each machine.", _processor()),
            "accelerators": each("Accelerators of each machine.", accelerator),
            "architecture": text("Of cloud functions: amd64 or arm64.", "amd64", "arm64"),
            "computingUnits": number("Of cloud functions.", "cores", minimum=0),
            "region": text("Of cloud functions: where they run.", "eu-south-1"),
            "idleTime": number("Of cloud functions: how long one is kept.", "seconds", minimum=0),
            "transitionCost": number("Of cloud functions.", "per hand-over", minimum=0),
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
    layer = mapping(
        "A computational layer.",
        {
            "name": text("Its name."),
            "number": number("The number that components refer to."),
            "type": {
                "description": "What its resources are.",
                "anyOf": [{"enum": kinds}, {"type": "string", "deprecated": True}],
            },
            "Resources": each("Its resources.", _resource()),
        },
        ("number", "type"),
        {"Resource": "Resources", "resources": "Resources"},
    )
    domain = mapping(
        "A network, with the layers in it.",
        {
            "name": text("Its name."),
            "AccessDelay": number("Time to reach it.", "seconds"),
            "Bandwidth": number("Of the way to it.", "Mbit/s"),
            "subNetworkDomains": listing("Keys of the network domains inside."),
            "ComputationalLayers": each("Its computational layers.", layer),
        },
        variants={
            "ComputationalLayer": "ComputationalLayers",
            "subNetworkDomain": "subNetworkDomains",
            "SubNetworkDomains": "subNetworkDomains",
        },
    )
    return each("The networks with their layers.", domain)


def _components() -> Schema:
    resources = listing("Name of the resource that it runs on.")
    layers = listing("Number of the layer that it runs on.")
    container = mapping(
        "How the component runs.",
        {
            "image": listing("Container image; left out, it is built from the sources."),
            "memorySize": number("Memory that it needs.", "MB", minimum=0),
            "computingUnits": number("What it needs.", "cores", minimum=0, maximum=1024),
            "trustedExecution": flag("Whether it runs in an enclave."),
            "networkProtection": flag("Whether its traffic is shielded."),
            "fileSystemProtection": flag("Whether its files are shielded."),
            "GPURequirement": flag("Whether it needs a graphics processor."),
            "ExposeService": flag("Whether it answers requests at an address of its own."),
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
    component = mapping(
        "A component of the application.",
        {
            "name": text("Its name; services have at most 39 characters.", "mask-detector"),
            "executionLayer": layers,
            "candidateExecutionLayers": layers,
            "Containers": each("How it runs.", container),
            "infid": text("What the runtime notes down."),
        },
        ("name", "Containers"),
        {
            "executionLayers": "executionLayer",
            "candidateExecutionLayer": "candidateExecutionLayers",
            "Container": "Containers",
            "containers": "Containers",
        },
    )
    return each("The application's components.", component)


def _system(description: str, properties: Schema, variants: dict[str, str] | None = None) -> Schema:
    return mapping(
        description,
        {"System": mapping("The application.", properties, variants=variants)},
        ("System",),
        {"system": "System"},
    )


def _production() -> Schema:
    domains = _domains()
    resources = mapping(
        "Another place of NetworkDomains.",
        {"name": text("The application's name."), "NetworkDomains": domains},
        variants={"NetworkDomain": "NetworkDomains"},
    )
    inner: Schema = {
        "name": text("The application's name."),
        "DeploymentName": text("Which of the application's deployments this is.", "deployment1"),
        "Feasible": flag("Whether the optimiser could meet all demands."),
        "toscas": {"description": "What the runtime notes down."},
        "Resources": resources,
        "NetworkDomains": domains,
        "Components": _components(),
    }
    variants = {"NetworkDomain": "NetworkDomains", "Component": "Components", "components": "Components"}
    system = mapping("The application.", inner, variants=variants)
    top = {other: {"deprecated": True, "description": "Put this under System."} for other in inner}
    known = {"System": system, **top}
    return mapping("Which component runs on which resource of which layer.", known, variants={"system": "System"})


def _edges() -> Schema:
    edge = {"type": "array", "minItems": 2, "maxItems": 3, "examples": [["first", "second", 1]]}
    return {
        "type": ["array", "null"],
        "items": edge,
        "description": "Edges: [source, target, probability from 0 to 1].",
    }


def _dag() -> Schema:
    others = {"type": ["object", "null"], "additionalProperties": listing("Components that can take its place.")}
    return _system(
        "The order in which components pass their results on.",
        {
            "name": text("The application's name."),
            "components": listing("Names of the components."),
            "dependencies": _edges(),
            "alternative_components": others,
        },
    )


def _partitions() -> Schema:
    one = mapping("A component.", {"partitions": listing("Its partitions.")})
    return mapping("How components are split.", {"components": each("The components.", one)})


def _physical_nodes() -> Schema:
    host = mapping(
        "A machine.",
        {
            "public_ip": text("Its address from outside.", "203.0.113.5"),
            "private_ip": text("Its address in its own network.", "192.0.2.5"),
            "role": text("What it runs of its cluster; fe_node is a server, others are agents.", "server", "agent"),
            "ssh_user": text("Whom to log in as.", "pi"),
            "ssh_key": text("Private key to log in with; never shown."),
            "ssh_port": number("Where SSH answers.", minimum=1, maximum=65535),
            "jump": text("Machines to go through, as user@host:port, separated by commas.", "pi@192.0.2.1"),
            "become_password": text("Reference to the password for sudo.", "secret:pi-sudo", "env:PI_SUDO"),
            "key_passphrase": text("Reference to the passphrase of the private key.", "env:KEY_PASSPHRASE"),
            "host_key": text(
                "Its host key or fingerprint; learned at first contact if left out.", "ssh-ed25519 AAAA…", "SHA256:…"
            ),
        },
    )
    secret = text("A secret; never kept or shown.")
    endpoint = text("Its address.", "https://minio.example.org")
    store = mapping("Its object store.", {"endpoint": endpoint, "access_key": secret, "secret_key": secret})
    authority = text("File with the certificate that signs it.", "~/ca.pem")
    login = {"endpoint": endpoint, "user": text("Login name."), "ca_cert": authority}
    oscar = mapping("Its OSCAR.", {"name": text("The cluster's name."), "password": secret} | login)
    cluster = mapping(
        "Its Kubernetes cluster, if one is there already.",
        {
            "kubeconfig": text("File by which it is reached, or a reference.", "~/.kube/edge.yaml"),
            "context": text("Which context of that file; its own choice if left out."),
            "endpoint": text("Where its API answers, without such a file.", "https://192.0.2.5:6443"),
            "ca_cert": authority,
            "token": text("Reference to a bearer token.", "secret:edge-reader"),
            "version": text("Version that it has to have, or its beginning.", "v1.33"),
        },
    )
    influx = mapping("Its InfluxDB.", {"endpoint": text("Its address."), "token": secret})
    bucket, region = text("Where results go."), text("Where functions run.", "eu-south-1")
    aws = mapping(
        "Its account at AWS.", {"bucket": bucket, "region": region, "access_key": secret, "secret_key": secret}
    )
    resource = mapping(
        "Machines of a resource that exists.",
        {
            "name": text("The resource's name in the production file."),
            "fe_node": host,
            "wns": {"type": ["array", "null"], "items": host, "description": "The other machines."},
            "kubernetes": cluster,
            "minio": store,
            "oscar": oscar,
            "influx": influx,
            "aws": aws,
        },
        ("name",),
    )
    layer = mapping(
        "A layer.",
        {
            "number": number("Its number in the production file."),
            "name": text("Its name."),
            "type": text("Its type."),
            "Resources": each("Its resources.", resource),
        },
        ("number",),
    )
    return mapping("Where physical machines are.", {"ComputationalLayers": each("The layers.", layer)})


def _constraints() -> Schema:
    local = mapping(
        "How long a component may take.",
        {"component_name": text("The component."), "threshold": number("The longest time.", "seconds")},
        ("component_name", "threshold"),
    )
    way = mapping(
        "How long a way through the application may take.",
        {
            "path_components": listing("The components of the way, in order."),
            "threshold": number("The longest time.", "seconds"),
        },
        ("path_components", "threshold"),
        {"components_path": "path_components"},
    )
    return {
        "local_constraints": each("Limits of components.", local),
        "global_constraints": each("Limits of ways.", way),
        "throughput_component": {"description": "Demands on throughput."},
    }


def _qos() -> Schema:
    more = {"name": text("The application's name."), "throughput_constraints": {"description": "The same."}}
    return _system("Limits on time.", _constraints() | more)


def _multi_cluster_qos() -> Schema:
    layer = mapping("An execution layer.", _constraints() | {"components": {"description": "Its components."}})
    deployment = mapping("A deployment.", {"ExecutionLayers": each("By the layer's number.", layer)})
    return _system(
        "Limits on time, for each layer of each deployment.",
        {"name": text("The application's name."), "Deployments": each("The deployments.", deployment)},
    )


def _annotations() -> Schema:
    def bare(inner: Schema) -> Schema:
        return {"anyOf": [inner, {"type": ["string", "number", "boolean", "null", "array"]}]}

    arguments: dict[str, Schema] = {
        "component_name": {"name": text("The component.")},
        "exec_time": {
            "local_time_thr": number("The component alone.", "seconds"),
            "global_time_thr": number("With those before it.", "seconds"),
            "prev_components": listing("The components before it."),
        },
        "expected_throughput": {"rate": number("How much it must take.", "requests a second")},
        "partitionable_model": {"onnx_file": text("The model."), "num_partitions": number("Into how many.")},
        "early_exits_model": {
            "onnx_file": text("The model."),
            "condition_function": text("What decides."),
            "transition_probabilities": listing("From 0 to 1."),
        },
        "model_performance": {
            "metric": text("What is measured."),
            "metric_thr": number("The least."),
            "filtered_class": {"description": "The class that counts."},
        },
        "device_constraints": {
            "ram": number("Memory; above 128 it is taken for MB.", "GB"),
            "vram": number("Graphics memory; above 0 it needs a GPU.", "GB"),
            "use_gpu_for": {"description": "What the GPU is for."},
        },
        "detect_metric_drift": {
            "metric": text("What is watched."),
            "field": text("Its field."),
            "statistical_test": text("Which test."),
            "test_threshold": number("When it is drift."),
            "detection_interval": text("How often."),
            "monitoring_period": text("Over how long."),
            "data_collection_period": text("Since when."),
        },
        "security": {
            name: flag("Whether it is asked for.")
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
    known = {name: bare(mapping(f"Arguments of {name}.", inner)) for name, inner in arguments.items()}
    one = mapping("What the code of a component is annotated with.", known | {"annotation": {}})
    listed = {"type": "array", "items": {"type": "object"}}
    return {
        "type": ["object", "null"],
        "description": "Keyed by the path of a component's main.py.",
        "additionalProperties": {"anyOf": [one, listed]},
    }


def _alternatives() -> Schema:
    metric = mapping("What it was ranked by.", {"name": text("What."), "value": number("How much.")})
    one = mapping(
        "An alternative; a key that begins with 'alternative' names it.",
        {"dependency": _edges(), "metric": metric},
        ("dependency",),
        {"dependencies": "dependency"},
    ) | {"patternProperties": {"^[Aa]lternative": {"description": "Its name."}}}
    listed = {"type": ["array", "null"], "items": one, "description": "Best first."}
    return _system(
        "Other ways through the application.",
        {"name": text("The application's name."), "alternative_dependencies": listed},
    )


def _containers() -> Schema:
    one = mapping("A component.", {"docker_images": listing("Its images, of all architectures.")})
    return mapping("Images that were built.", {"components": each("The components.", one)})


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
    return (
        json.dumps({"$schema": DIALECT, "title": title, **with_definitions(build())}, indent=2, ensure_ascii=False)
        + "\n"
    )
