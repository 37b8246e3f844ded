"""Reads network domains, layers and resources of a production file, and normalises the ways they are written."""

from __future__ import annotations

from orchestrator.diagnostics import Location
from orchestrator.production.model import (
    Accelerator,
    CloudFunctions,
    Layer,
    LayerType,
    NetworkDomain,
    OperatingSystem,
    Processor,
    Resource,
)
from orchestrator.production.units import parse_gigabytes, parse_megabytes
from orchestrator.topology.located import Scalar
from orchestrator.topology.reading import Section, did_you_mean

MAX_NODES = 1000
MAX_CORES = 4096
MAX_FUNCTION_CORES = 6.0
"""What a cloud function may have at most, by its memory, where the file does not say it."""

MAX_MEMORY_MB = 64 * 1024 * 1024
_ARCHITECTURES = {
    "amd64": "amd64",
    "x86_64": "amd64",
    "x86-64": "amd64",
    "x64": "amd64",
    "x86": "amd64",
    "intelx86": "amd64",
    "intel64": "amd64",
    "arm64": "arm64",
    "aarch64": "arm64",
    "armv8": "arm64",
    "armv8-a": "arm64",
    "arm": "arm64",
}
_NOTHING = ("none", "null", "")
_ESTIMATES = ("GFLOPS", "powerDraw")
"""What only an optimiser's estimates need of an accelerator."""

_FUNCTION_KEYS = ("architecture", "region", "idleTime", "transitionCost")


def has_domains(system: Section) -> bool:
    """Whether a file describes network domains, in either of the places where files do."""
    system.accept("NetworkDomains", "NetworkDomain")
    inner = system.section("Resources") if system.has("Resources") else None
    if inner is not None:
        inner.accept("NetworkDomains", "NetworkDomain")
    return system.has("NetworkDomains") or (inner is not None and inner.has("NetworkDomains"))


def read_domains(system: Section) -> tuple[NetworkDomain, ...]:
    """Every network domain, from ``NetworkDomains`` or ``Resources.NetworkDomains``."""
    parent = system
    if has_domains(system) and not system.has("NetworkDomains"):
        parent = system.section("Resources") or system
        detail = "'Resources.NetworkDomains' was taken for 'NetworkDomains'."
        system.findings.warning("A key is written differently.", detail, parent.key_place("NetworkDomains"))
    if parent.need("NetworkDomains", "the networks with their layers, here or in candidate_resources.yaml") is None:
        return ()
    domains = tuple(_domain(key, section) for key, section in parent.items("NetworkDomains"))
    if parent is not system:
        parent.finish(also=("name",))
    return domains


def _domain(key: str, section: Section) -> NetworkDomain:
    section.accept("ComputationalLayers", "ComputationalLayer")
    section.accept("subNetworkDomains", "subNetworkDomain", "SubNetworkDomains")
    domain = NetworkDomain(
        key=key,
        name=section.text("name") or key,
        access_delay=section.number("AccessDelay", unit="seconds"),
        bandwidth=section.number("Bandwidth", unit="Mbit/s"),
        sub_domains=tuple(item.text for item in section.texts("subNetworkDomains") if not item.is_null),
        layers=tuple(
            layer
            for name, inner in section.items("ComputationalLayers")
            if (layer := _layer(name, key, inner)) is not None
        ),
        place=section.place,
    )
    section.finish()
    return domain


def _layer(key: str, domain: str, section: Section) -> Layer | None:
    section.accept("Resources", "Resource", "resources")
    name = section.text("name") or key
    number = section.integer("number") if section.need("number", "the number that components refer to") else None
    kind = _layer_type(section)
    resources = tuple(_resource(name, inner, kind) for name, inner in section.items("Resources"))
    section.finish()
    if number is None:
        return None
    # A type that was refused is an error already; the layer stays, so that its components are not reported as well.
    return Layer(
        key,
        name,
        number,
        kind or LayerType.VIRTUAL,
        domain,
        resources,
        section.key_place("name"),
        section.value_place("number"),
    )


def _layer_type(section: Section) -> LayerType | None:
    text = section.need_text("type", f"one of {', '.join(LayerType)}")
    if not text:
        return None
    for kind in LayerType:
        if kind.value.casefold() == text.casefold():
            if kind.value != text:
                detail = f"{text!r} was taken for {kind.value!r}."
                section.findings.warning("A layer type is written differently.", detail, section.value_place("type"))
            return kind
    detail = f"{section.address}.type is {text!r}.{did_you_mean(text, (kind.value for kind in LayerType))}"
    section.findings.error("No such layer type.", detail, section.value_place("type"), section.address)
    return None


