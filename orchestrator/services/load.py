"""Loads what a deployment is described by: a production file, or a template that was compiled from one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.diagnostics import Diagnostic, Location, error, has_errors, warning
from orchestrator.production.compile import compile_topology, node_places
from orchestrator.production.layout import ReadOptions
from orchestrator.production.load import Loaded, load_production_document
from orchestrator.resources import data_path
from orchestrator.services.verdicts import is_known_good, remember_good
from orchestrator.topology.dump import TYPES_FILE, render_template
from orchestrator.topology.located import Document, Node, Sequence, load_document
from orchestrator.topology.located import Mapping as MappingNode
from orchestrator.topology.model import Topology
from orchestrator.topology.parse import is_template, parse_template_document
from orchestrator.topology.reading import did_you_mean
from orchestrator.topology.source_digest import files_digest, source_digest
from orchestrator.topology.types import shipped_types
from orchestrator.topology.validate import Places, check_topology

_OBJECTS = "continuum.nodes.KubernetesObjects"


@dataclass(frozen=True, slots=True)
class LoadedTopology:
    """A topology with where it came from.

    Attributes:
        topology: What is wanted; empty if there are errors.
        template_text: The service template, as written or as it would be written.
        application_root: Folder that artifact files are relative to.
        diagnostics: Every finding; the topology may be used if none is an error.
        imports: Files of types that the template imports, all of them shipped.
        places: Node name to the place that a message about it should point to.
        production: What was read, if this is no template.
    """

    topology: Topology
    template_text: str
    application_root: Path
    diagnostics: tuple[Diagnostic, ...]
    imports: tuple[str, ...] = (TYPES_FILE,)
    places: Mapping[str, Location] = field(default_factory=dict)
    production: Loaded | None = None


def load_topology(path: Path, options: ReadOptions | None = None) -> LoadedTopology:
    """Load, compile and check a file; a template is told from a production file by what is in it.

    Never raises for what the file holds: ``diagnostics`` says what is wrong.
    """
    document = load_document(path)
    loaded = _load_template(document, path) if is_template(document) else _load_production(document, path, options)
    if has_errors(loaded.diagnostics):
        return LoadedTopology(Topology(""), "", loaded.application_root, loaded.diagnostics)
    return loaded


def _load_production(document: Document, path: Path, options: ReadOptions | None) -> LoadedTopology:
    production = load_production_document(document, path, options)
    topology, findings = compile_topology(production)
    diagnostics = (*production.diagnostics, *findings)
    if has_errors(diagnostics) or production.model is None:
        return LoadedTopology(Topology(""), "", production.root, diagnostics)
    places = node_places(production.model)
    text = render_template(topology)

    def place(steps: tuple[str, ...]) -> Location | None:
        return places.get(steps[1]) if len(steps) > 1 and steps[0] == "node_templates" else None

    checked = _check(topology, text, (TYPES_FILE,), place)
    return LoadedTopology(topology, text, production.root, (*diagnostics, *checked), (TYPES_FILE,), places, production)


def _load_template(document: Document, path: Path) -> LoadedTopology:
    parsed = parse_template_document(document)
    root = path.parent
    diagnostics = parsed.diagnostics
    if parsed.topology is None:
        return LoadedTopology(Topology(""), "", root, diagnostics)
    place = _template_places(document)
    imports = _imports(parsed.imports, root, place)
    diagnostics = (*diagnostics, *imports)
    if has_errors(diagnostics):
        return LoadedTopology(Topology(""), "", root, diagnostics)
    checked = _check(parsed.topology, document.text, parsed.imports, place)
    topology = parsed.topology
    sources: tuple[Diagnostic, ...] = ()
    if not has_errors(checked):
        topology, findings = _with_file_digests(topology, root, place)
        sources = (*_check_sources(topology, root, place), *findings)
    places = {name: found for name in topology.nodes if (found := place(("node_templates", name)))}
    return LoadedTopology(topology, document.text, root, (*diagnostics, *checked, *sources), parsed.imports, places)


def _imports(names: tuple[str, ...], root: Path, place: Places) -> tuple[Diagnostic, ...]:
    """Whether the imports are types that this version has."""
    found: list[Diagnostic] = []
    here = place(("imports",))
    shipped = {path.name for path in data_path("tosca", "types").glob("*.yaml")}
    for name in names:
        if name not in shipped:
            detail = f"{name!r} is no file of types of this version.{did_you_mean(name, shipped)}"
            found.append(error("An import cannot be read.", detail, location=here))
            continue
        beside = root / name
        if beside.is_file() and beside.read_bytes() != data_path("tosca", "types", name).read_bytes():
            detail = f"{beside} is not what this version ships as {name}; the types of this version are used."
            found.append(warning("The types differ.", detail, location=here))
    if TYPES_FILE not in names:
        detail = f"The template must import {TYPES_FILE}, which defines its types."
        found.append(error("An import is missing.", detail, location=here))
    return tuple(found)


def _check(topology: Topology, text: str, imports: tuple[str, ...], place: Places) -> tuple[Diagnostic, ...]:
    """Our own checks; if they find nothing, tosca-parser's. A good verdict of both is remembered."""
    files = [data_path("tosca", "types", name) for name in imports]
    if is_known_good(text, files):
        return ()
    found = check_topology(topology, shipped_types(), place)
    if found:
        return found
    from orchestrator.topology.second_opinion import ask_tosca_parser  # noqa: PLC0415 - takes longer than the rest

    found = ask_tosca_parser(text, {path.name: path.read_text(encoding="utf-8") for path in files}, place)
    if not found:
        remember_good(text, files)
    return found


