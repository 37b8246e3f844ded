"""Reads annotations.yaml: what the code of each component is annotated with."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from orchestrator.production.model import Annotations, DeviceConstraints, DriftDetection, SecurityNeeds
from orchestrator.production.naming import partition_of, sanitise
from orchestrator.production.read_companions import open_mapping
from orchestrator.topology.located import Mapping, Scalar, Sequence
from orchestrator.topology.reading import Findings, Section

MAX_GIGABYTES = 128
"""A larger number in ``device_constraints`` is taken for MB: GB are documented, and files in use hold 1024 or 2048."""

_MEANINGLESS = ("annotation", "component_name")
_INNER_FOLDER = re.compile(r"src|base|partition[0-9X]+[-_]\d+")
"""Folders below that of a component, in ``aisprint/designs/<component>/base`` and the like."""


def read_annotations(path: Path, components: Collection[str], findings: Findings) -> dict[str, Annotations]:
    """What each component is annotated with, by the component's name.

    Args:
        path: The file; its keys are paths of the components' ``main.py``.
        components: Names of the components that are deployed; one that was split is kept under the name of the whole.
        findings: Where reports go.
    """
    top = open_mapping(path, findings)
    if top is None:
        return {}
    known = {sanitise(name): name for name in components}
    whole = {sanitise(partition_of(name)[0]): partition_of(name)[0] for name in components if partition_of(name)[1]}
    found: dict[str, Annotations] = {}
    for key in top.node.entries:
        section = _entry(top, key)
        if section is None:
            continue
        written = _component_name(section, key)
        folded = sanitise(written)
        name = known.get(folded) or whole.get(folded)
        annotations = _read(name or written, section)
        if name is None:
            detail = f"{key} is about {written!r}, which is not deployed; what it is annotated with is left out."
            findings.note("Annotations of a component that is not deployed.", detail, section.place, key)
        elif name in found:
            detail = f"{name!r} was annotated before, in line {found[name].place.line}; this is left out."
            findings.warning("A component is annotated twice.", detail, section.place, key)
        else:
            found[name] = annotations
    return found


def _entry(top: Section, key: str) -> Section | None:
    """The annotations of one file; a list of them is taken as one mapping."""
    node = top.take(key)
    if node is None:
        return None
    if isinstance(node, Mapping):
        return Section(node, key, top.findings)
    if isinstance(node, Sequence) and all(isinstance(item, Mapping) for item in node.items):
        return Section(_merged(node), key, top.findings)
    top.wrong(key, "a mapping of annotations to their arguments")
    return None


def _component_name(section: Section, path: str) -> str:
    """The component that a file belongs to: what its annotation says, else the folder that the file is in."""
    node = section.take("component_name")
    if isinstance(node, Scalar):
        return node.text.strip()
    inner = _arguments(section, "component_name")
    if inner is not None:
        name = inner.text("name").strip()
        inner.finish()
        if name:
            return name
    file = PurePosixPath(path.replace("\\", "/"))
    parts = file.parts[:-1] if file.suffix == ".py" else file.parts
    return next((part for part in reversed(parts) if not _INNER_FOLDER.fullmatch(part)), file.stem)


def _arguments(section: Section, name: str) -> Section | None:
    """The arguments of an annotation; ``None`` if it is not there or bare."""
    node = section.take(name)
    if isinstance(node, Sequence) and all(isinstance(item, Mapping) for item in node.items):
        return Section(_merged(node), f"{section.address}.{name}", section.findings)
    if isinstance(node, Scalar) and node.is_null:
        return None
    return section.section(name)


def _merged(items: Sequence) -> Mapping:
    """A list of mappings as one."""
    merged = Mapping(items.source, items.line, items.column)
    for item in items.items:
        if isinstance(item, Mapping):
            merged.entries.update(item.entries)
            merged.keys.update(item.keys)
    return merged


def _read(component: str, section: Section) -> Annotations:
    times = _arguments(section, "exec_time")
    local = _positive(times, "local_time_thr", "seconds")
    whole = _positive(times, "global_time_thr", "seconds")
    previous = tuple(item.text for item in times.texts("prev_components") if not item.is_null) if times else ()
    rate = _arguments(section, "expected_throughput")
    partitionable = _arguments(section, "partitionable_model")
    exits = _arguments(section, "early_exits_model")
    performance = _arguments(section, "model_performance")
    made = Annotations(
        component=component,
        place=section.place,
        local_time=local,
        global_time=whole,
        previous=previous,
        throughput=_positive(rate, "rate", "requests a second"),
        partitions=_partitions(partitionable),
        early_exits=_probabilities(exits),
        performance=_performance(performance),
        device=_device(_arguments(section, "device_constraints")),
        drift=_drift(_arguments(section, "detect_metric_drift")),
        security=_security(_arguments(section, "security")),
    )
    for inner in (times, rate):
        if inner is not None:
            inner.finish()
    for inner, unused in ((partitionable, ("onnx_file",)), (exits, ("onnx_file", "condition_function"))):
        if inner is not None:
            inner.finish(also=unused)
    section.finish(also=_MEANINGLESS)
    return made


def _positive(section: Section | None, key: str, unit: str) -> float | None:
    if section is None:
        return None
    found = section.number(key, unit=unit)
    if found is not None and found <= 0:
        detail = f"{section.address}.{key} is {found:g}; it must be above 0."
        section.findings.error("A number is out of range.", detail, section.value_place(key), section.address)
        return None
    return found


def _partitions(section: Section | None) -> int:
    if section is None:
        return 0
    found = section.integer("num_partitions", 2)
    if found is not None and found < 1:
        detail = f"{section.address}.num_partitions is {found}; it must be at least 1."
        section.findings.error(
            "A number is out of range.", detail, section.value_place("num_partitions"), section.address
        )
        return 0
    return 2 if found is None else found


def _probabilities(section: Section | None) -> tuple[float, ...]:
    if section is None:
        return ()
    found: list[float] = []
    for item in section.texts("transition_probabilities"):
        value = item.value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            detail = f"A transition probability is a number from 0 to 1; this is {item.text[:60]!r}."
            section.findings.error("A probability is not understood.", detail, item.location, section.address)
        else:
            found.append(float(value))
    return tuple(found)


def _performance(section: Section | None) -> tuple[str, float] | None:
    if section is None:
        return None
    metric, threshold = section.text("metric"), section.number("metric_thr")
    section.finish(also=("filtered_class",))
    return (metric, threshold) if metric and threshold is not None else None


def _device(section: Section | None) -> DeviceConstraints | None:
    if section is None:
        return None
    made = DeviceConstraints(_megabytes(section, "ram"), _megabytes(section, "vram"), section.place)
    section.finish(also=("use_gpu_for",))
    return made


def _megabytes(section: Section, key: str) -> int:
    """Memory that is documented in GB, in MB."""
    found = section.number(key, unit="GB")
    if found is None or found == 0:
        return 0
    if found < 0 or found > 64 * 1024 * 1024:
        detail = f"{section.address}.{key} is {found:g}; it must be from 0 to {64 * 1024 * 1024}."
        section.findings.error("A number is out of range.", detail, section.value_place(key), section.address)
        return 0
    if found <= MAX_GIGABYTES:
        return round(found * 1024)
    detail = f"{section.address}.{key} is {found:g}: above {MAX_GIGABYTES} it is taken for MB, not for GB."
    section.findings.warning("A size is not in GB.", detail, section.value_place(key), f"{section.address}.{key}")
    return round(found)


def _drift(section: Section | None) -> DriftDetection | None:
    if section is None:
        return None
    made = DriftDetection(
        metric=section.text("metric"),
        field=section.text("field"),
        test=section.text("statistical_test"),
        threshold=section.number("test_threshold"),
        interval=section.text("detection_interval"),
        monitoring_period=section.text("monitoring_period"),
        collection_period=section.text("data_collection_period"),
    )
    section.finish()
    return made


def _security(section: Section | None) -> SecurityNeeds | None:
    if section is None:
        return None
    made = SecurityNeeds(
        trusted_execution=section.boolean("trustedExecution"),
        network_shield=section.boolean("networkShield"),
        file_system_shield=section.boolean("filesystemShield"),
        confidentiality_of_processing=section.boolean("confProc"),
        integrity_of_processing=section.boolean("integrityProc"),
        confidentiality_at_rest=section.boolean("confRest"),
    )
    section.finish()
    return made
