"""What is compiled loads to the same thing again, and never takes the place of somebody else's files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.diagnostics import has_errors
from orchestrator.errors import InvalidInputError
from orchestrator.planning.desired_instances import desired_instances
from orchestrator.planning.profile import load_profile
from orchestrator.services.compile import ForeignFileError, OutputError, write_compiled
from orchestrator.services.graph import GraphvizMissingError, render_graph
from orchestrator.services.load import LoadedTopology, load_topology
from orchestrator.topology.types import shipped_types

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """An application with sources; returns its production file."""
    folder = tmp_path / "application"
    shutil.copytree(GOLDEN / "mask-detection", folder)
    for name in ("blurry-faces", "mask-detector"):
        source = folder / "src" / name
        (source / "inner").mkdir(parents=True)
        (source / "main.py").write_text(f"print({name!r})\n", encoding="utf-8")
        (source / "inner" / "run.sh").write_text("#!/bin/sh\n", encoding="utf-8")
        (source / "inner" / "run.sh").chmod(0o755)
        (source / "__pycache__").mkdir()
        (source / "__pycache__" / "x.pyc").write_bytes(b"x")
    return folder / "production.yaml"


def good(path: Path) -> LoadedTopology:
    loaded = load_topology(path)
    assert not has_errors(loaded.diagnostics), loaded.diagnostics
    return loaded


def snapshot(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    return {
        str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mode, p.stat().st_mtime_ns)
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_template_and_production_file_want_the_same(application: Path, tmp_path: Path) -> None:
    first = good(application)
    template, types, *sources = write_compiled(first, tmp_path / "out")
    assert template.name == "mask-detection.yaml"
    assert types.name == "continuum.yaml"
    assert {p.name for p in sources} == {"blurry-faces", "mask-detector"}
    second = good(template)
    assert second.diagnostics == ()
    assert second.topology == first.topology
    assert second.template_text == first.template_text
    wanted = [
        desired_instances(loaded.topology, shipped_types(), load_profile("local"), {"engine_architecture": "amd64"})
        for loaded in (first, second)
    ]
    assert wanted[0] == wanted[1]


def test_second_run_changes_no_byte(application: Path, tmp_path: Path) -> None:
    write_compiled(good(application), tmp_path / "out")
    before = snapshot(tmp_path / "out")
    write_compiled(good(application), tmp_path / "out")
    assert snapshot(tmp_path / "out") == before
    assert not any("__pycache__" in name for name in before)
    assert before["src/blurry-faces/inner/run.sh"][1] & 0o100


def test_changed_source_is_copied_anew_and_files_of_others_stay(application: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_compiled(good(application), out)
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    (application.parent / "src" / "blurry-faces" / "main.py").write_text("print(2)\n", encoding="utf-8")
    (application.parent / "src" / "blurry-faces" / "inner" / "run.sh").unlink()
    template = write_compiled(good(application), out)[0]
    assert (out / "src" / "blurry-faces" / "main.py").read_text(encoding="utf-8") == "print(2)\n"
    assert not (out / "src" / "blurry-faces" / "inner" / "run.sh").exists()
    assert (out / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert sorted(p.name for p in (out / "src").iterdir()) == ["blurry-faces", "mask-detector"]
    good(template)


def test_compiling_into_the_application_itself_leaves_the_sources(application: Path) -> None:
    before = snapshot(application.parent / "src")
    template = write_compiled(good(application), application.parent)[0]
    assert snapshot(application.parent / "src") == before
    assert good(template).topology == good(application).topology


def _other_template(out: Path) -> None:
    (out / "mask-detection.yaml").write_text("System: {}\n", encoding="utf-8")


def _template_of_another(out: Path) -> None:
    text = "tosca_definitions_version: tosca_simple_yaml_1_3\nmetadata: {template_name: x}\ntopology_template: {}\n"
    (out / "mask-detection.yaml").write_text(text, encoding="utf-8")


def _other_types(out: Path) -> None:
    (out / "continuum.yaml").write_text("mine\n", encoding="utf-8")


def _other_source(out: Path) -> None:
    (out / "src" / "blurry-faces").mkdir(parents=True)
    (out / "src" / "blurry-faces" / "thesis.tex").write_text("ten years of work\n", encoding="utf-8")


def _link(out: Path) -> None:
    (out / "src").mkdir()
    (out / "src" / "blurry-faces").symlink_to(out.parent)


@pytest.mark.parametrize("prepare", [_other_template, _template_of_another, _other_types, _other_source, _link])
def test_files_of_others_are_not_overwritten(
    application: Path, tmp_path: Path, prepare: Callable[[Path], None]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    prepare(out)
    before = snapshot(out) if prepare is not _link else {}
    with pytest.raises(ForeignFileError):
        write_compiled(good(application), out)
    assert prepare is _link or snapshot(out) == before


def test_copied_source_that_somebody_edited_is_not_overwritten(application: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_compiled(good(application), out)
    (out / "src" / "blurry-faces" / "main.py").write_text("edited\n", encoding="utf-8")
    (application.parent / "src" / "blurry-faces" / "main.py").write_text("print(3)\n", encoding="utf-8")
    with pytest.raises(ForeignFileError):
        write_compiled(good(application), out)
    assert (out / "src" / "blurry-faces" / "main.py").read_text(encoding="utf-8") == "edited\n"


def test_output_that_cannot_be_written_is_said(application: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(OutputError):
        write_compiled(good(application), tmp_path / "file" / "out")


def test_invalid_input_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("System: {name: x}\n", encoding="utf-8")
    with pytest.raises(InvalidInputError):
        write_compiled(load_topology(tmp_path / "p.yaml"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("spoil", "summary"),
    [
        (lambda out: (out / "src" / "blurry-faces" / "main.py").write_text("x", encoding="utf-8"), "have changed."),
        (lambda out: shutil.rmtree(out / "src" / "blurry-faces"), "are missing."),
    ],
)
def test_sources_beside_a_template_must_be_the_ones_it_was_compiled_from(
    application: Path, tmp_path: Path, spoil: Callable[[Path], object], summary: str
) -> None:
    template = write_compiled(good(application), tmp_path / "out")[0]
    spoil(tmp_path / "out")
    (found,) = load_topology(template).diagnostics
    assert found.summary.endswith(summary)
    assert found.location is not None
    assert "src/blurry-faces" in found.location.text


OBJECTS = """\
tosca_definitions_version: tosca_simple_yaml_1_3
metadata: {template_name: broker}
imports: [continuum.yaml]
topology_template:
  node_templates:
    board: {type: continuum.nodes.PhysicalMachine, properties: {resource: board, layer: 1}}
    cluster:
      type: continuum.nodes.K3sCluster
      properties: {cluster_name: cluster}
      requirements: [machine: board]
    broker:
      type: continuum.nodes.KubernetesObjects
      properties: {name: broker, files: [one.yaml, more/two.yaml]}
      requirements: [host: cluster]
