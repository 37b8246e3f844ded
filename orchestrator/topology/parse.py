"""Reads a TOSCA service template; what ``render_template`` writes comes back as an equal topology."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.diagnostics import Diagnostic, has_errors
from orchestrator.topology.dump import DEFINITIONS_VERSION
from orchestrator.topology.located import Document, Mapping, Node, Scalar, Sequence, parse_document, plain_value
from orchestrator.topology.model import Artifact, Group, NodeTemplate, Policy, Requirement, Topology, Value
from orchestrator.topology.reading import Findings, Section

ACCEPTED_VERSIONS = (DEFINITIONS_VERSION, "tosca_simple_yaml_1_2", "tosca_simple_yaml_1_0")

_IGNORED = ("template_author", "template_version", "dsl_definitions", "repositories", "data_types", "interface_types")
_OWN_TYPES = ("node_types", "relationship_types", "capability_types", "artifact_types", "group_types", "policy_types")


@dataclass(frozen=True, slots=True)
class ParsedTemplate:
    """A template as read; ``topology`` is ``None`` if there are errors.

    Attributes:
        topology: The template's content.
        imports: Files of types, as written.
        document: The text with its places.
        diagnostics: Every finding.
    """

    topology: Topology | None
    imports: tuple[str, ...]
    document: Document
    diagnostics: tuple[Diagnostic, ...]


def is_template(document: Document) -> bool:
    """Whether a file is a TOSCA service template."""
    return isinstance(document.root, Mapping) and "tosca_definitions_version" in document.root.entries


def parse_template(text: str, file: str) -> ParsedTemplate:
    """Read a service template.

    Args:
        text: The YAML text.
        file: Its name in messages.
    """
    return parse_template_document(parse_document(text, file))


def parse_template_document(document: Document) -> ParsedTemplate:
    """Read a service template from a parsed file."""
    findings = Findings()
    findings.extend(document.diagnostics)
    if document.root is None or not isinstance(document.root, Mapping):
        if document.root is not None:
            detail = "A service template is a mapping with tosca_definitions_version at its top."
            findings.error("This is no service template.", detail, document.root.location)
        return ParsedTemplate(None, (), document, findings.all())
    top = Section(document.root, "template", findings)
    version = top.need_text("tosca_definitions_version", f"the version of TOSCA, {DEFINITIONS_VERSION}")
    if version and version not in ACCEPTED_VERSIONS:
        detail = f"{version!r} is not read; use {DEFINITIONS_VERSION}."
        findings.error("The version of TOSCA is not known.", detail, top.value_place("tosca_definitions_version"))
    imports = _imports(top)
    topology = _topology(top)
    for section in _OWN_TYPES:
        if top.has(section):
            detail = f"Put {section} into a file of its own and import it."
            findings.error("Types inside a template are not read.", detail, top.key_place(section))
    top.finish(also=(*_IGNORED, *_OWN_TYPES))
    found = findings.all()
    return ParsedTemplate(None if has_errors(found) else topology, imports, document, found)


def _imports(top: Section) -> tuple[str, ...]:
    node = top.take("imports")
    if node is None:
        return ()
    if not isinstance(node, Sequence):
        top.wrong("imports", "a list of files")
        return ()
    found: list[str] = []
    for item in node.items:
        value = plain_value(item)
        if isinstance(value, dict) and "file" in value:
            value = value["file"]
        elif isinstance(value, dict) and len(value) == 1:
            value = next(iter(value.values()))
            value = value.get("file") if isinstance(value, dict) else value
        if isinstance(value, str):
            found.append(value)
        else:
            top.findings.error("An import is not understood.", "An import is the name of a file.", item.location)
    return tuple(found)


def _topology(top: Section) -> Topology:
    metadata = top.section("metadata")
    name = metadata.text("template_name") if metadata else ""
    if not name:
        name = top.text("template_name")
    if not name:
        detail = "metadata.template_name gives the deployment its name."
        top.findings.error("The template has no name.", detail, top.key_place("metadata"))
    body = top.section("topology_template")
    if body is None:
        if not top.has("topology_template"):
            top.need("topology_template", "the node templates")
        return Topology(name)
    topology = Topology(
        name=name,
        description=top.text("description"),
        nodes={key: _node(key, section) for key, section in body.sections("node_templates")},
        groups={key: _group(key, section) for key, section in body.sections("groups")},
        policies=_policies(body),
        outputs={key: _output(section) for key, section in body.sections("outputs")},
    )
    if body.has("inputs"):
        detail = "A deployment takes no inputs when it is applied; write the values into the template."
        body.findings.error("Template inputs are not read.", detail, body.key_place("inputs"))
    body.finish(also=("description", "inputs", "relationship_templates", "substitution_mappings", "workflows"))
    return topology


def _node(name: str, section: Section) -> NodeTemplate:
    capabilities: dict[str, dict[str, Value]] = {}
    for key, inner in section.sections("capabilities"):
        capabilities[key] = _properties(inner)
        inner.finish(also=("attributes",))
    artifacts = {key: _artifact(inner) for key, inner in section.sections("artifacts")}
    node = NodeTemplate(
        name=name,
        type=section.need_text("type", "the node type"),
        description=section.text("description"),
        properties=_properties(section),
        capabilities=capabilities,
        requirements=_requirements(section),
        artifacts=artifacts,
    )
    if section.has("interfaces"):
        detail = "Operations come from the node type and the profile; interfaces of a node template are not read."
        section.findings.error("Interfaces in a template are not read.", detail, section.key_place("interfaces"))
    section.finish(also=("metadata", "interfaces", "directives", "attributes"))
    return node


def _properties(section: Section) -> dict[str, Value]:
    inner = section.section("properties")
    return {key: plain_value(node) for key, node in inner.node.entries.items()} if inner else {}


def _artifact(section: Section) -> Artifact:
    artifact = Artifact(section.need_text("file", "a file"), section.text("type", "tosca.artifacts.File"))
    section.finish(also=("description", "repository", "deploy_path", "properties"))
    return artifact


def _requirements(section: Section) -> tuple[Requirement, ...]:
    node = section.take("requirements")
    if node is None:
        return ()
    if not isinstance(node, Sequence):
        section.wrong("requirements", "a list")
        return ()
    found: list[Requirement] = []
    for item in node.items:
        if not isinstance(item, Mapping) or len(item.entries) != 1:
            detail = "A requirement is written as name: node."
            section.findings.error("A requirement is not understood.", detail, item.location, section.address)
            continue
        (name, value), *_ = item.entries.items()
        found.append(_requirement(name, value, Section(item, f"{section.address}.requirements", section.findings)))
    return tuple(found)


def _requirement(name: str, value: Node, parent: Section) -> Requirement:
    if isinstance(value, Scalar):
        return Requirement(name, value.text)
    inner = parent.section(name)
    if inner is None:
        return Requirement(name, "")
    node = inner.need_text("node", "the node template it points to")
    relationship = inner.take("relationship")
    inner.finish(also=("capability", "occurrences", "node_filter"))
    if isinstance(relationship, Scalar):
        return Requirement(name, node, relationship.text)
    details = inner.section("relationship")
    if details is None:
        return Requirement(name, node)
    return Requirement(name, node, details.text("type"), _properties(details))


def _group(name: str, section: Section) -> Group:
    members = tuple(item.text for item in section.texts("members"))
    group = Group(name, section.need_text("type", "the group type"), members, _properties(section))
    section.finish(also=("description", "metadata"))
    return group


def _policies(body: Section) -> dict[str, Policy]:
    node = body.take("policies")
    if node is None:
        return {}
    if not isinstance(node, Sequence):
        body.wrong("policies", "a list")
        return {}
    found: dict[str, Policy] = {}
    for item in node.items:
        if not isinstance(item, Mapping):
            body.findings.error("A policy is not understood.", "A policy is written as name: {…}.", item.location)
            continue
        for name, section in Section(item, f"{body.address}.policies", body.findings).children():
            if name in found:
                body.findings.error("A policy is given twice.", f"The name {name!r} is taken.", section.place)
            targets = tuple(target.text for target in section.texts("targets"))
            found[name] = Policy(name, section.need_text("type", "the policy type"), targets, _properties(section))
            section.finish(also=("description", "metadata", "triggers"))
    return found


def _output(section: Section) -> Value:
    section.need("value", "what the output is")
    value = section.value("value")
    section.finish(also=("type", "description"))
    return value