def _resource(key: str, section: Section, kind: LayerType | None) -> Resource:
    is_functions = kind is LayerType.NATIVE_CLOUD_FUNCTION
    section.accept("processors", "processor", "Processors")
    section.accept("accelerators", "accelerator", "Accelerators")
    name = section.need_text("name", "the name that containers select")
    resource = Resource(
        key=key,
        name=name or key,
        total_nodes=_count(section, "totalNodes", 1, 1, MAX_NODES, expected=not is_functions),
        description=section.text("description").strip(),
        flavor=_text_or_nothing(section, "flavorName"),
        cost=_positive(section, "cost", "per node and hour"),
        memory_mb=_memory(section, 1024),
        storage_gb=_storage(section),
        storage_type=_text_or_nothing(section, "storageType"),
        system=OperatingSystem(
            type=section.text("operatingSystemType").lower(),
            distribution=section.text("operatingSystemDistribution").lower(),
            version=section.text("operatingSystemVersion"),
            image_id=_reference(section, "operatingSystemImageId"),
        ),
        secure_boot=_flag(section, "secureBoot"),
        measured_boot=_flag(section, "measuredBoot"),
        spot=_flag(section, "onSpot"),
        processors=_processors(section, is_functions),
        accelerators=tuple(a for k, s in section.items("accelerators") for a in _accelerators(k, s)),
        place=section.key_place("name"),
        functions=_functions(section) if is_functions else None,
        places=section.value_places(),
    )
    section.finish(also=_FUNCTION_KEYS)
    return resource


def _functions(section: Section) -> CloudFunctions:
    return CloudFunctions(
        region=_text_or_nothing(section, "region"),
        idle_time=_positive(section, "idleTime", "seconds"),
        transition_cost=_positive(section, "transitionCost", "per hand-over"),
    )


def _processors(section: Section, is_functions: bool) -> tuple[Processor, ...]:
    """The processors; cloud functions have none, only an architecture, of which one stands for all."""
    found = tuple(_processor(key, inner) for key, inner in section.items("processors"))
    if found or not (is_functions or section.has("architecture")):
        if not found:
            detail = f"{section.address} names no processors; one amd64 core was assumed."
            section.findings.warning("A resource has no processors.", detail, section.place, section.address)
        return found
    architecture = _architecture(section) if section.has("architecture") else "amd64"
    units = _cores(section) if section.has("computingUnits") else MAX_FUNCTION_CORES if is_functions else 1.0
    return (Processor("architecture", "", "", architecture, units),)


def _processor(key: str, section: Section) -> Processor:
    processor = Processor(
        key=key,
        name=section.text("name") or key,
        type=section.text("type"),
        architecture=_architecture(section),
        computing_units=_cores(section),
        memory_gb=_positive(section, "internalMemory", "GB") or 0.0,
        sgx=_flag(section, "SGXFlag"),
    )
    section.finish()
    return processor


def _architecture(section: Section) -> str:
    text = section.text("architecture")
    if not text:
        detail = f"{section.address} names no architecture; amd64 was assumed."
        section.findings.warning("A processor has no architecture.", detail, section.place, section.address)
        return "amd64"
    found = _ARCHITECTURES.get(text.casefold())
    if found is None:
        detail = f"{section.address}.architecture is {text!r}.{did_you_mean(text, ('amd64', 'arm64'))}"
        section.findings.error("No such architecture.", detail, section.value_place("architecture"), section.address)
        return "amd64"
    if found != text:
        detail = f"{text!r} was taken for {found!r}."
        section.findings.warning("An architecture is written differently.", detail, section.value_place("architecture"))
    return found


def _accelerators(key: str, section: Section) -> tuple[Accelerator, ...]:
    """The processors of an accelerator; its own memory, in MB, goes before theirs, which may be a cache alone."""
    found: list[Accelerator] = []
    section.accept("memory", "memorySize")
    own = read_megabytes(section, "memory", 0) / 1024 if section.has("memory") else 0.0
    for _, inner in section.items("processors"):
        units = _count(inner, "computingUnits", 1, 0, 1024)
        memory = own or _positive(inner, "internalMemory", "GB") or 0.0
        found.append(Accelerator(key, inner.text("type"), inner.text("architecture"), units, memory))
        inner.finish(also=("name", "SGXFlag", "internalMemory"))
    section.finish(also=("name", "memory", *_ESTIMATES))
    return tuple(found)


