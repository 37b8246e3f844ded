"""Commands that look at the node's own files: ctr, etcd-snapshot, certificate."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path

from k3s_standin.images import image_names, imported_images, note_images
from k3s_standin.machine import write_private
from k3s_standin.options import data_folder, first, parse_flags
from k3s_standin.process import log


def ctr(arguments: list[str]) -> int:
    """``images import FILE`` looks at the archive and keeps its names; ``images ls`` lists them."""
    words = [word for word in arguments if not word.startswith("-") and word != "k8s.io"]
    data = data_folder({})
    if words[:1] in (["images"], ["image"], ["i"]) and words[1:2] in (["ls"], ["list"]):
        path = imported_images(data)
        print("\n".join(json.loads(path.read_text()) if path.is_file() else []))
        return 0
    if words[:2] != ["images", "import"] or len(words) != 3:
        print("ctr: the stand-in for K3s knows 'images import FILE' and 'images ls' only", file=sys.stderr)
        return 1
    try:
        note_images(data, image_names(Path(words[2])))
    except (OSError, ValueError, tarfile.TarError) as reason:
        print(f"ctr: {reason}", file=sys.stderr)
        return 1
    print(f"unpacking {words[2]} ... done (not kept: a stand-in for K3s)")
    return 0


def etcd_snapshot(arguments: list[str]) -> int:
    """``save [--name NAME]`` and ``ls``: copies of the state in ``server/db/snapshots``."""
    options = parse_flags([word for word in arguments if word not in {"save", "ls", "list"}])
    database = data_folder(options) / "server" / "db"
    folder = database / "snapshots"
    if {"ls", "list"} & set(arguments):
        for path in sorted(folder.glob("*")) if folder.is_dir() else []:
            print(path.name, f"file://{path}", path.stat().st_size)
        return 0
    state = json.loads((database / "state.json").read_text()) if (database / "state.json").is_file() else {}
    if not state.get("members"):
        log("fatal", "etcd datastore disabled")
        return 1
    name = f"{first(options, 'name', 'on-demand')}-{socket.gethostname()}-{int(time.time())}"
    write_private(folder / name, json.dumps(state))
    print(f"Snapshot {name} saved.")
    return 0


def certificate(arguments: list[str]) -> int:
    """``check`` tells when each certificate ends; ``rotate`` takes them away, so that the next start makes new ones."""
    data = data_folder({})
    paths = [*sorted((data / "server" / "tls").glob("*.crt")), *sorted((data / "agent").glob("*.crt"))]
    for path in paths:
        if arguments[:1] == ["rotate"] and "-ca" not in path.name:
            path.unlink()
        elif arguments[:1] == ["check"]:
            command = ["openssl", "x509", "-noout", "-enddate", "-in", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
            log(
                "info",
                f"{path}: certificate {path.stem} is ok, expires at {done.stdout.strip().removeprefix('notAfter=')}",
            )
    return 0
