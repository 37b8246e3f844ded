"""Files that are none, are too large, or take all memory to read: refused in bounded time, without a traceback."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EVERYTHING = Path(__file__).resolve().parent / "everything"
FILES = sorted(str(path.relative_to(EVERYTHING)) for path in EVERYTHING.rglob("*") if path.suffix in (".yaml", ".dat"))
OVER = 10 * 1024 * 1024 + 1
FULL = 10 * 1024 * 1024 - 64


def _bound() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))


def validate(folder: Path) -> int:
    """Exit code of a process of its own that may take 1 GB and 20 seconds."""
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli.main", "validate", str(folder / "production.yaml"), "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=_bound,
        env={**os.environ, "DEPLOY_HOME": str(folder / ".state")},
    )
    assert "Traceback" not in done.stderr, done.stderr[-2000:]
    assert done.returncode in (0, 2), (done.returncode, done.stderr[-500:])
    return done.returncode


def _too_large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(OVER)


def _symlink_loop(path: Path) -> None:
    path.symlink_to(path.name)


WAYS = [_too_large, Path.mkdir, os.mkfifo, _symlink_loop, Path.touch]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.strip("_"))
@pytest.mark.parametrize("name", ["production.yaml", pytest.param("others", marks=pytest.mark.slow)])
def test_no_file_to_read(tmp_path: Path, name: str, way: object) -> None:
    for one in FILES if name == "others" else [name]:
        folder = Path(shutil.copytree(EVERYTHING, tmp_path / one.replace("/", "-")))
        (folder / one).unlink()
        assert callable(way)
        way(folder / one)
        code = validate(folder)
        assert code == 2 or one != "production.yaml"


BOMB = b"".join(b"a%d: &a%d [%s]\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 30))
HEAVY = {
    "aliases": b"a0: &a0 [x, x]\n" + BOMB,
    "brackets": b"[" * FULL,
    "braces": b"{a: " * (FULL // 4),
    "colons": b": " * (FULL // 2),
    "quote": b'"' + b"x" * FULL,
    "password": b"password: " * (FULL // 10),
    "dashes": b"- " * (FULL // 2),
    "keys": b"".join(b"k%d: 1\n" % i for i in range(700_000)),
    "lines": b"\n" * FULL,
    "digits": b"x: " + b"9" * FULL,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(HEAVY))
def test_heavy_text_is_read_or_refused_in_bounds(tmp_path: Path, kind: str) -> None:
    for name in ("production.yaml", "application_dag.yaml", "im/auth.dat"):
        folder = Path(shutil.copytree(EVERYTHING, tmp_path / name.replace("/", "-")))
        (folder / name).write_bytes(HEAVY[kind])
        assert validate(folder) == 2 or name != "production.yaml"
