"""What AWS and its library say when something fails, as errors for people."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.clients.transience import retry_after
from orchestrator.errors import without_credentials
from orchestrator.providers.cloud_errors import PASSING_STATUSES, CloudApiError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

_PASSING = {
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "InternalError",
    "InternalFailure",
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "Unavailable",
}
_CREDENTIALS = {
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "MissingAuthenticationToken",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
}
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
_LONGEST = 600

RENEW = (
    "Renew the credentials or log in again (e.g. `aws sso login`); they are looked for where AWS clients look: "
    "AWS_PROFILE and ~/.aws, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the role of the machine."
)


class ApiError(CloudApiError):
    """AWS refused or failed, or could not be reached.

    Args:
        summary: As of every error, like the arguments after it.
        detail: The same.
        resolution: The same.
        code: AWS's own word for it; empty if there was no answer.
    """

    def __init__(self, summary: str, *, detail: str = "", resolution: str = "", code: str = "") -> None:
        super().__init__(summary, detail=detail, resolution=resolution)
        self.code = code

    @property
    def is_absent(self) -> bool:
        """Whether what was named is not there."""
        return ".NotFound" in self.code or self.code in {"NatGatewayNotFound", "NoSuchEntity"}


def is_capacity(code: str) -> bool:
    """Whether there is no room for a machine of that kind at present."""
    return code.startswith("Insufficient") or code == "SpotMaxPriceTooLow"


def is_quota(code: str) -> bool:
    """Whether a limit of the account is reached."""
    return (code.endswith("LimitExceeded") and code not in _PASSING) or code == "MaxSpotInstanceCountExceeded"


def refused(error: ClientError, doing: str, region: str) -> ApiError:
    """An answer that says no.

    Args:
        error: As the library raises it.
        doing: What was tried, e.g. ``"making the machine edge[0]"``.
        region: Where.
    """
    answer = error.response
    code = str(answer.get("Error", {}).get("Code", ""))
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) or 0)
    message = _readable(str(answer.get("Error", {}).get("Message", "")) or f"HTTP status {status}")
    detail = f"While {doing} in {region}, AWS answered: {message} ({code or status})."
    if is_capacity(code):
        return ApiError(
            "AWS has no capacity for the machine.",
            detail=detail,
            resolution="Name another flavor, zone (setting `zone`) or region, leave `onSpot` out, or try later.",
            code=code,
        )
    if is_quota(code):
        return ApiError(
            "A quota of the AWS account is exhausted.",
            detail=detail,
            resolution="Have it raised (Service Quotas in the AWS console), or remove what is not needed; then apply "
            "again, which goes on from here.",
            code=code,
        )
    if code in _CREDENTIALS:
        return ApiError("AWS does not accept the credentials.", detail=detail, resolution=RENEW, code=code)
    if code in _DENIED:
        return ApiError(
            "AWS does not allow it.",
            detail=detail,
            resolution="Give this user the rights that docs/clouds.md lists, then apply again.",
            code=code,
        )
    if code in _PASSING or status in PASSING_STATUSES:
        summary = "AWS limits the requests." if _is_limited(code, status) else "AWS fails at present."
        resolution = "Apply again in a while, which goes on from here."
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}) or {}
        asked = retry_after(headers.get("retry-after"))
        return ApiError(summary, detail=detail, resolution=resolution, code=code).passing(asked)
    return ApiError("AWS refused.", detail=detail, resolution="Mend what it names, then apply again.", code=code)


def unreachable(error: Exception, doing: str, region: str, *, passing: bool) -> ApiError:
    """No answer, or nobody to ask: no connection, no credentials, unusable settings."""
    from botocore.exceptions import NoCredentialsError, NoRegionError  # noqa: PLC0415 - takes long

    detail = f"While {doing} in {region or 'no region'}: {_readable(str(error)).rstrip('.')}."
    if isinstance(error, NoCredentialsError):
        return ApiError("There are no credentials for AWS.", detail=detail, resolution=RENEW)
    if isinstance(error, NoRegionError):
        resolution = "Name it in the image id (aws://eu-central-1/ami-…), or set AWS_REGION."
        return ApiError("No region of AWS is named.", detail=detail, resolution=resolution)
    if not passing:
        resolution = "Correct the settings of AWS clients that this names, then repeat the command."
        return ApiError("AWS cannot be used.", detail=detail, resolution=resolution)
    return ApiError(
        "AWS cannot be reached.",
        detail=detail,
        resolution="See that the network works, and that the endpoint (AWS_ENDPOINT_URL), the proxy and the "
        "certificate authority (AWS_CA_BUNDLE) are right; then repeat the command.",
    ).passing()


def _is_limited(code: str, status: int) -> bool:
    return (
        "Thrott" in code or "LimitExceeded" in code or code in {"SlowDown", "TooManyRequestsException"} or status == 429
    )


def _readable(message: str) -> str:
    """On one line, without the encoded text that only AWS itself can read, and without passwords in addresses."""
    text, _, _ = message.partition("Encoded authorization failure message:")
    return re.sub(r"\s+", " ", without_credentials(text)).strip().rstrip(".")[:_LONGEST]