"""


def test_other_content_of_a_file_with_objects_is_a_change(tmp_path: Path) -> None:
    template, one = tmp_path / "template.yaml", tmp_path / "one.yaml"
    template.write_text(OBJECTS)
    (found,) = load_topology(template).diagnostics
    assert (found.summary, found.address) == ("A file with objects is missing.", "broker")
    assert found.location is not None
    assert found.location.line == 13
    (tmp_path / "more").mkdir()
    one.write_text("kind: Secret\n")
    (tmp_path / "more" / "two.yaml").write_text("kind: Secret\n")

    def inputs() -> str:
        loaded = good(template)
        wanted = desired_instances(loaded.topology, shipped_types(), load_profile("production"), {})[0]["broker"]
        return str(wanted.operations["configure"].inputs["k3s_objects_files_digest"])

    first = inputs()
    assert first.startswith("sha256:")
    assert inputs() == first
    one.write_text("kind: ConfigMap\n")
    changed = inputs()
    assert changed != first
    template.write_text(OBJECTS.replace("two.yaml]", f'two.yaml], files_digest: "{first}"'))
    (found,) = load_topology(template).diagnostics
    assert found.summary == "Files with objects have changed."
    assert changed in found.detail


def test_imports_must_be_types_of_this_version(application: Path, tmp_path: Path) -> None:
    template = write_compiled(good(application), tmp_path / "out")[0]
    text = template.read_text(encoding="utf-8")
    template.write_text(text.replace("- continuum.yaml", "- contnuum.yaml"), encoding="utf-8")
    assert "An import cannot be read." in [d.summary for d in load_topology(template).diagnostics]
    template.write_text(text, encoding="utf-8")
    with (template.parent / "continuum.yaml").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert [d.summary for d in load_topology(template).diagnostics] == ["The types differ."]


def test_verdict_is_remembered_only_if_it_is_good(application: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.topology import second_opinion

    asked: list[str] = []
    real = second_opinion.ask_tosca_parser

    def counted(text: str, *rest: object) -> object:
        asked.append(text)
        return real(text, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(second_opinion, "ask_tosca_parser", counted)
    good(application)
    good(application)
    assert len(asked) == 1
    application.write_text(
        application.read_text(encoding="utf-8").replace("totalNodes: 2", "totalNodes: 4"), encoding="utf-8"
    )
    good(application)
    assert len(asked) == 2


def test_nothing_is_written_where_the_cache_cannot_be(
    application: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no-folder").write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no-folder"))
    good(application)


def test_missing_file_is_one_finding_at_the_file() -> None:
    (found,) = load_topology(Path("nowhere.yaml")).diagnostics
    assert (found.summary, str(found.location)) == ("The file does not exist.", "nowhere.yaml:1:1")


def test_nodes_know_their_places_in_either_file(application: Path, tmp_path: Path) -> None:
    loaded = good(application)
    assert loaded.places["layer1-rasppi"].text.strip() == "name: RaspPi"
    template = good(write_compiled(loaded, tmp_path / "out")[0])
    assert template.places["layer1-rasppi"].text.strip() == "layer1-rasppi:"


@pytest.mark.parametrize("case", ["mask-detection", "fork-and-join"])
def test_pictures_show_layers_machines_and_the_way(case: str) -> None:
    topology = good(GOLDEN / case / "production.yaml").topology
    dot, mermaid = render_graph(topology, "dot"), render_graph(topology, "mermaid")
    for text in (dot, mermaid):
        assert all(
            f">{n.properties['component']}<" in text for n in topology.nodes.values() if "service" in n.properties
        )
    assert ("rank=same" in dot) == (case == "mask-detection")
    assert dot.count("subgraph") == mermaid.count("subgraph") == 2
    assert ("0.7" in dot) == ("==>|0.7|" in mermaid) == (case == "fork-and-join")


def test_svg_is_drawn_by_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    topology = good(GOLDEN / "mask-detection" / "production.yaml").topology
    if shutil.which("dot"):
        svg = render_graph(topology, "svg")
        assert "<svg" in svg
        assert ">3 x RaspPi<" in svg
    monkeypatch.setenv("PATH", "")
    with pytest.raises(GraphvizMissingError):
        render_graph(topology, "svg")
