"""A real play that outlives its run keeps the deployment locked for other hosts too, by the socket it inherited."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event
from uuid import uuid4

import pytest

from orchestrator.errors import LockedError
from orchestrator.services.deployment import open_for_working
from tests.integration.test_orphaned_play import PLAY, RUN
from tests.unit.state.conftest import PostgresServer, postgres_server

__all__ = ["postgres_server"]


def acquire() -> None:
    with open_for_working("demo", "deploy apply production.yaml", Event()):
        pass


@pytest.mark.parametrize("sslmode", ["disable", "require"])
def test_another_host_is_refused_while_an_orphaned_play_lives(
    sslmode: str, postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOY_STATE", f"{postgres_server.url}?schema=s{uuid4().hex[:12]}&sslmode={sslmode}")
    (tmp_path / "play.yml").write_text(PLAY, encoding="utf-8")
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "DEPLOY_HOME": str(tmp_path / "alpha")},
    )
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "beta"))
    try:
        assert run.stdout is not None
        assert run.stdout.readline() == "Wait until the test says go on\n"
        with pytest.raises(LockedError) as alive:
            acquire()
        assert f"process {run.pid}" in alive.value.detail
        run.send_signal(signal.SIGKILL)
        run.wait(10)
        with pytest.raises(LockedError) as orphaned:
            acquire()
        assert "deploy apply production.yaml" in orphaned.value.detail
        assert not (tmp_path / "gate").exists()
        (tmp_path / "gate").touch()
        for _ in range(400):
            try:
                acquire()
                break
            except LockedError:
                time.sleep(0.05)
        else:
            pytest.fail("the lock is not free though the play has ended")
        assert "PLAY RECAP" in (tmp_path / "play.log").read_text(encoding="utf-8"), "the play went on to its end"
    finally:
        (tmp_path / "gate").touch()
        run.kill()
        run.communicate(timeout=10)
