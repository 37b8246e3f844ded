"""Archives of images: what is in them, and which were imported."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

from k3s_standin.machine import write_private
from k3s_standin.process import log


def image_names(path: Path) -> list[str]:
    """Names of the images in an archive; raises OSError or ValueError if it is none."""
    with path.open("rb") as stream:
        packed_by_zstd = stream.read(4) == b"\x28\xb5\x2f\xfd"
    if packed_by_zstd:
        if not shutil.which("zstd"):
            return [path.name.removesuffix(".tar.zst")]
        done = subprocess.run(["zstd", "-dcq", str(path)], capture_output=True, timeout=120, check=False)
        if done.returncode:
            raise ValueError(done.stderr.decode(errors="replace").strip())
        source: io.BufferedIOBase = io.BytesIO(done.stdout)
    else:
        source = path.open("rb")
    with source, tarfile.open(fileobj=source) as archive:
        names = set(archive.getnames())
        if "manifest.json" in names:
            listed = json.load(archive.extractfile("manifest.json") or io.BytesIO(b"[]"))
            return [tag for entry in listed for tag in entry.get("RepoTags") or []]
        if "index.json" in names:
            listed = json.load(archive.extractfile("index.json") or io.BytesIO(b"{}")).get("manifests", [])
            return [
                tag for entry in listed if (tag := (entry.get("annotations") or {}).get("io.containerd.image.name"))
            ]
    raise ValueError("unrecognized image format")


def imported_images(data: Path) -> Path:
    """Where the names of imported images are kept."""
    return data / "agent" / "containerd" / "standin-images.json"


def note_images(data: Path, names: list[str]) -> None:
    """Remember imported images."""
    path = imported_images(data)
    known = json.loads(path.read_text()) if path.is_file() else []
    write_private(path, json.dumps(sorted({*known, *names})))


def import_images(data: Path) -> None:
    """Import every archive of the images folder; one that cannot be read is passed over with a word, as with K3s."""
    folder = data / "agent" / "images"
    for path in sorted(folder.glob("*")) if folder.is_dir() else []:
        if not re.search(r"\.(tar|tar\.gz|tgz|tar\.zst|tar\.bz2)$", path.name):
            continue
        try:
            note_images(data, image_names(path))
            log("info", f"Imported images from {path}")
        except (OSError, ValueError, tarfile.TarError) as reason:
            log("error", f"Error encountered while importing {path}: {reason}")
