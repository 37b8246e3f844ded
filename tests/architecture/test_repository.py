"""Rules about the files of the repository themselves."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

# Spelt in two halves, because this file must not name them either.
REGISTRY_HOSTS = tuple(
    ".".join(words)
    for words in (
        ("pypi", "org"),
        ("files", "pythonhosted", "org"),
        ("deb", "debian", "org"),
        ("security", "debian", "org"),
        ("archive", "ubuntu", "com"),
        ("registry", "npmjs", "org"),
    )
)
LOCKS = ("requirements.lock", "requirements-dev.lock")
SYSTEMS_LOCK = "requirements-systems.lock"


def tracked_texts(repository: Path) -> dict[str, str]:
    """Text of every file that belongs to the repository, by its path."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=30, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: there is no list of what belongs to the project")
    texts = {}
    for name in listed.stdout.splitlines():
        path = repository / name
        if path.is_file():
            texts[name] = path.read_text(encoding="utf-8", errors="replace")
    return texts


def machine_settings(repository: Path) -> set[str]:
    """What only this machine calls so: where the checkout lies, and the package sources it is set up with."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    configured = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    sources = [line for line in configured.splitlines() if re.search(r"index|find-links|trusted-host|proxy", line)]
    words = {word for line in sources for word in line.partition("=")[2].strip("'\" ").split()}
    words |= {os.environ[name] for name in ("PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX") if name in os.environ}
    words.add(str(repository))
    words = {word.removeprefix("file://").rstrip("/") for word in words}
    return {word for word in words if word.count("/") >= 2}


def locked(path: Path) -> dict[str, list[Requirement]]:
    """Requirements of a lock file by package; a package may have one version for each range of Pythons."""
    found: dict[str, list[Requirement]] = {}
    for line in path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        text = line.split(" --hash=")[0].strip()
        if text and not text.startswith("#"):
            requirement = Requirement(text)
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def project(repository: Path) -> dict[str, object]:
    table = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert isinstance(table, dict)
    return table


def test_no_file_names_a_package_registry(repository: Path) -> None:
    found = {
        f"{name}: {host}" for name, text in tracked_texts(repository).items() for host in REGISTRY_HOSTS if host in text
    }
    assert not found


def test_no_file_names_a_path_of_this_machine(repository: Path) -> None:
    words = machine_settings(repository)
    patterns = [re.compile(rf"(?<![\w./-]){re.escape(word)}(?![\w-])") for word in words]
    found = {
        f"{name}: {pattern.pattern}"
        for name, text in tracked_texts(repository).items()
        for pattern in patterns
        if pattern.search(text)
    }
    assert not found


@pytest.mark.parametrize("name", [*LOCKS, SYSTEMS_LOCK])
def test_a_lock_pins_everything_by_hash_and_names_no_place(name: str, repository: Path) -> None:
    text = (repository / name).read_text(encoding="utf-8")
    assert "://" not in text
    for line in text.replace("\\\n", " ").splitlines():
        assert re.fullmatch(r"[\w.-]+==[\w.]+( ; [^#]+?)?( +--hash=sha256:[0-9a-f]{64})+", line), line[:100]


def test_the_development_lock_holds_the_run_time_lock(repository: Path) -> None:
    runtime, development = (
        {name: {str(pin.specifier) for pin in pins} for name, pins in locked(repository / lock).items()}
        for lock in LOCKS
    )
    assert {name: development.get(name) for name in runtime} == runtime


def test_the_locks_satisfy_what_the_project_asks_for(repository: Path) -> None:
    table = project(repository)
    extras = table["optional-dependencies"]
    dependencies = table["dependencies"]
    assert isinstance(extras, dict)
    assert isinstance(dependencies, list)
    runtime, development = (locked(repository / name) for name in LOCKS)
    asked = [(text, runtime) for text in dependencies]
    asked += [(text, development) for text in (*extras["dev"], *extras["openstack"])]
    for text, lock in asked:
        requirement = Requirement(text)
        if requirement.name == table["name"]:
            continue
        pins = lock.get(canonicalize_name(requirement.name), [])
        assert pins, f"{text} is not locked: run scripts/lock"
        for pin in pins:
            version = next(iter(pin.specifier)).version
            assert requirement.specifier.contains(Version(version)), f"{pin} does not satisfy {text}: run scripts/lock"


def test_decision_records_are_numbered_without_gaps(repository: Path) -> None:
    names = sorted(path.name for path in (repository / "docs" / "adr").glob("*.md"))
    numbers = [int(re.match(r"(\d{4})-[a-z0-9-]+\.md$", name).group(1)) for name in names]  # type: ignore[union-attr]
    assert numbers == list(range(1, len(numbers) + 1)), names


def test_every_decision_record_has_the_usual_parts(repository: Path) -> None:
    for path in (repository / "docs" / "adr").glob("*.md"):
        text = path.read_text(encoding="utf-8")
        assert re.match(rf"# {int(path.name[:4])}\. \S", text), path.name
        assert re.search(r"^Status: (accepted|proposed|superseded by \d+)$", text, re.MULTILINE), path.name
        headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert headings[:3] == ["Context", "Decision", "Consequences"], path.name


def test_data_folders_are_no_python_packages(repository: Path) -> None:
    """Another distribution owns the import name of one of them."""
    for folder in ("tosca", "playbooks", "terraform", "inventories"):
        assert not list((repository / folder).rglob("__init__.py"))
