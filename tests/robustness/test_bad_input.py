"""Whatever an input file holds: no traceback, and a refusal says at which line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.cli.main import main

EVERYTHING = Path(__file__).resolve().parent / "everything"
FILES = sorted(str(path.relative_to(EVERYTHING)) for path in EVERYTHING.rglob("*") if path.suffix in (".yaml", ".dat"))
VALUES = [
    "",
    "{}",
    "[]",
    "~",
    "9" * 400,
    ".nan",
    ".inf",
    "-1",
    "2024-01-01",
    "x" * 9000,
    '"\\e[31m"',
    "!!python/object:os.system x",
]
ODD = [
    b"",
    b"\xff\xfe",
    b"\x00",
    b"caf\xe9: 1",
    b"a: *a",
    b"a: &a [*a]",
    b"\ta: 1",
    b"a: 1\na: 2",
    b"a: 1\n---\nb: 2",
    b"[" * 200,
    b"{<<: 3}",
]


def check(folder: Path) -> int:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["validate", str(folder / "production.yaml"), "--format", "json"])
    found = json.loads(out.getvalue())["diagnostics"]
    errors = [one for one in found if one["severity"] == "error"]
    assert code == (2 if errors else 0)
    assert not errors or any(one["location"] for one in errors)
    assert "not-a-password" not in out.getvalue()
    return code


@pytest.mark.parametrize("content", ODD)
@pytest.mark.parametrize("name", FILES)
def test_odd_files(tmp_path: Path, name: str, content: bytes) -> None:
    folder = Path(shutil.copytree(EVERYTHING, tmp_path / "app"))
    (folder / name).write_bytes(content)
    code = check(folder)
    assert code == 2 or name != "production.yaml"


@pytest.mark.parametrize("name", FILES)
def test_no_ordinary_file(tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(EVERYTHING, tmp_path / "app"))
    (folder / name).unlink()
    os.mkfifo(folder / name)
    check(folder)


@settings(max_examples=200, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_changed_lines(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(FILES))
    lines = (EVERYTHING / name).read_text("utf-8").splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    key, colon, _ = lines[at].partition(":")
    changes = [
        [],
        [lines[at]] * 2,
        [lines[at][:-1]],
        ["x" + lines[at]],
        *([f"{key}{colon} {value}"] for value in VALUES),
    ]
    lines[at : at + 1] = data.draw(st.sampled_from(changes))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(shutil.copytree(EVERYTHING, Path(place) / "app"))
        (folder / name).write_text("\n".join(lines) + "\n", "utf-8")
        check(folder)


def test_everything_is_valid() -> None:
    assert check(EVERYTHING) == 0
