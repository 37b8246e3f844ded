"""The digest of a component's sources."""

import shutil
from pathlib import Path

import pytest

from orchestrator.topology.source_digest import source_digest, source_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "component"
    (made / "part").mkdir(parents=True)
    (made / "main.py").write_text("print()")
    (made / "part" / "data").write_text("x")
    return made


def test_a_copy_has_the_same_digest(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, copy_function=shutil.copy)
    (copy / "main.py").touch()
    (copy / "main.py").chmod(0o600)
    assert source_digest(copy) == source_digest(folder)
    assert source_digest(folder).startswith("sha256:")


def test_what_git_and_python_keep_does_not_count(folder: Path) -> None:
    before = source_digest(folder)
    for name in (".git", "__pycache__", "part/__pycache__"):
        (folder / name).mkdir()
        (folder / name / "file").write_text("x")
    assert source_digest(folder) == before
    assert source_files(folder) == ["main.py", "part/data"]


@pytest.mark.parametrize("change", ["content", "name", "executable", "added", "link"])
def test_every_change_counts(folder: Path, change: str) -> None:
    before = source_digest(folder)
    if change == "content":
        (folder / "main.py").write_text("print(1)")
    elif change == "name":
        (folder / "main.py").rename(folder / "other.py")
    elif change == "executable":
        (folder / "main.py").chmod(0o755)
    elif change == "added":
        (folder / "empty").touch()
    else:
        (folder / "link").symlink_to("main.py")
    assert source_digest(folder) != before


def test_contents_cannot_be_moved_between_files(tmp_path: Path) -> None:
    for name, (a, b) in {"one": ("xy", ""), "two": ("x", "y")}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(a)
        (tmp_path / name / "b").write_text(b)
    assert source_digest(tmp_path / "one") != source_digest(tmp_path / "two")


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        source_digest(tmp_path / "absent")
