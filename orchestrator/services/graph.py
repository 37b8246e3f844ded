"""Draws a topology for people: layers as boxes, what runs on what in them, the application's way through them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from html import escape

from orchestrator.errors import DeployError, UsageError
from orchestrator.topology.model import Group, NodeTemplate, Topology
from orchestrator.topology.types import (
    CLOUD_FUNCTION_PLATFORM,
    CLUSTER,
    COMPONENT_IMAGE,
    FUNCTION_PLATFORM,
    MACHINE,
    SERVICE,
    TypeCatalogue,
    shipped_types,
)

LAYER = "continuum.groups.ComputationalLayer"
DRAWING_TIMEOUT = 120
"""Seconds that Graphviz may take."""

_MANY_SERVICES = 6
_FONT = "Helvetica,Arial,sans-serif"
_WAY = "#c2410c"
_HOSTING = "#94a3b8"
_FILLS = {
    MACHINE: ("#e2e8f0", "#64748b"),
    CLUSTER: ("#dbeafe", "#3b82f6"),
    FUNCTION_PLATFORM: ("#ede9fe", "#8b5cf6"),
    SERVICE: ("#ffedd5", _WAY),
    "": ("#f8fafc", "#64748b"),
}
_LAYER_FILLS = ("#f0fdf4", "#f0f9ff", "#fefce8", "#fdf2f8", "#f5f3ff")


class GraphvizMissingError(DeployError):
    """Graphviz is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "Graphviz is not installed.",
            detail="An SVG picture is drawn by Graphviz's program `dot`, which is not on PATH.",
            resolution="Install it (package graphviz), or use --format mermaid or dot, which need nothing.",
        )


class DrawingError(DeployError):
    """Graphviz could not draw the picture."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            "The picture could not be drawn.",
            detail=f"Graphviz's program `dot` {reason}.",
            resolution="Use --format dot and draw it elsewhere, e.g. with another of Graphviz's programs.",
        )


@dataclass(frozen=True, slots=True)
class Label:
    """What is written on a node: a title, and lines with particulars."""

    kind: str
    title: str
    lines: tuple[str, ...]


def render_graph(topology: Topology, form: str) -> str:
    """The picture as text.

    Args:
        topology: What to draw.
        form: ``dot``, ``mermaid`` or ``svg``.

    Raises:
        UsageError: There is no such format.
        GraphvizMissingError: SVG was asked for and Graphviz is not there.
        DrawingError: Graphviz failed or took too long.
    """
    renderers: Mapping[str, Callable[[Topology], str]] = {
        "dot": render_dot,
        "mermaid": render_mermaid,
        "svg": render_svg,
    }
    if form not in renderers:
        raise UsageError("No such format.", detail=f"{form!r} is none of {', '.join(renderers)}.")
    return renderers[form](topology)


def render_svg(topology: Topology) -> str:
    """The picture drawn by Graphviz."""
    program = shutil.which("dot")
    if program is None:
        raise GraphvizMissingError
    try:
        done = subprocess.run(
            [program, "-Tsvg"],
            input=render_dot(topology).encode(),
            capture_output=True,
            timeout=DRAWING_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as cause:
        raise DrawingError(f"did not end within {DRAWING_TIMEOUT} s") from cause
    except OSError as cause:
        raise DrawingError(f"could not be started: {cause.strerror}") from cause
    if done.returncode != 0:
        raise DrawingError(f"ended with {done.returncode}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode()


def render_dot(topology: Topology) -> str:
    """The picture in Graphviz's language."""
    catalogue = shipped_types()
    labels = {node.name: label_of(node, topology, catalogue) for node in _shown(topology, catalogue)}
    layers = _layers(topology)
    inside = {member for layer in layers for member in layer.members}
    lines = [
        "digraph topology {",
        "  graph [rankdir=TB, newrank=true, compound=true, nodesep=0.5, ranksep=0.45, pad=0.3, labelloc=t,",
        f'         fontname="{_FONT}", fontsize=18, label={_quote(topology.name)}];',
        f'  node [shape=box, style="rounded,filled", fontname="{_FONT}", fontsize=11, margin="0.18,0.1"];',
        f'  edge [fontname="{_FONT}", fontsize=10, color="{_HOSTING}"];',
    ]
    for position, layer in enumerate(layers):
        fill = _LAYER_FILLS[position % len(_LAYER_FILLS)]
        lines += [
            f"  subgraph {_quote(f'cluster_{layer.name}')} {{",
            f"    label={_html(*_layer_title(layer), align='LEFT')}; labeljust=l; labelloc=b; margin=16;",
            f'    style="rounded,filled"; color="#cbd5e1"; fillcolor="{fill}"; fontsize=13;',
            *(f"    {_dot_node(name, labels[name])}" for name in layer.members if name in labels),
            "  }",
        ]
    lines += [f"  {_dot_node(name, label)}" for name, label in labels.items() if name not in inside]
    lines += _dot_edges(topology, labels)
    return "\n".join([*lines, "}"]) + "\n"


