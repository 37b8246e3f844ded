"""The listing that `make test-real` takes before and after, on this computer."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.real.test_boards import differences


def test_it_lists_what_is_there_and_not_what_comes_and_goes(repository: Path) -> None:
    program = repository / "tests" / "real" / "list_machine.py"
    command = ["python3", "-I", "-W", "error", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    listed: dict[str, list[str]] = json.loads(done.stdout)
    assert {"files", "mounts", "interfaces", "rules", "units", "programs", "command line", "swap"} == set(listed)
    assert "/etc/passwd" in listed["files"]
    assert "/" in listed["mounts"]
    assert "lo" in listed["interfaces"]
    passing = ("/var/lib/dpkg", "/var/lib/apt", "/run/user", "/var/lib/systemd", "/var/log/")
    assert [path for path in listed["files"] if path.startswith(passing)] == []


def test_what_came_and_what_went_is_told() -> None:
    assert differences(["/etc/a", "/etc/b"], ["/etc/b", "/etc/c"]) == [("+", "/etc/c"), ("-", "/etc/a")]
    assert differences(["/etc/a"], ["/etc/a"]) == []
