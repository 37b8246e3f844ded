"""Writes the compiled folder: service template, the types it uses, the components' sources."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from orchestrator.errors import DeployError, InvalidInputError
from orchestrator.resources import data_path
from orchestrator.services.load import LoadedTopology
from orchestrator.topology.located import parse_bytes
from orchestrator.topology.model import Topology
from orchestrator.topology.parse import is_template, parse_template_document
from orchestrator.topology.source_digest import source_digest, source_files

_SOURCE = "source"


class ForeignFileError(DeployError):
    """The output folder holds something that compiling did not make."""

    exit_code = 2

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            "A file of somebody else is in the way.",
            detail=f"{path} {reason}, so it is not overwritten.",
            resolution="Choose another folder with -o, or move the file away.",
        )


class OutputError(DeployError):
    """The output folder cannot be written."""

    def __init__(self, folder: Path, cause: OSError) -> None:
        super().__init__(
            "The output cannot be written.",
            detail=f"{folder}: {cause.strerror or cause}.",
            resolution="Choose a folder that can be written, with enough space.",
        )


def write_compiled(loaded: LoadedTopology, folder: Path) -> tuple[Path, ...]:
    """Write ``<name>.yaml``, the types beside it, and the component sources at the same relative paths.

    A second run over the same input changes no byte. The template comes last, so that it is never there without what
    it needs.

    Args:
        loaded: A topology without errors.
        folder: Where to write; made if it is not there.

    Returns:
        The template, then the types, then the source folders.

    Raises:
        ForeignFileError: Something is in the way that compiling did not make; nothing was written then.
        OutputError: The folder cannot be written.
    """
    if not loaded.topology.name:
        raise InvalidInputError(loaded.diagnostics)
    template = folder / f"{loaded.topology.name}.yaml"
    types = {folder / name: data_path("tosca", "types", name).read_bytes() for name in loaded.imports}
    sources = _sources(loaded, folder)
    try:
        previous = _check_template(template, loaded)
        for path, content in types.items():
            _check_types(path, content, previous is not None)
        for source, target in sources.items():
            _check_source(source, target, folder, previous)
        folder.mkdir(parents=True, exist_ok=True)
        for source, target in sources.items():
            _copy_source(source, target)
        for path, content in types.items():
            _replace(path, content)
        _replace(template, loaded.template_text.encode())
    except OSError as cause:
        raise OutputError(folder, cause) from cause
    return (template, *types, *sources.values())


def _sources(loaded: LoadedTopology, folder: Path) -> Mapping[Path, Path]:
    """Source folder to where it goes; one that is there already is left out."""
    found: dict[Path, Path] = {}
    for node in loaded.topology.nodes.values():
        artifact = node.artifacts.get(_SOURCE)
        if artifact is not None:
            source, target = loaded.application_root / artifact.file, folder / artifact.file
            if source.resolve() != target.resolve():
                found[source] = target
    return found


def _check_template(path: Path, loaded: LoadedTopology) -> Topology | None:
    """The topology that was compiled here before."""
    if not path.exists():
        return None
    if not path.is_file():
        raise ForeignFileError(path, "is no ordinary file")
    content = path.read_bytes()
    if content == loaded.template_text.encode():
        return loaded.topology  # the same again: reading it would take as long as all the rest
    document, name = parse_bytes(content, str(path)), loaded.topology.name
    if not is_template(document):
        raise ForeignFileError(path, "is no service template")
    topology = parse_template_document(document).topology
    if topology is not None and topology.name != name:
        raise ForeignFileError(path, f"is the template of {topology.name!r}")
    return topology or Topology(name)


def _check_types(path: Path, content: bytes, is_ours: bool) -> None:
    if path.exists() and not is_ours and (not path.is_file() or path.read_bytes() != content):
        raise ForeignFileError(path, "is not the file of types that belongs here")


def _check_source(source: Path, target: Path, folder: Path, previous: Topology | None) -> None:
    """A folder in the way must be what this source is, or what was copied there before and not touched since."""
    if not target.exists() and not target.is_symlink():
        return
    if target.is_symlink() or not target.is_dir():
        raise ForeignFileError(target, "is no folder of component sources")
    digest = source_digest(target)
    known = {source_digest(source)}
    for node in previous.nodes.values() if previous else ():
        artifact = node.artifacts.get(_SOURCE)
        if artifact is not None and folder / artifact.file == target:
            known.add(str(node.properties.get("source_digest", "")))
    if digest not in known:
        raise ForeignFileError(target, "holds files that were not copied there by compiling")


def _copy_source(source: Path, target: Path) -> None:
    """Copy what the digest covers, and put it in place in one step."""
    if target.is_dir() and source_digest(target) == source_digest(source):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as temporary:
        fresh, old = Path(temporary) / "new", Path(temporary) / "old"
        fresh.mkdir(mode=0o755)
        for name in source_files(source):
            place = fresh / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, place, follow_symlinks=False)
        if target.exists():
            target.rename(old)
        fresh.rename(target)


def _replace(path: Path, content: bytes) -> None:
    """Write a file in one step, unless it holds these bytes already."""
    if path.is_file() and path.read_bytes() == content:
        return
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as temporary:
        fresh = Path(temporary) / path.name
        fresh.write_bytes(content)
        fresh.replace(path)
