"""Schemas of the files beside a production file: order, machines, limits, annotations and images."""

from __future__ import annotations

from orchestrator.production.schema_forms import Schema, each, flag, listing, mapping, number, system, text


def _edges() -> Schema:
    edge = {"type": "array", "minItems": 2, "maxItems": 3, "examples": [["first", "second", 1]]}
    return {
        "type": ["array", "null"],
        "items": edge,
        "description": "Edges: [source, target, probability from 0 to 1].",
    }


def dag_schema() -> Schema:
    """Of application_dag.yaml."""
    others = {"type": ["object", "null"], "additionalProperties": listing("Components that can take its place.")}
    return system(
        "The order in which components pass their results on.",
        {
            "name": text("The application's name."),
            "components": listing("Names of the components."),
            "dependencies": _edges(),
            "alternative_components": others,
        },
    )


def partitions_schema() -> Schema:
    """Of component_partitions.yaml."""
    one = mapping("A component.", {"partitions": listing("Its partitions.")})
    return mapping("How components are split.", {"components": each("The components.", one)})


def physical_nodes_schema() -> Schema:
    """Of physical_nodes.yaml."""
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


def qos_schema() -> Schema:
    """Of qos_constraints.yaml."""
    more = {"name": text("The application's name."), "throughput_constraints": {"description": "The same."}}
    return system("Limits on time.", _constraints() | more)


def multi_cluster_qos_schema() -> Schema:
    """Of multi_cluster_qos_constraints.yaml."""
    layer = mapping("An execution layer.", _constraints() | {"components": {"description": "Its components."}})
    deployment = mapping("A deployment.", {"ExecutionLayers": each("By the layer's number.", layer)})
    return system(
        "Limits on time, for each layer of each deployment.",
        {"name": text("The application's name."), "Deployments": each("The deployments.", deployment)},
    )


def annotations_schema() -> Schema:
    """Of annotations.yaml."""

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


def alternatives_schema() -> Schema:
    """Of alternative_workflows.yaml."""
    metric = mapping("What it was ranked by.", {"name": text("What."), "value": number("How much.")})
    one = mapping(
        "An alternative; a key that begins with 'alternative' names it.",
        {"dependency": _edges(), "metric": metric},
        ("dependency",),
        {"dependencies": "dependency"},
    ) | {"patternProperties": {"^[Aa]lternative": {"description": "Its name."}}}
    listed = {"type": ["array", "null"], "items": one, "description": "Best first."}
    return system(
        "Other ways through the application.",
        {"name": text("The application's name."), "alternative_dependencies": listed},
    )


def containers_schema() -> Schema:
    """Of containers.yaml."""
    one = mapping("A component.", {"docker_images": listing("Its images, of all architectures.")})
    return mapping("Images that were built.", {"components": each("The components.", one)})


def env_schema() -> Schema:
    """Of env.yaml."""
    value = {"type": ["string", "number", "boolean", "null"]}
    said = "Environment variables of a component: names to values."
    return {"type": ["object", "null"], "description": said, "additionalProperties": value}
