"""The program that runs on machines: what it does to their files, and that it takes back exactly that."""

from __future__ import annotations

import ast
import json
import os
import pwd
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orchestrator.providers.static import claim_program
from orchestrator.providers.static.claim_program import answer_of

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ8b1Zg0pGfM3xWnq0QmH1mQyqN0pT0k9Jr0v5Xo6bK continuum-deploy:a:edge[0]:l"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of the machine's root; the home folder is in it."""
    (tmp_path / "home").mkdir()
    (tmp_path / "lib").mkdir()
    user = pwd.struct_passwd(("pi", "", os.getuid(), os.getgid(), "", str(tmp_path / "home"), "/bin/sh"))
    monkeypatch.setattr(claim_program, "FOLDER", tmp_path / "lib" / "continuum-deploy")
    monkeypatch.setattr(claim_program, "CLAIM", tmp_path / "lib" / "continuum-deploy" / "claim.json")
    monkeypatch.setattr(claim_program.pwd, "getpwnam", lambda _name: user)
    monkeypatch.setattr(claim_program.pwd, "getpwuid", lambda _number: user)
    monkeypatch.setattr(claim_program.os, "geteuid", lambda: 0)
    return tmp_path


def ask(operation: str, **changes: str) -> Any:
    request = {"deployment": "a", "lineage": "l", "address": "edge[0]", "token": "t", "user": "pi", "key": KEY}
    return json.loads(answer_of(json.dumps({**request, "operation": operation, **changes})))


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(p.relative_to(folder)): (p.lstat().st_mode, p.read_bytes() if p.is_file() else b"")
        for p in sorted(folder.rglob("*"))
    }


BEFORE: dict[str, bytes | None] = {
    "no folder": None,
    "an empty folder": b"-",
    "an empty file": b"",
    "a key": b"ssh-rsa AAAA somebody\n",
    "no newline at the end": b"# mine\nssh-rsa AAAA somebody",
    "line ends of Windows": b"ssh-rsa AAAA somebody\r\nssh-rsa BBBB other\r\n",
    "no text": b"ssh-rsa AAAA caf\xe9\n\xff\n",
}


def prepare(machine: Path, content: bytes | None) -> Path:
    path = machine / "home" / ".ssh" / "authorized_keys"
    if content is not None:
        path.parent.mkdir(mode=0o700)
        if content != b"-":
            path.write_bytes(content)
            path.chmod(0o640)
    return path


@pytest.mark.parametrize("content", BEFORE.values(), ids=BEFORE.keys())
def test_claimed_and_released_it_is_as_it_was(machine: Path, content: bytes | None) -> None:
    path = prepare(machine, content)
    before = everything(machine)
    assert ask("claim")["claimed"] is True
    assert path.read_bytes().splitlines()[-1] == KEY.encode()
    assert path.read_bytes().startswith(content.rstrip() if content and content != b"-" else b"")
    assert path.stat().st_mode & 0o777 == (0o640 if (content and content != b"-") or content == b"" else 0o600)
    claimed = everything(machine)
    assert ask("claim")["claimed"] is True
    assert everything(machine) == claimed
    (machine / "home" / ".ansible" / "tmp").mkdir(parents=True)
    assert ask("look") == {"claim": {"deployment": "a", "lineage": "l", "address": "edge[0]", "token": "t"}}
    assert ask("release") == {"released": True}
    assert everything(machine) == before
    assert ask("release") == {"released": False}
    assert ask("look") == {"claim": None}


def test_what_others_add_meanwhile_stays(machine: Path) -> None:
    path = prepare(machine, b"ssh-rsa AAAA somebody")
    ask("claim")
    with path.open("ab") as file:
        file.write(b"ssh-rsa CCCC later\n")
    claim_program.FOLDER.joinpath("kernel-command-line.json").write_text("{}")
    ask("release")
    assert path.read_bytes() == b"ssh-rsa AAAA somebody\nssh-rsa CCCC later\n"
    assert [p.name for p in claim_program.FOLDER.iterdir()] == ["kernel-command-line.json"]


def test_a_link_to_the_file_stays_a_link(machine: Path) -> None:
    path = prepare(machine, b"-")
    elsewhere = machine / "keys"
    elsewhere.write_bytes(b"ssh-rsa AAAA somebody\n")
    path.symlink_to(elsewhere)
    before = everything(machine)
    ask("claim")
    assert path.is_symlink()
    assert KEY in elsewhere.read_text()
    ask("release")
    assert everything(machine) == before


@pytest.mark.parametrize("changes", [{"lineage": "x"}, {"token": "x"}, {"address": "edge[1]"}, {"deployment": "x"}])
def test_what_is_claimed_is_not_claimed_again_and_nothing_changes(machine: Path, changes: dict[str, str]) -> None:
    prepare(machine, b"")
    ask("claim")
    before = everything(machine)
    answer = ask("claim", **changes, key="ssh-ed25519 AAAA other")
    assert "claimed" not in answer
    assert answer["claim"]["lineage"] == "l"
    assert everything(machine) == before
    if changes.keys() & {"lineage", "token"}:
        assert ask("release", **changes) == {"released": False}
        assert everything(machine) == before


def test_a_claim_that_is_not_understood_is_somebodys(machine: Path) -> None:
    prepare(machine, b"")
    claim_program.FOLDER.mkdir()
    claim_program.CLAIM.write_text("half of it")
    before = everything(machine)
    assert "claimed" not in ask("claim")
    assert ask("release") == {"released": False}
    assert everything(machine) == before


def test_of_many_at_once_one_gets_it(machine: Path) -> None:
    prepare(machine, b"")
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda i: ask("claim", lineage=f"l{i}"), range(16)))
    assert sum("claimed" in answer for answer in answers) == 1
    assert len({answer["claim"]["lineage"] for answer in answers}) == 1


def test_one_cut_off_before_the_key_is_completed(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = prepare(machine, b"")

    def cut_off(_login: object) -> None:
        raise OSError("power loss")

    with monkeypatch.context() as patch:
        patch.setattr(claim_program, "let_in", cut_off)
        assert "power loss" in ask("claim")["error"]
    assert path.read_bytes() == b""
    assert ask("claim")["claimed"] is True
    assert path.read_text() == KEY + "\n"


def test_without_rights_it_only_looks(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask("claim")
    monkeypatch.setattr(claim_program.os, "geteuid", lambda: 1000)
    before = everything(machine)
    assert "rights of root" in ask("release")["error"]
    assert ask("look")["claim"]["lineage"] == "l"
    assert everything(machine) == before


def test_a_claim_that_may_not_be_read_is_not_taken_for_none(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask("claim")

    def refuse(*_arguments: object, **_more: object) -> str:
        raise PermissionError("closed")

    monkeypatch.setattr(Path, "read_text", refuse)
    assert ask("look") == {"error": "closed", "needs_root": True}


def test_an_old_python_reads_it_and_it_needs_nothing_installed() -> None:
    path = Path(claim_program.__file__)
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 7))
    modules = {n.name for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert modules <= {
        "__future__", "contextlib", "json", "os", "pwd", "stat", "sys", "tempfile", "pathlib", "typing"
    }  # fmt: skip
