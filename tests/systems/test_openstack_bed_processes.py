"""What is started for the control plane ends with the tests, whatever happens to them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.systems.openstack_bed.processes import Processes

pytestmark = pytest.mark.systems

REPOSITORY = Path(__file__).parent.parent.parent


def test_processes_end_with_the_tests_even_if_those_are_killed(tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    killed = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from tests.systems.openstack_bed.processes import Processes
        folder = Path(sys.argv[1])
        processes = Processes(folder, dict(os.environ), folder)
        processes.start("one", ["sleep", "600"])
        processes.start("two", ["sh", "-c", "sleep 600 & echo $!; wait"])
        processes.until("two", lambda: processes.log("two").read_text().endswith("\\n"))
        print(*processes.ids().values(), processes.log("two").read_text(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", killed, folder], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    started = [int(word) for word in done.stdout.split()]
    assert len(started) == 3
    ends = time.monotonic() + 30
    while folder.exists() or any(Path(f"/proc/{process}").exists() for process in started):
        assert time.monotonic() < ends, started
        time.sleep(0.1)


def test_a_server_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    processes = Processes(tmp_path, {"PATH": os.environ["PATH"]}, tmp_path)
    processes.start("failing", ["sh", "-c", "echo no database >&2; exit 1"])
    with pytest.raises(AssertionError, match="failing did not start, or failed:\nno database"):
        processes.until("failing", lambda: False)
    processes.close()
    assert processes.ids() == {}
