"""Reads containers.yaml: the images that were built of each component."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from orchestrator.production.naming import partition_of, sanitise
from orchestrator.production.read_companions import open_mapping
from orchestrator.topology.reading import Findings

_SPELLINGS = {"amd64": "amd64|x86[-_]64", "arm64": "arm64|aarch64"}


def read_containers(path: Path, findings: Findings) -> dict[str, tuple[str, ...]]:
    """Component to its images, of all its partitions and architectures."""
    top = open_mapping(path, findings)
    found: dict[str, tuple[str, ...]] = {}
    if top is None:
        return found
    for name, section in top.sections("components"):
        images = (item.text.strip() for item in section.texts("docker_images") if not item.is_null)
        found[name] = tuple(image for image in images if image)
        section.finish()
    top.finish()
    return found


def images_of(component: str, containers: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The images of a component, or of the segment that it is, of any architecture."""
    by_name = {sanitise(name): images for name, images in containers.items()}
    own = by_name.get(sanitise(component))
    base, partition = partition_of(component)
    if own is None and not partition:
        return ()
    images = own or by_name.get(sanitise(base), ())
    wanted = sanitise(partition) if own is None else "base"
    exact = tuple(image for image in images if re.search(rf"-{re.escape(wanted)}(-|$)", sanitise(image)))
    return exact if exact or own is None else images


def choose_image(images: Sequence[str], architecture: str) -> str:
    """The image whose name or tag has the architecture, else the only one, else none."""
    spellings = _SPELLINGS.get(architecture, re.escape(architecture))
    pattern = re.compile(rf"[-_.:]({spellings})(?=[-_.:@]|$)", re.IGNORECASE)
    fitting = [image for image in images if pattern.search(image.rpartition("/")[2])]
    if fitting:
        return fitting[0]
    return images[0] if len(images) == 1 else ""
