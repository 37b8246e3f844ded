"""Schema of production files: layers with their resources, and the components on them."""

from __future__ import annotations

from orchestrator.production.model import LayerType
from orchestrator.production.schema_forms import Schema, each, flag, listing, mapping, number, text


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


def production_schema() -> Schema:
    """A production file, and others of its form."""
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
