"""What the distribution holds, and whether an installed one works from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator import __version__

DATA_FOLDERS = ("playbooks", "terraform", "tosca")


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Standard output of a program that must succeed within two minutes."""
    result = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
    return result.stdout


@dataclass(frozen=True, slots=True)
class Distribution:
    """The two files that are published."""

    wheel: Path
    sdist: Path


@dataclass(frozen=True, slots=True)
class Installation:
    """A virtual environment with the wheel in it, and a clean environment to start its programs in."""

    bin: Path
    environment: dict[str, str]


def build(source: Path, into: Path) -> Distribution:
    run(sys.executable, "-m", "hatchling", "build", "-d", into, cwd=source)
    return Distribution(wheel=next(into.glob("*.whl")), sdist=next(into.glob("*.tar.gz")))


def names_in_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def distribution(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    return build(repository, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def installed(distribution: Distribution, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "--quiet", "install",
        "--no-deps", "--no-index", distribution.wheel, cwd=folder)  # fmt: skip
    # The libraries are lent by the environment of the tests. A folder named in a .pth file has its own .pth files
    # ignored, so the checkout, which is installed there in editable form, stays out of sight.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    lent = sysconfig.get_paths()["purelib"]
    (folder / "lib" / version / "site-packages" / "lent.pth").write_text(f"{lent}\n", encoding="utf-8")
    path = f"{folder / 'bin'}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    return Installation(bin=folder / "bin", environment={"PATH": path, "HOME": str(folder), "LANG": "C.UTF-8"})


def test_the_wheel_holds_every_file_of_the_package_and_its_data(repository: Path, distribution: Distribution) -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", "orchestrator", *DATA_FOLDERS]
    listed = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=30, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: there is no list of what belongs to the project")
    expected = {
        f"orchestrator/_data/{name}" if name.split("/")[0] in DATA_FOLDERS else name
        for name in listed.stdout.split()
        if (repository / name).is_file() and not name.startswith("playbooks/molecule/")
    }
    shipped = {name for name in names_in_wheel(distribution.wheel) if ".dist-info/" not in name}
    assert shipped == expected


def test_the_wheel_holds_what_is_not_python_too(distribution: Distribution) -> None:
    names = names_in_wheel(distribution.wheel)
    assert "orchestrator/py.typed" in names
    for prefix in ("orchestrator/_data/tosca/types/", "orchestrator/_data/tosca/profiles/", "orchestrator/standins/"):
        assert any(name.startswith(prefix) for name in names), f"nothing under {prefix}"
    assert "orchestrator/_data/playbooks/site.yml" in names
    assert {name.split("/")[0] for name in names} == {"orchestrator", f"continuum_deploy-{__version__}.dist-info"}


def test_the_source_distribution_builds_the_same_wheel(distribution: Distribution, tmp_path: Path) -> None:
    with tarfile.open(distribution.sdist) as archive:
        # Debian 12's Python 3.11.2 has no `filter` argument; where there are filters, not choosing one is a warning.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _path: member)
        archive.extractall(tmp_path)  # noqa: S202 - the archive was made a moment ago
    again = build(tmp_path / f"continuum_deploy-{__version__}", tmp_path / "dist")
    assert names_in_wheel(again.wheel) == names_in_wheel(distribution.wheel)


def test_the_command_is_called_deploy(installed: Installation, tmp_path: Path) -> None:
    assert __version__ in run(installed.bin / "deploy", "--version", cwd=tmp_path, env=installed.environment)


def test_the_installed_program_reads_its_own_data(installed: Installation, tmp_path: Path) -> None:
    program = (
        "import orchestrator\n"
        "from orchestrator.resources import data_path\n"
        f"assert all(data_path(name).is_dir() for name in {DATA_FOLDERS!r})\n"
        "print(data_path('tosca'), orchestrator.__file__)"
    )
    out = run(installed.bin / "python", "-c", program, cwd=tmp_path, env=installed.environment)
    data, package = (Path(word) for word in out.split())
    assert data.is_relative_to(installed.bin.parent)
    assert package.is_relative_to(installed.bin.parent)


def test_the_installed_program_validates_the_example(installed: Installation, repository: Path, tmp_path: Path) -> None:
    example = os.path.relpath(repository / "examples" / "mask-detection" / "production.yaml", tmp_path)
    run(installed.bin / "deploy", "validate", example, cwd=tmp_path, env=installed.environment)


def test_the_installed_program_compiles_the_example_away_from_the_checkout(
    installed: Installation, repository: Path, tmp_path: Path
) -> None:
    example = repository / "examples" / "mask-detection" / "production.yaml"
    run(installed.bin / "deploy", "compile", example, "-o", tmp_path / "out", cwd=tmp_path, env=installed.environment)
    assert any((tmp_path / "out").rglob("*.yaml"))
