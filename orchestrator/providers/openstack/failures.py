"""What OpenStack and its library say when something fails, as errors for people."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from orchestrator.clients.transience import retry_after
from orchestrator.providers.cloud_errors import PASSING_STATUSES, CloudApiError

_NO_ADDRESS = {"IpAddressGenerationFailure", "ExternalIpAddressExhausted", "NoMoreFixedIps"}
_LONGEST = 600
_POOL = re.compile(r": HTTPS?ConnectionPool\(.*\[(?:Errno -?\d+|SSL[^\]]*)\] ([^'\"()]*[^'\"() ]).*$", re.DOTALL)
"""How the library tells that there is no connection, and in the end why."""

RENEW = (
    "Correct or renew them: clouds.yaml or the variables OS_*. User, password or project may be wrong, an application "
    "credential or a token may have run out, a user may be locked."
)
_GO_ON = "then apply again, which goes on from here."


class ApiError(CloudApiError):
    """OpenStack refused or failed, or could not be reached.

    Args:
        summary: As of every error, like the arguments after it.
        detail: The same.
        resolution: The same.
        status: HTTP status; 0 if there was no answer.
        code: The service's own word for it, where it has one (``OverQuota``).
    """

    def __init__(
        self, summary: str, *, detail: str = "", resolution: str = "", status: int = 0, code: str = ""
    ) -> None:
        super().__init__(summary, detail=detail, resolution=resolution)
        self.status = status
        self.code = code

    @property
    def is_absent(self) -> bool:
        """Whether what was named is not there."""
        return self.status == 404

    @property
    def is_conflict(self) -> bool:
        """Whether something else holds it, or is being done with it, or it is there already."""
        return self.status == 409 and self.code != "OverQuota"


def refused(status: int, headers: Mapping[str, str], text: str, doing: str, place: str) -> ApiError:
    """An answer that says no.

    Args:
        status: Of HTTP.
        headers: The same.
        text: The answer's body.
        doing: What was tried, e.g. ``"making the machine edge[0]"``.
        place: Where.
    """
    code, message = _said(text)
    detail = f"While {doing} at {place}, OpenStack answered: {_readable(message) or 'nothing'} (HTTP {status})."
    known: dict[str, Any] = {"detail": detail, "status": status, "code": code}
    if code in _NO_ADDRESS:
        resolution = "Have the network enlarged, or give up addresses that nobody needs; " + _GO_ON
        return ApiError("The cloud has no address left.", resolution=resolution, **known)
    if is_quota(status, code, message):
        resolution = "Have it raised by whoever runs the cloud, or remove what is not needed; " + _GO_ON
        return ApiError("A quota of the project is exhausted.", resolution=resolution, **known)
    if status == 401:
        return ApiError("OpenStack does not accept the credentials.", resolution=RENEW, **known)
    if status == 403:
        resolution = "Have the role given to this user that docs/clouds.md names, " + _GO_ON
        return ApiError("OpenStack does not allow it.", resolution=resolution, **known)
    if status in {413, 429}:
        error = ApiError("OpenStack limits the requests.", resolution=f"Wait a while, {_GO_ON}", **known)
        return error.passing(_retry_after(headers, text))
    if status in PASSING_STATUSES:
        error = ApiError("OpenStack fails at present.", resolution=f"Wait a while, {_GO_ON}", **known)
        return error.passing(_retry_after(headers, text))
    if status == 406:
        resolution = "docs/clouds.md says which versions are needed; an older cloud cannot be used."
        return ApiError("The cloud is too old.", resolution=resolution, **known)
    return ApiError("OpenStack refused.", resolution="Mend what it names, then apply again.", **known)


def unreachable(error: Exception, doing: str, place: str) -> ApiError:
    """No answer that counts: no connection, no token, no such service, unusable settings."""
    from keystoneauth1 import exceptions as auth  # noqa: PLC0415 - takes long

    if isinstance(error, auth.HttpError):
        # The status is told anyway.
        message = re.sub(r" \(HTTP \d{3}\)", "", str(error.message))
        text = json.dumps({"error": {"message": f"{message}. {error.details or ''}".strip()}})
        headers = {} if error.response is None else error.response.headers
        # These come from logging in, where "not found" is the user, and nothing that was asked about.
        status = 401 if int(error.http_status) in {400, 403, 404} else int(error.http_status)
        return refused(status, headers, text, doing, place)
    detail = f"While {doing} at {place or 'no place'}: {_readable(str(error))}."
    if isinstance(error, auth.SSLError):
        return ApiError(
            "The cloud cannot be trusted.",
            detail=detail,
            resolution="Name the authority of its certificate by `cacert` in clouds.yaml or OS_CACERT, if it is right.",
        )
    if isinstance(error, (auth.ConnectionError, auth.DiscoveryFailure)):
        return ApiError(
            "OpenStack cannot be reached.",
            detail=detail,
            resolution="See that the network works, and that auth_url, region, interface and the proxy are right; then "
            "repeat the command.",
        ).passing()
    if isinstance(error, auth.CatalogException):
        resolution = "Correct region_name and interface in clouds.yaml (OS_REGION_NAME, OS_INTERFACE)."
        return ApiError("The cloud does not offer that service.", detail=detail, resolution=resolution)
    if isinstance(error, (auth.AuthPluginException, auth.AuthorizationFailure, auth.MissingAuthMethods)):
        return ApiError("OpenStack does not accept the credentials.", detail=detail, resolution=RENEW)
    return ApiError(
        "OpenStack cannot be used.",
        detail=detail,
        resolution="Correct the settings of OpenStack clients that this names, then repeat the command.",
    )


def broken_off(doing: str, place: str) -> ApiError:
    """An answer that is none."""
    return ApiError(
        "OpenStack cannot be reached.",
        detail=f"While {doing} at {place}: the answer cannot be read.",
        resolution="See that nothing on the way answers in its place (a proxy), then repeat the command.",
    ).passing()


def is_quota(status: int, code: str, message: str) -> bool:
    """Whether a limit of the project is reached: each service has its own status for that."""
    if code == "OverQuota":
        return True
    words = message.lower()
    return (status == 403 and "quota" in words) or (status == 413 and ("quota" in words or "maximum" in words))


def _said(text: str) -> tuple[str, str]:
    """The service's own word, and what it says; each service has its own form."""
    try:
        answer = json.loads(text)
    except ValueError:
        return "", re.sub(r"<[^>]*>", " ", text)
    if not isinstance(answer, dict):
        return "", str(answer)
    listed = answer.get("errors")
    if isinstance(listed, list) and listed and isinstance(listed[0], dict):
        first = listed[0]
        return str(first.get("code") or ""), str(first.get("detail") or first.get("title") or "")
    for name, content in answer.items():
        if isinstance(content, dict) and "message" in content:
            return str(content.get("type") or name), str(content["message"])
    return "", str(answer.get("message") or answer.get("NeutronError") or "")


def _retry_after(headers: Mapping[str, str], text: str) -> float:
    """Seconds that the other side asks to wait, as a number or a time; older services say it in the body."""
    told = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    if not told:
        found = re.search(r'"retryAfter":\s*"?(\d+)', text)
        told = found.group(1) if found else ""
    return retry_after(told)


def _readable(message: str) -> str:
    """On one line, and without what may be a secret: values that were refused, tokens, encoded texts."""
    text = _POOL.sub(r": \1", message.partition("Value:")[0] if "user_data" in message else message)
    text = re.sub(r"[A-Za-z0-9+/=_-]{64,}", "…", text)
    return re.sub(r"\s+", " ", text).strip().rstrip(".")[:_LONGEST]
