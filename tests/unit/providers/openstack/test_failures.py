"""What the services of OpenStack say, each in its own form, as errors that say what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from keystoneauth1 import exceptions as auth
from keystoneauth1 import session

from orchestrator.providers.openstack.failures import ApiError, refused, unreachable


def answer(status: int, body: Any = None, **headers: str) -> ApiError:
    text = body if isinstance(body, str) else json.dumps(body or {})
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return refused(status, told, text, "making the machine edge[0]", "cloud.example")


NOVA_QUOTA = {"forbidden": {"code": 403, "message": "Quota exceeded for cores: Requested 8, but already used 4 of 10"}}
NEUTRON_QUOTA = {
    "NeutronError": {"type": "OverQuota", "message": "Quota exceeded for resources: ['floatingip'].", "detail": ""}
}
CINDER_QUOTA = {"overLimit": {"code": 413, "message": "VolumeLimitExceeded: Maximum number of volumes allowed (1)"}}
NO_ADDRESS = {"NeutronError": {"type": "IpAddressGenerationFailure", "message": "No more IP addresses available on x."}}


@pytest.mark.parametrize(
    ("status", "body", "summary"),
    [
        (403, NOVA_QUOTA, "A quota of the project is exhausted."),
        (
            403,
            {"forbidden": {"message": "Quota exceeded, too many key pairs."}},
            "A quota of the project is exhausted.",
        ),
        (409, NEUTRON_QUOTA, "A quota of the project is exhausted."),
        (413, CINDER_QUOTA, "A quota of the project is exhausted."),
        (409, NO_ADDRESS, "The cloud has no address left."),
        (401, {"error": {"code": 401, "message": "The request you have made requires authentication."}}, "credentials"),
        (403, {"forbidden": {"message": "Policy doesn't allow servers:create to be performed."}}, "does not allow it"),
        (404, {"itemNotFound": {"message": "Instance x could not be found."}}, "OpenStack refused."),
        (406, {"computeFault": {"message": "Version 2.61 is not supported by the API."}}, "too old"),
        (400, {"badRequest": {"message": "Flavor's disk is too small for requested image."}}, "OpenStack refused."),
    ],
)
def test_what_a_repetition_does_not_mend_is_final(status: int, body: Any, summary: str) -> None:
    error = answer(status, body)
    assert summary in error.summary
    assert not error.transient
    assert "edge[0] at cloud.example" in error.detail
    assert error.resolution
    assert error.is_absent == (status == 404)
    assert not error.is_conflict or status == 409


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_says_when_to_come_back(status: int) -> None:
    error = answer(status, {"error": {"message": "later"}}, Retry_After="7")
    assert (error.transient, error.retry_after) == (True, 7.0)
    assert answer(status).retry_after == 0.0


def test_a_wait_may_be_told_as_a_time_or_in_the_body() -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 60 < answer(503, "", retry_after=then).retry_after <= 90
    assert answer(413, {"overLimit": {"message": "Too many requests", "retryAfter": "12"}}).retry_after == 12.0
    assert answer(503, "", Retry_After="soon").retry_after == 0.0


def test_an_answer_that_is_no_json_is_told_without_its_markup() -> None:
    error = answer(502, "<html><body><h1>502 Bad Gateway</h1>\n no server is available</body></html>")
    assert "502 Bad Gateway no server is available" in error.detail
    assert "<" not in error.detail


@pytest.mark.parametrize("body", ["[]", '"no"', "null", "{", '{"errors": []}', '{"errors": [{"title": "Not Found"}]}'])
def test_odd_answers_are_told_too(body: str) -> None:
    assert "HTTP 500" in answer(500, body).detail


def test_what_was_sent_is_not_told_back() -> None:
    user_data = "I2Nsb3VkLWNvbmZpZwpzZWNyZXQ="
    message = f"Invalid input for field/attribute user_data. Value: {user_data}. {user_data!r} is too long"
    assert "I2Nsb3" not in answer(400, {"badRequest": {"message": message}}).detail
    token = "gAAAAABl" + "x" * 180
    assert token not in answer(401, {"error": {"message": f"Token {token} is not valid"}}).detail


def test_a_conflict_is_no_quota() -> None:
    error = answer(409, {"NeutronError": {"type": "SecurityGroupInUse", "message": "Security Group x in use."}})
    assert error.is_conflict
    assert not answer(409, NEUTRON_QUOTA).is_conflict


@pytest.mark.parametrize(
    ("error", "summary", "passing"),
    [
        (auth.ConnectFailure("Unable to establish connection"), "cannot be reached", True),
        (auth.ConnectTimeout("timed out"), "cannot be reached", True),
        (auth.UnknownConnectionError("broken off", None), "cannot be reached", True),
        (auth.DiscoveryFailure("nothing there"), "cannot be reached", True),
        (auth.SSLError("certificate verify failed"), "cannot be trusted", False),
        (auth.Unauthorized("not you"), "does not accept the credentials", False),
        (auth.NotFound("Could not find Application Credential"), "does not accept the credentials", False),
        (auth.ServiceUnavailable("later"), "fails at present", True),
        (auth.MissingRequiredOptions([]), "does not accept the credentials", False),
        (auth.EndpointNotFound("no compute"), "does not offer that service", False),
        (ValueError("no such region"), "cannot be used", False),
    ],
)
def test_without_an_answer_it_is_said_why(error: Exception, summary: str, passing: bool) -> None:
    told = unreachable(error, "looking for machines", "cloud.example")
    assert summary in told.summary
    assert told.transient == passing
    assert not told.is_absent, "nothing that was asked about is said to be gone"
    assert told.resolution


def test_without_a_connection_the_reason_is_told_and_not_how_the_library_met_it() -> None:
    url = "https://127.0.0.1:9/v3"
    with pytest.raises(auth.ConnectFailure) as met:
        session.Session().get(url)
    told = unreachable(met.value, "looking for machines", "cloud.example").detail
    assert told.endswith(f"connection to {url}: Connection refused.")


def test_a_certificate_that_is_not_trusted_is_told_by_its_reason() -> None:
    long = (
        "SSL exception connecting to https://cloud.example/v3: HTTPSConnectionPool(host='cloud.example', port=443): "
        "Max retries exceeded with url: /v3 (Caused by SSLError(SSLCertVerificationError(1, "
        "'[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:992)')))"
    )
    told = unreachable(auth.SSLError(long), "looking for machines", "cloud.example")
    assert told.detail == (
        "While looking for machines at cloud.example: SSL exception connecting to https://cloud.example/v3: "
        "certificate verify failed: self-signed certificate."
    )


def test_warnings_of_the_library_are_not_printed_between_our_lines() -> None:
    warns = "import logging; logging.getLogger('keystoneauth.identity.generic').warning('Failed to discover')"
    program = f"import orchestrator.providers.openstack.settings; {warns}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("", "")