def _check_sources(topology: Topology, root: Path, place: Places) -> tuple[Diagnostic, ...]:
    """Whether the sources beside a template are the ones it was compiled from."""
    found: list[Diagnostic] = []
    for node in topology.nodes.values():
        artifact = node.artifacts.get("source")
        wanted = node.properties.get("source_digest")
        if artifact is None or not isinstance(wanted, str):
            continue
        here = place(("node_templates", node.name, "artifacts", "source", "file"))
        folder = root / artifact.file
        if not folder.is_dir():
            detail = f"{node.name} is built from {folder}, which is not there. Copy it beside the template."
            found.append(error("A component's sources are missing.", detail, address=node.name, location=here))
        elif source_digest(folder) != wanted:
            detail = (
                f"{folder} is not what the template was compiled from: its digest is {source_digest(folder)}. "
                "Compile the production file again, or put the digest into the template."
            )
            found.append(error("A component's sources have changed.", detail, address=node.name, location=here))
    return tuple(found)


def _with_file_digests(topology: Topology, root: Path, place: Places) -> tuple[Topology, tuple[Diagnostic, ...]]:
    """The topology with the digests of files that Kubernetes objects are read from, so that new content is a change."""
    found: list[Diagnostic] = []
    nodes = dict(topology.nodes)
    for node in topology.nodes.values():
        listed = node.properties.get("files")
        if not (isinstance(listed, list) and listed and shipped_types().is_derived(node.type, _OBJECTS)):
            continue
        here = place(("node_templates", node.name, "properties", "files"))
        try:
            digest = files_digest(root, [str(name) for name in listed])
        except OSError as problem:
            detail = f"{node.name} is made from {problem.filename}, which cannot be read: {problem.strerror}."
            found.append(error("A file with objects is missing.", detail, address=node.name, location=here))
            continue
        given = node.properties.get("files_digest")
        if given and given != digest:
            detail = (
                f"The files of {node.name} have the digest {digest}. Leave files_digest out: it is found by itself."
            )
            found.append(error("Files with objects have changed.", detail, address=node.name, location=here))
        nodes[node.name] = replace(node, properties={**node.properties, "files_digest": digest})
    return replace(topology, nodes=nodes), tuple(found)


def _template_places(document: Document) -> Places:
    def place(steps: tuple[str, ...]) -> Location | None:
        root = document.root
        inside = root.entries.get("topology_template") if isinstance(root, MappingNode) else None
        node: Node | None = root if steps and steps[0] in ("imports", "metadata") else inside
        found: Location | None = None
        for step in steps:
            if isinstance(node, Sequence):  # policies are a list of mappings with one key each
                node = next((i for i in node.items if isinstance(i, MappingNode) and step in i.entries), None)
            if not isinstance(node, MappingNode) or step not in node.entries:
                break
            found = node.keys[step].location
            node = node.entries[step]
        return found

    return place
