"""Writes a topology as a TOSCA 1.3 service template: stable, readable, the same bytes for the same input."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache

from orchestrator.topology.functions import function_of
from orchestrator.topology.located import implicit_tag
from orchestrator.topology.model import Artifact, NodeTemplate, Requirement, Topology, Value

DEFINITIONS_VERSION = "tosca_simple_yaml_1_3"
TYPES_FILE = "continuum.yaml"

_PLAIN = re.compile(r"[A-Za-z/_][A-Za-z0-9 _./()+-]*")


def render_template(topology: Topology, imports: Sequence[str] = (TYPES_FILE,)) -> str:
    """The service template as YAML text, which ``parse_template`` reads back to an equal topology.

    Args:
        topology: What to write.
        imports: Files of types, relative to where the template will lie.
    """
    lines = [f"tosca_definitions_version: {DEFINITIONS_VERSION}", "", "metadata:"]
    lines.append(f"  template_name: {_scalar(topology.name)}")
    if topology.description:
        lines += ["", f"description: {_scalar(topology.description)}"]
    lines += ["", "imports:", *(f"  - {_scalar(name)}" for name in imports), "", "topology_template:"]
    sections: list[list[str]] = []
    if topology.nodes:
        sections.append(_section("node_templates", (_node(n) for n in topology.nodes.values())))
    if topology.groups:
        groups = (_entry(g.name, g.type, "members", g.members, g.properties) for g in topology.groups.values())
        sections.append(_section("groups", groups))
    if topology.policies:
        policies = (_entry(p.name, p.type, "targets", p.targets, p.properties) for p in topology.policies.values())
        sections.append(
            ["  policies:", *(f"    - {line}" if line[0] != " " else f"      {line}" for p in policies for line in p)]
        )
    if topology.outputs:
        outputs = ([f"{_scalar(name)}:", *_pair("value", value, 1)] for name, value in topology.outputs.items())
        sections.append(_section("outputs", outputs))
    if not sections:
        lines[-1] += " {}"
    for position, section in enumerate(sections):
        lines += [*([""] if position else []), *section]
    return "\n".join(lines) + "\n"


def _section(name: str, entries: Iterable[list[str]]) -> list[str]:
    lines = [f"  {name}:"]
    for position, entry in enumerate(entries):
        if position and name != "outputs":
            lines.append("")
        lines += [f"    {line}" for line in entry]
    return lines


def _node(node: NodeTemplate) -> list[str]:
    lines = [f"{_scalar(node.name)}:", f"  type: {_scalar(node.type)}"]
    if node.description:
        lines.append(f"  description: {_scalar(node.description)}")
    if node.properties:
        lines += ["  properties:", *_pairs(node.properties, 2)]
    if node.capabilities:
        lines.append("  capabilities:")
        for name, values in node.capabilities.items():
            lines += [f"    {_scalar(name)}:", *_pair("properties", dict(values), 3)]
    if node.requirements:
        lines.append("  requirements:")
        for requirement in node.requirements:
            lines += _requirement(requirement)
    if node.artifacts:
        lines.append("  artifacts:")
        for name, artifact in node.artifacts.items():
            lines += _artifact(name, artifact)
    return lines


def _requirement(requirement: Requirement) -> list[str]:
    if not requirement.relationship and not requirement.properties:
        return [f"    - {_scalar(requirement.name)}: {_scalar(requirement.node)}"]
    lines = [f"    - {_scalar(requirement.name)}:", f"        node: {_scalar(requirement.node)}"]
    if not requirement.properties:
        return [*lines, f"        relationship: {_scalar(requirement.relationship)}"]
    relationship: dict[str, Value] = {"properties": dict(requirement.properties)}
    if requirement.relationship:
        relationship = {"type": requirement.relationship, **relationship}
    return [*lines, "        relationship:", *_pairs(relationship, 5)]


def _artifact(name: str, artifact: Artifact) -> list[str]:
    return [f"    {_scalar(name)}:", f"      file: {_scalar(artifact.file)}", f"      type: {_scalar(artifact.type)}"]


def _entry(name: str, kind: str, listed: str, members: Sequence[str], properties: Mapping[str, Value]) -> list[str]:
    lines = [f"{_scalar(name)}:", f"  type: {_scalar(kind)}"]
    if properties:
        lines += ["  properties:", *_pairs(properties, 2)]
    return [*lines, *_pair(listed, list(members), 1)]


def _pairs(values: Mapping[str, Value], depth: int) -> list[str]:
    return [line for key, value in values.items() for line in _pair(key, value, depth)]


def _pair(key: str, value: Value, depth: int) -> list[str]:
    """``key: value`` as lines indented by ``depth`` times two blanks."""
    head = f"{'  ' * depth}{_scalar(key)}:"
    if isinstance(value, Mapping) and value and function_of(value) is None:
        return [head, *_pairs(value, depth + 1)]
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        return [head, *(f"{'  ' * (depth + 1)}- {_flow(item)}" for item in value)]
    return [f"{head} {_flow(value)}"]


def _flow(value: Value) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(k)}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return _scalar(value)


def _scalar(value: Value) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float(value)
    return _text(str(value))


def _float(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    mantissa, mark, exponent = repr(value).partition("e")
    if mark and "." not in mantissa:
        mantissa += ".0"  # YAML 1.1 takes 1e-06 for a text
    return mantissa + mark + exponent


@lru_cache(maxsize=4096)
def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and not text.endswith(" ") and implicit_tag(text) == "str":
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    if quoted.isascii() and quoted.isprintable():
        return quoted
    return _unsafe().sub(lambda found: f"\\u{ord(found.group()):04x}", quoted)


@cache
def _unsafe() -> re.Pattern[str]:
    """What is escaped besides JSON's own; compiling it takes longer than writing most templates."""
    return re.compile("[^ -~\xa1-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
