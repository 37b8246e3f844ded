"""The machine that it runs on, or the folder that stands for one, and the faults that are switched on there."""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from k3s_standin.process import FatalError

ROOT = Path(os.environ.get("K3S_STANDIN_ROOT", "/"))


def rooted(path: str) -> Path:
    """``path`` below the folder that stands for ``/``."""
    return ROOT / path.lstrip("/")


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file in one step, never readable by more than ``mode`` says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as stream:
        stream.write(text)
    temporary.chmod(mode)
    temporary.replace(path)


def now() -> str:
    """The time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def faults() -> dict[str, Any]:
    """Delays and failures that are switched on; a file that is just being written is read once more, for a second."""
    path, end = rooted("/etc/k3s-standin.json"), time.monotonic() + 1
    while True:
        try:
            loaded = json.loads(path.read_text())
        except FileNotFoundError:
            return {}
        except ValueError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return loaded if isinstance(loaded, dict) else {}


def is_machine() -> bool:
    """Whether it runs as root on a machine of its own, not beside itself in a folder."""
    return str(ROOT) == "/" and os.geteuid() == 0


def machine_architecture() -> str:
    """The machine's architecture as Kubernetes names it."""
    return {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}.get(platform.machine(), platform.machine())


def check_memory_cgroup() -> None:
    """K3s refuses to start when the kernel keeps no account of memory."""
    unified = rooted("/sys/fs/cgroup/cgroup.controllers")
    if unified.is_file():
        if "memory" not in unified.read_text().split():
            raise FatalError("failed to find memory cgroup (v2)")
        return
    table = rooted("/proc/cgroups")
    rows = [line.split() for line in table.read_text().splitlines()] if table.is_file() else []
    if not any(row[0] == "memory" and row[3] == "1" for row in rows if len(row) == 4):
        raise FatalError(
            'failed to find memory cgroup, you may need to add "cgroup_memory=1 cgroup_enable=memory" '
            "to your linux cmdline (/boot/cmdline.txt on a Raspberry Pi)"
        )
