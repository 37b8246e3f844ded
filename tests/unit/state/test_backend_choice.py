"""Which place the state is kept in: the variable, the file, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.errors import UsageError
from orchestrator.state import backend
from orchestrator.state.folders import deploy_home, state_folder
from tests.unit.state.test_backends import filled


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "home"))


def test_the_folder_is_the_default_and_the_variable_goes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert backend.open_backend().place == str(deploy_home())
    backend.choose(f"file://{tmp_path}/chosen")
    assert backend.open_backend().place == f"{tmp_path}/chosen"
    assert backend.choice_file().stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("DEPLOY_STATE", f"file://{tmp_path}/given")
    assert backend.open_backend().place == f"{tmp_path}/given"
    monkeypatch.setenv("DEPLOY_STATE", "file:")
    assert backend.open_backend().place == str(deploy_home())


def test_a_deployment_may_have_any_name_beside_the_choice() -> None:
    backend.choose("file:")
    filled(backend.open_backend(), "backend")
    assert backend.open_backend().deployments() == ("backend",)
    assert state_folder("backend").is_dir()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s4://bucket", "Did you mean 's3'?"),
        ("postgres-ql://host/db", "Did you mean 'postgres"),
        ("gs://bucket/prefix", "The scheme 'gs' is not known."),
        ("bucket/prefix", "It has no scheme."),
        ("s3://", "It names no bucket."),
        ("s3://key@bucket", "names a user"),
        ("s3://bucket:9000/x", "names a user or a port"),
        ("s3://bucket?regoin=x", "Did you mean 'region'?"),
        ("s3://bucket?encryption=rot13", "rot13"),
        ("file://otherhost/x", "is another host"),
        ("file:///x?y=z", "'y' is not known"),
        ("postgresql://host:99999999/x", "It is no URL"),
    ],
)
def test_what_means_nothing_is_refused(url: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        backend.open_backend(url)
    assert told in caught.value.detail
    assert caught.value.resolution


@pytest.mark.parametrize("url", ["postgresql://me:hunter2/x@host/db", "postgresql://me:hun@ter2#hunter2@host/db"])
def test_a_password_with_odd_characters_is_not_shown_either(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        backend.open_backend(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@host/db",
        "postgresql://host/db?password=hunter2",
        "postgresql://host/db?sslpassword=hunter2",
        "s3://AKIA:hunter2@bucket/x",
        "s3://bucket/x?aws_secret_access_key=hunter2",
    ],
)
def test_a_password_is_refused_and_not_repeated(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEPLOY_STATE", url)
    assert main(["state", "list"]) == 2
    shown = capsys.readouterr().err
    assert "hunter2" not in shown
    assert "PGPASSFILE" in shown
    assert "AWS_PROFILE" in shown