def _dot_node(name: str, label: Label) -> str:
    fill, line = _FILLS[label.kind]
    extra = ', peripheries=2, style="filled"' if label.kind == MACHINE else ""
    width = ", penwidth=1.6" if label.kind == SERVICE else ""
    return (
        f'{_quote(name)} [label={_html(label.title, label.lines)}, fillcolor="{fill}", color="{line}"{extra}{width}];'
    )


def _dot_edges(topology: Topology, labels: Mapping[str, Label]) -> list[str]:
    lines: list[str] = []
    services = [name for name, label in labels.items() if label.kind == SERVICE]
    in_a_row = _is_short_chain(topology, services)
    for node in topology.nodes.values():
        for requirement in node.requirements:
            if node.name not in labels or requirement.node not in labels:
                continue
            edge = f"{_quote(node.name)} -> {_quote(requirement.node)}"
            if requirement.name == "connects_to":
                share = requirement.properties.get("probability", 1)
                text = f', label=" {share} "' if share != 1 else ""
                lines.append(f'  {edge} [color="{_WAY}", penwidth=2.6, arrowsize=0.9{text}];')
            else:
                lines.append(f"  {edge} [arrowsize=0.6, style=dashed];")
    lines += _dot_ends(topology, services)
    if in_a_row:
        lines.append(f"  {{ rank=same; {'; '.join(map(_quote, services))}; }}")
    return lines


def _dot_ends(topology: Topology, services: Iterable[str]) -> list[str]:
    """Where files come in and results go out: both above the services, so that they cross no layer."""
    names = list(services)
    lines: list[str] = []
    shape = f'shape=plaintext, style="", fontcolor="{_WAY}"'
    way = f'color="{_WAY}", penwidth=2.6, arrowsize=0.9'
    for name in _firsts(topology, names):
        path = topology.nodes[name].properties.get("input_path", "")
        lines.append(f'  "in:{name}" [{shape}, label={_html("file in", (str(path),))}];')
        lines.append(f'  "in:{name}" -> {_quote(name)} [{way}];')
    for name in _lasts(topology, names):
        path = topology.nodes[name].properties.get("output_path", "")
        lines.append(f'  "out:{name}" [{shape}, label={_html("result out", (str(path),))}];')
        lines.append(f'  "out:{name}" -> {_quote(name)} [{way}, dir=back];')
    return lines


def render_mermaid(topology: Topology) -> str:
    """The picture in Mermaid's language, which many places that show Markdown draw."""
    catalogue = shipped_types()
    labels = {node.name: label_of(node, topology, catalogue) for node in _shown(topology, catalogue)}
    ids = {name: f"n{position}" for position, name in enumerate(labels)}
    layers = _layers(topology)
    inside = {member for layer in layers for member in layer.members}
    lines = ["---", f"title: {topology.name}", "---", "flowchart LR"]
    for position, layer in enumerate(layers):
        title, more = _layer_title(layer)
        lines.append(f'  subgraph g{position}["{_mermaid_text(" · ".join((title, *more)))}"]')
        lines += [f"    {_mermaid_node(ids[name], labels[name])}" for name in layer.members if name in labels]
        lines.append("  end")
    lines += [f"  {_mermaid_node(ids[name], label)}" for name, label in labels.items() if name not in inside]
    way: list[int] = []
    count = 0
    for node in topology.nodes.values():
        for requirement in node.requirements:
            if node.name not in ids or requirement.node not in ids:
                continue
            arrow = "-.->"
            if requirement.name == "connects_to":
                share = requirement.properties.get("probability", 1)
                arrow = f"==>|{share}|" if share != 1 else "==>"
                way.append(count)
            lines.append(f"  {ids[node.name]} {arrow} {ids[requirement.node]}")
            count += 1
    for kind, (fill, line) in _FILLS.items():
        members = [ids[name] for name, label in labels.items() if label.kind == kind]
        if members:
            lines.append(f"  style {','.join(members)} fill:{fill},stroke:{line},color:#0f172a")
    if way:
        lines.append(f"  linkStyle {','.join(map(str, way))} stroke:{_WAY},stroke-width:3px")
    return "\n".join(lines) + "\n"


