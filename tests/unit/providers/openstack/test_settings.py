"""Which cloud of the user's settings is asked, found by the host that images are written with."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.errors import ProviderError
from orchestrator.providers.openstack.provider import OpenStackProvider
from orchestrator.providers.openstack.settings import host_of, region_of
from orchestrator.providers.registry import is_cloud, load_provider

Clouds = Callable[..., None]
LOGIN = {"username": "me", "password": "swordfish", "project_name": "edge", "user_domain_id": "default"}


@pytest.fixture
def clouds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clouds:
    """Writes a clouds.yaml; no other settings are there."""
    for name in [name for name in os.environ if name.startswith("OS_")]:
        monkeypatch.delenv(name)
    path = tmp_path / "clouds.yaml"
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))
    monkeypatch.chdir(tmp_path)

    def write(**named: dict[str, Any] | str) -> None:
        told = {}
        for name, settings in named.items():
            more = {"auth_url": settings} if isinstance(settings, str) else settings
            url = more.pop("auth_url", "")
            told[name] = {"auth": {**LOGIN, "project_domain_id": "default", "auth_url": url}, **more}
        path.write_text(yaml.safe_dump({"clouds": told}), encoding="utf-8")

    return write


def test_the_cloud_at_the_host_is_taken(clouds: Clouds) -> None:
    clouds(one="https://one.example:5000/v3", two="https://two.example/identity", three="https://one.example:6000")
    assert region_of("two.example").name == "two"
    assert region_of("one.example:5000").name == "one"
    assert region_of("TWO").name == "two"
    with pytest.raises(ProviderError, match="no credentials for the cloud") as nowhere:
        region_of("three.example")
    assert "two (two.example)" in nowhere.value.detail
    with pytest.raises(ProviderError, match="Several clouds") as several:
        region_of("one.example")
    assert "one, three" in several.value.detail


def test_the_one_that_is_named_counts_where_several_fit(clouds: Clouds, monkeypatch: pytest.MonkeyPatch) -> None:
    clouds(one="https://c.example/v3", two="https://c.example/v3", other="https://o.example/v3")
    monkeypatch.setenv("OS_CLOUD", "two")
    assert region_of("c.example").name == "two"
    assert region_of("").name == "two"
    assert region_of("o.example").name == "other", "one deployment may span several"
    monkeypatch.setenv("OS_CLOUD", "none")
    with pytest.raises(ProviderError, match="no such cloud"):
        region_of("c.example")


def test_variables_alone_are_a_cloud_too(clouds: Clouds, monkeypatch: pytest.MonkeyPatch) -> None:
    clouds()
    for name, value in {**LOGIN, "auth_url": "https://v.example/v3", "project_domain_id": "default"}.items():
        monkeypatch.setenv(f"OS_{name.upper()}", value)
    assert region_of("v.example").config["auth"]["username"] == "me"
    assert region_of("").config["auth"]["username"] == "me"


@pytest.mark.parametrize("unsafe", [{"verify": False}, {"insecure": True}])
def test_a_certificate_is_always_checked(clouds: Clouds, unsafe: dict[str, Any], tmp_path: Path) -> None:
    clouds(
        one={"auth_url": "https://one.example/v3", **unsafe},
        two={"auth_url": "https://two.example/v3", "cacert": str(tmp_path / "ca.crt")},
    )
    with pytest.raises(ProviderError, match="certificate would not be checked"):
        region_of("one.example")
    assert region_of("two.example").get_requests_verify_args()[0] == str(tmp_path / "ca.crt")


def test_settings_that_lack_something_are_told_without_the_password(clouds: Clouds) -> None:
    clouds(one={"auth_url": "https://one.example/v3", "auth_type": "v3nonsense"})
    with pytest.raises(ProviderError, match="settings of OpenStack clients") as wrong:
        region_of("one.example")
    assert "nonsense" in wrong.value.detail
    assert "swordfish" not in str(wrong.value)


def test_every_wait_has_an_end(clouds: Clouds) -> None:
    clouds(one="https://one.example/v3", two={"auth_url": "https://two.example/v3", "api_timeout": 5})
    assert region_of("one.example").config["api_timeout"] == 60
    assert region_of("two.example").config["api_timeout"] == 5


def test_without_settings_a_check_has_one_finding_and_nothing_is_connected_to(clouds: Clouds) -> None:
    clouds()
    from tests.unit.providers.openstack.test_flavors import REQUEST

    assert is_cloud("openstack/cloud.example")
    assert isinstance(load_provider("openstack/cloud.example"), OpenStackProvider)
    (finding,) = OpenStackProvider("cloud.example").check([REQUEST, REQUEST])
    assert finding.is_error
    assert "clouds.yaml" in finding.detail


def test_a_host_is_written_without_its_usual_port() -> None:
    assert host_of("https://C.example:443/v3") == "c.example"
    assert host_of("https://c.example:5000/v3") == "c.example:5000"
    assert host_of("") == ""
