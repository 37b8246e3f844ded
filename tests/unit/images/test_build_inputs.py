"""What a build gets of this machine's package configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.images.build_inputs import (
    ArchiveSource,
    archive_sources,
    machine_build_inputs,
    pip_settings,
    render_pip_configuration,
    render_sources,
)

STANZAS = """\
Types: deb
# kept as it was on that day
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/archive.gpg

Types: deb-src
URIs: http://mirror.example/debian
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://old.example/debian
Suites: bookworm
Components: main
"""


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (parts / "debian.sources").write_text(STANZAS, encoding="utf-8")
    (parts / "node.sources").write_text(
        "Types: deb\nURIs: https://deb.vendor.example/node_20.x\nSuites: nodistro\nComponents: main\n", encoding="utf-8"
    )
    (parts / "broken.sources.dpkg-old").write_text(STANZAS, encoding="utf-8")
    (tmp_path / "sources.list").write_text(
        "# a comment\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian-security bookworm-security main # why\n"
        "deb http://mirror.example/debian trixie main\n"
        "deb-src http://mirror.example/debian bookworm main\n",
        encoding="utf-8",
    )
    return tmp_path


def test_only_the_distributions_own_archive_is_taken(apt: Path) -> None:
    assert archive_sources("bookworm", apt) == [
        ArchiveSource("http://mirror.example/debian-security", ["bookworm-security"], ["main"], "/k.gpg"),
        ArchiveSource(
            "http://mirror.example/debian",
            ["bookworm", "bookworm-updates"],
            ["main", "contrib"],
            "/usr/share/keyrings/archive.gpg",
        ),
    ]


def test_without_apt_there_are_no_sources(tmp_path: Path) -> None:
    assert archive_sources(None, tmp_path / "nowhere") == []


def test_sources_are_written_one_suite_a_line() -> None:
    source = ArchiveSource("http://mirror.example/debian", ["a", "a-updates"], ["main"], "/k.gpg")
    assert render_sources([source]) == (
        "deb [signed-by=/k.gpg] http://mirror.example/debian a main\n"
        "deb [signed-by=/k.gpg] http://mirror.example/debian a-updates main\n"
    )


def test_folders_of_this_machine_are_mounted_for_pip(tmp_path: Path) -> None:
    index, wheels = tmp_path / "index" / "simple", tmp_path / "wheels"
    index.mkdir(parents=True)
    wheels.mkdir()
    text, mounts = render_pip_configuration(
        {
            "index-url": "https://user:word@mirror.example/simple",
            "extra-index-url": f"file://{index} file:///not/there/simple",
            "find-links": str(wheels),
            "timeout": "60",
        }
    )
    assert text.splitlines() == [
        "[global]",
        "extra-index-url = file:///run/build-folders/0/simple",
        "find-links = /run/build-folders/1",
        "index-url = https://user:word@mirror.example/simple",
        "timeout = 60",
    ]
    assert [(m.source, m.target) for m in mounts] == [
        (tmp_path / "index", "/run/build-folders/0"),
        (wheels, "/run/build-folders/1"),
    ]


def test_the_environment_wins_over_pips_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nindex-url = https://file.example/simple\ntimeout = 7\n", encoding="utf-8")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setenv("PIP_INDEX_URL", "https://variable.example/simple")
    monkeypatch.delenv("PIP_TIMEOUT", raising=False)
    settings = pip_settings()
    assert settings["index-url"] == "https://variable.example/simple"
    assert settings["timeout"] == "7"


def test_what_is_handed_over_is_gone_afterwards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\n", encoding="ascii")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    with machine_build_inputs(tmp_path / "cache") as inputs:
        folder = inputs.mounts[0].source
        assert (folder / "ca.pem").read_text(encoding="ascii").startswith("-----BEGIN")
        assert (folder / "pip.conf").stat().st_mode & 0o077 == 0
        assert inputs.environment["PIP_CERT"] == "/run/build-inputs/ca.pem"
        assert inputs.environment["HTTPS_PROXY"] == inputs.environment["https_proxy"] == "http://proxy.example:3128"
    assert not folder.exists()
