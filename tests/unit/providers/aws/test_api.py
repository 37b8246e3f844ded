"""How AWS is found and who is spoken to: certificates, proxies of companies, settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import ProviderError
from orchestrator.providers.aws.failures import unreachable
from orchestrator.providers.aws.provider import AwsProvider
from orchestrator.providers.base import DeploymentTag
from tests.contract.aws_bed import REGION
from tests.faulty_api import faulty_api
from tests.moto_server import aws_settings
from tests.unit.state.conftest import make_certificate

DEPLOYMENT = DeploymentTag("unit", "0123456789abcdef")


def test_whoever_answers_has_to_show_a_certificate_that_is_known(
    aws_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)
    with faulty_api(aws_server, certificate) as api:
        aws_settings(monkeypatch, api.url)
        with pytest.raises(ProviderError) as unknown:
            AwsProvider(REGION).find(DEPLOYMENT)
        assert not unknown.value.transient, "another attempt would show the same one"
        assert "certificate" in unknown.value.detail.lower()
        assert api.calls == [], "nothing was said to a stranger"
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate[0]))
        assert AwsProvider(REGION).find(DEPLOYMENT) == []
        assert api.calls == ["DescribeInstances"]


def test_a_password_in_an_address_is_told_to_nobody() -> None:
    reason = ValueError('Could not connect to the endpoint URL: "https://me:secret@proxy.example:1/"')
    told = unreachable(reason, "asking", "eu-central-1", passing=True)
    assert "secret" not in str(told)
    assert "https://***@proxy.example:1/" in told.detail