def _mermaid_node(identifier: str, label: Label) -> str:
    text = _mermaid_text("<br/>".join((f"<b>{escape(label.title)}</b>", *(escape(line) for line in label.lines))))
    if label.kind == MACHINE:
        return f'{identifier}[["{text}"]]'
    return f'{identifier}("{text}")' if label.kind != SERVICE else f'{identifier}(["{text}"])'


def _mermaid_text(text: str) -> str:
    return text.replace('"', "#quot;").replace("\n", " ")


def label_of(node: NodeTemplate, topology: Topology, catalogue: TypeCatalogue) -> Label:
    """What is written on a node."""
    if catalogue.is_derived(node.type, MACHINE):
        host, system = node.capabilities.get("host", {}), node.capabilities.get("os", {})
        cores = f"{host['num_cpus']} cores" if "num_cpus" in host else ""
        size = " · ".join(str(part) for part in (system.get("architecture"), cores, host.get("mem_size")) if part)
        title = f"{node.instance_count} x {node.properties.get('resource', node.name)}"
        return Label(MACHINE, title, _lines(node.description, size, _exists(node, "ExistingMachine")))
    if catalogue.is_derived(node.type, CLUSTER):
        return Label(CLUSTER, "K3s cluster", _lines(node.name, _exists(node, "ExistingK3sCluster")))
    if catalogue.is_derived(node.type, CLOUD_FUNCTION_PLATFORM):
        title = f"{node.properties.get('provider', 'aws')} functions"
        where = (str(node.properties.get(key, "")) for key in ("region", "architecture"))
        return Label(FUNCTION_PLATFORM, title, _lines(" · ".join(part for part in where if part)))
    if catalogue.is_derived(node.type, FUNCTION_PLATFORM):
        return Label(
            FUNCTION_PLATFORM, "OSCAR", _lines("runs services when files arrive", _exists(node, "ExistingOscar"))
        )
    if catalogue.is_derived(node.type, SERVICE):
        needs = f"{node.properties.get('cpu')} cores · {node.properties.get('memory_mb')} MB a run"
        return Label(SERVICE, str(node.properties.get("component", node.name)), _lines(_image(node, topology), needs))
    return Label("", node.name, _lines(node.type.rpartition(".")[2]))


def _image(service: NodeTemplate, topology: Topology) -> str:
    name = next((r.node for r in service.requirements if r.name == "image"), "")
    image = topology.nodes.get(name)
    if image is None:
        return ""
    source = image.artifacts.get("source")
    origin = f"built from {source.file}" if source else str(image.properties.get("image", ""))
    return origin if len(origin) <= 48 else f"…{origin[-47:]}"


def _lines(*texts: str) -> tuple[str, ...]:
    return tuple(text for text in texts if text)


def _exists(node: NodeTemplate, kind: str) -> str:
    return "there already" if node.type.endswith(kind) else ""


def _shown(topology: Topology, catalogue: TypeCatalogue) -> list[NodeTemplate]:
    """Every node but images, which are named on their services."""
    return [n for n in topology.nodes.values() if not catalogue.is_derived(n.type, COMPONENT_IMAGE)]


def _layers(topology: Topology) -> list[Group]:
    return [group for group in topology.groups.values() if group.type == LAYER]


def _layer_title(layer: Group) -> tuple[str, tuple[str, ...]]:
    name = layer.properties.get("name") or layer.name
    domain = layer.properties.get("network_domain")
    return f"Layer {layer.properties.get('number', '')} · {name}", ((f"network {domain}",) if domain else ())


def _firsts(topology: Topology, services: Iterable[str]) -> list[str]:
    """Services that get no other's results."""
    fed = {r.node for n in topology.nodes.values() for r in n.requirements if r.name == "connects_to"}
    return [name for name in services if name not in fed]


def _lasts(topology: Topology, services: Iterable[str]) -> list[str]:
    """Services whose results go to no other."""
    return [s for s in services if not any(r.name == "connects_to" for r in topology.nodes[s].requirements)]


def _is_short_chain(topology: Topology, services: Iterable[str]) -> bool:
    """Whether the services fit in one row from left to right: few, and no way forks or joins."""
    names = list(services)
    following = [r.node for name in names for r in topology.nodes[name].requirements if r.name == "connects_to"]
    leaving = [sum(r.name == "connects_to" for r in topology.nodes[name].requirements) for name in names]
    return 0 < len(names) <= _MANY_SERVICES and max(leaving) <= 1 and len(set(following)) == len(following)


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _html(title: str, lines: Iterable[str] = (), align: str = "CENTER") -> str:
    rows = [f"<B>{escape(title)}</B>", *(f'<FONT POINT-SIZE="9.5">{escape(line)}</FONT>' for line in lines if line)]
    return "<" + "".join(f'{row}<BR ALIGN="{align}"/>' for row in rows) + ">"