def _count(section: Section, key: str, default: int, least: int, most: int, expected: bool = True) -> int:
    found = section.integer(key)
    if found is None:
        if expected and not section.has(key):
            detail = f"{section.address} has no {key!r}; {default} was assumed."
            section.findings.warning("A number is missing.", detail, section.place, section.address)
        return default
    if not least <= found <= most:
        detail = f"{section.address}.{key} is {found}; it must be from {least} to {most}."
        section.findings.error(
            "A number is out of range.", detail, section.value_place(key), f"{section.address}.{key}"
        )
        return default
    return found


def _cores(section: Section) -> float:
    found = section.number("computingUnits", unit="cores")
    if found is None:
        return 1.0
    if not 0 < found <= MAX_CORES:
        detail = f"{section.address}.computingUnits is {found:g}; it must be above 0 and at most {MAX_CORES}."
        section.findings.error(
            "A number is out of range.", detail, section.value_place("computingUnits"), section.address
        )
        return 1.0
    return found


def _positive(section: Section, key: str, unit: str) -> float | None:
    found = section.number(key, unit=unit)
    if found is not None and found < 0:
        detail = f"{section.address}.{key} is {found:g}; it cannot be below 0."
        section.findings.error(
            "A number is out of range.", detail, section.value_place(key), f"{section.address}.{key}"
        )
        return None
    return found


def _memory(section: Section, default: int) -> int:
    node = section.take("memorySize")
    if node is None:
        detail = f"{section.address} has no 'memorySize'; {default} MB was assumed."
        section.findings.warning("A number is missing.", detail, section.place, section.address)
        return default
    return read_megabytes(section, "memorySize", default)


def read_megabytes(section: Section, key: str, default: int) -> int:
    """Memory in MB; a text with a unit is turned into MB with a warning."""
    node = section.take(key)
    found = parse_megabytes(node.text) if isinstance(node, Scalar) else None
    if found is None:
        if node is not None:
            section.wrong(key, "a memory size in MB")
        return default
    if not 0 < found <= MAX_MEMORY_MB:
        detail = f"{section.address}.{key} is {found:g} MB; it must be above 0 and at most {MAX_MEMORY_MB}."
        section.findings.error(
            "A number is out of range.", detail, section.value_place(key), f"{section.address}.{key}"
        )
        return default
    if isinstance(node, Scalar) and isinstance(node.value, str):
        detail = f"{node.text!r} was taken for {found:g} MB."
        section.findings.warning("A size has a unit.", detail, node.location, f"{section.address}.{key}")
    return max(1, int(found))


def _storage(section: Section) -> float:
    node = section.take("storageSize")
    if node is None:
        return 0.0
    found = parse_gigabytes(node.text) if isinstance(node, Scalar) else None
    if found is None:
        section.wrong("storageSize", "a storage size in GB")
        return 0.0
    if isinstance(node, Scalar) and isinstance(node.value, str):
        detail = f"{node.text!r} was taken for {found:g} GB."
        section.findings.warning("A size has a unit.", detail, node.location, f"{section.address}.storageSize")
    return found


def _flag(section: Section, key: str) -> bool:
    """A boolean; the word ``string``, which templates leave behind, counts as false."""
    node = section.take(key)
    if isinstance(node, Scalar) and node.text.strip().casefold() in ("string", *_NOTHING):
        if node.text.strip().casefold() == "string":
            detail = f"{section.address}.{key} holds the word {node.text!r}, left over from a form; false was assumed."
            section.findings.warning(
                "A boolean was never filled in.", detail, node.location, f"{section.address}.{key}"
            )
        return False
    return section.boolean(key)


def _text_or_nothing(section: Section, key: str) -> str:
    text = section.text(key).strip()
    return "" if text.casefold() in _NOTHING else text


def _reference(section: Section, key: str) -> str:
    """A reference, which has no blanks: YAML puts some in where one is broken over lines."""
    return read_reference(section, key, _text_or_nothing(section, key), section.value_place(key))


def read_reference(section: Section, key: str, text: str, place: Location) -> str:
    """The text without the blanks in it; a warning tells of them."""
    joined = "".join(text.split())
    if joined != text.strip():
        detail = f"{text.strip()!r} has blanks in it, as one broken over lines has; it was taken for {joined!r}."
        section.findings.warning("A reference has blanks in it.", detail, place, f"{section.address}.{key}")
    return joined
