"""Objects of a bucket, written on conditions that the store checks; every wait is bounded, every refusal explained."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import uuid4

import boto3
import botocore.loaders
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.exceptions import ConnectionError as NoConnectionError

from orchestrator.errors import StateError

_CONNECT, _ANSWER, _ATTEMPTS = 5, 15, 3
"""Seconds to wait for a connection and for an answer, and how often one request is sent."""

_PARALLEL = 8
_REFUSED = {"PreconditionFailed", "412"}
_COLLIDED = {"ConditionalRequestConflict", "OperationAborted", "409"}
_ABSENT = {"NoSuchKey", "404"}
_CREDENTIALS = {
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
}
_DENIED = {"AccessDenied", "AllAccessDisabled", "AccountProblem", "403", "KMS.AccessDeniedException"}
_COLLISIONS = 4


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as read.

    Attributes:
        content: Its bytes.
        etag: Tells one content from the next.
        writer: Mark of the write that made it; empty if it was not ours.
    """

    content: bytes
    etag: str
    writer: str = ""


@dataclass(frozen=True, slots=True)
class Encryption:
    """How the store is to encrypt objects.

    Attributes:
        method: ``AES256`` or ``aws:kms``; empty for the bucket's own setting.
        key: The KMS key's identifier; empty for the account's own.
    """

    method: str = ""
    key: str = ""

    def arguments(self) -> dict[str, str]:
        """Arguments of a put."""
        found = {"ServerSideEncryption": self.method} if self.method else {}
        return found | ({"SSEKMSKeyId": self.key} if self.key else {})


@dataclass(slots=True)
class S3Objects:
    """The objects of one bucket under one prefix; keys are relative to it. Safe to use from several threads.

    Every method raises StateError with what is wrong and what to do.

    Attributes:
        bucket: Name of the bucket, which must be there.
        prefix: Begins every key; empty or ending with a slash.
        client: A boto3 client.
        encryption: How objects are encrypted.
        pause: Waits that many seconds.
    """

    bucket: str
    prefix: str
    client: Any
    encryption: Encryption = field(default_factory=Encryption)
    pause: Callable[[float], None] = time.sleep

    def name_of(self, key: str) -> str:
        """What a person calls the object."""
        return f"s3://{self.bucket}/{self.prefix}{key}"

    def get(self, key: str) -> StoredObject | None:
        """An object, or ``None`` if there is none."""
        with self._translated("read", key):
            try:
                answer, content = self._whole(key)
            except ClientError as error:
                if _code(error) in _ABSENT:
                    return None
                raise
        return StoredObject(content, str(answer["ETag"]), str(answer.get("Metadata", {}).get("writer", "")))

    def _whole(self, key: str) -> tuple[Any, bytes]:
        """The answer with all of its content; asked for again when that breaks off."""
        for attempt in range(1, _ATTEMPTS + 1):
            answer = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key)
            try:
                return answer, answer["Body"].read()
            except (IncompleteReadError, HTTPClientError):
                if attempt == _ATTEMPTS:
                    raise
                self.pause(0.2 * attempt)
        raise AssertionError("the last attempt returns or raises")

    def get_all(self, keys: Sequence[str]) -> dict[str, StoredObject]:
        """Several objects at once; those that are not there are left out."""
        if not keys:
            return {}
        with ThreadPoolExecutor(_PARALLEL) as pool:
            found = dict(zip(keys, pool.map(self.get, keys), strict=True))
        return {key: stored for key, stored in found.items() if stored is not None}

    def list(self, prefix: str = "") -> tuple[str, ...]:
        """Keys that begin with ``prefix``, in order."""
        found: list[str] = []
        with self._translated("list", prefix):
            pages = self.client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix + prefix):
                found += [str(entry["Key"])[len(self.prefix) :] for entry in page.get("Contents", [])]
        return tuple(sorted(found))

    def put(self, key: str, content: bytes) -> str:
        """Write an object, whatever is there; returns its ETag."""
        etag = self._put(key, content, {})
        if etag is None:
            raise AssertionError("a write without a condition is not refused for one")
        return etag

    def put_new(self, key: str, content: bytes) -> str | None:
        """Write an object where none is; returns its ETag, or ``None`` if there is one already."""
        return self._put(key, content, {"IfNoneMatch": "*"})

    def put_over(self, key: str, content: bytes, etag: str) -> str | None:
        """Replace an object; returns the new ETag, or ``None`` if the one there is not ``etag`` any longer."""
        return self._put(key, content, {"IfMatch": etag})

    def delete(self, key: str) -> None:
        """Remove an object; nothing there is no error."""
        with self._translated("remove", key):
            self.client.delete_object(Bucket=self.bucket, Key=self.prefix + key)

    def delete_all(self, keys: Sequence[str]) -> None:
        """Remove several objects."""
        if keys:
            with ThreadPoolExecutor(_PARALLEL) as pool:
                list(pool.map(self.delete, keys))

    def check_conditions(self, key: str, content: bytes) -> None:
        """Make sure that the store looks at conditions; one that does not would let two runs work at once.

        Args:
            key: An object that is there.
            content: Its content.
        """
        if self.put_new(key, content) is None and self.put_over(key, content, f'"{uuid4().hex}"') is None:
            return
        raise StateError(
            "The object store cannot keep a state.",
            detail=f"It wrote over {self.name_of(key)} although it was told to do so only if nothing (If-None-Match), "
            "or something else (If-Match), is there. Without that neither a lock nor the order of steps holds.",
            resolution="Use a store that knows conditional writes (AWS S3 and most present ones do), or keep the state "
            "in PostgreSQL.",
            doc="docs/state.md",
        )

    def _put(self, key: str, content: bytes, condition: dict[str, str]) -> str | None:
        """Write on a condition. A request whose answer was lost is sent again, and may then meet what it wrote."""
        writer = uuid4().hex
        with self._translated("write", key):
            for attempt in range(1, _COLLISIONS + 1):
                try:
                    answer = self.client.put_object(
                        Bucket=self.bucket,
                        Key=self.prefix + key,
                        Body=content,
                        Metadata={"writer": writer},
                        **condition,
                        **self.encryption.arguments(),
                    )
                    return str(answer["ETag"])
                except ClientError as error:
                    code = _code(error)
                    if code in _COLLIDED and attempt < _COLLISIONS:
                        self.pause(0.2 * attempt)
                        continue
                    if code in _REFUSED or (code in _ABSENT and condition):
                        return self._own(key, writer)
                    if not _is_passing(error):
                        raise
                    etag = self._own_if_reached(key, writer)
                    if etag is None:
                        raise
                    return etag
                except (HTTPClientError, NoConnectionError):
                    etag = self._own_if_reached(key, writer)
                    if etag is None:
                        raise
                    return etag
        raise AssertionError("the last attempt returns or raises")

    def _own(self, key: str, writer: str) -> str | None:
        """The ETag of what is there if this very write made it."""
        stored = self.get(key)
        return stored.etag if stored is not None and stored.writer == writer else None

    def _own_if_reached(self, key: str, writer: str) -> str | None:
        """The same after a failure that does not tell whether it was written."""
        try:
            return self._own(key, writer)
        except StateError:
            return None

    @contextmanager
    def _translated(self, doing: str, key: str) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise explain(error, doing, self.name_of(key), self.bucket, self.client.meta.endpoint_url) from error


def open_objects(bucket: str, prefix: str, *, region: str = "", encryption: Encryption | None = None) -> S3Objects:
    """The objects of a bucket, with what AWS's own settings say: keys, profile, region, endpoint, authorities.

    Args:
        bucket: Name of the bucket.
        prefix: Begins every key; empty or ending with a slash.
        region: Region of the bucket; empty for that of the settings.
        encryption: How objects are encrypted.

    Raises:
        StateError: If the settings are unusable.
    """
    elsewhere = bool(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))
    config = Config(
        connect_timeout=_CONNECT,
        read_timeout=_ANSWER,
        retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
        max_pool_connections=_PARALLEL,
        # Stores of other makers do not know the newer checksums; what is kept here carries its own.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        user_agent_extra="continuum-deploy",
        signature_version="s3v4",
        s3={"addressing_style": "path"} if elsewhere else None,
    )
    try:
        session = botocore.session.get_session()
        session.register_component("data_loader", _descriptions())
        client = boto3.session.Session(botocore_session=session).client("s3", region_name=region or None, config=config)
    except (BotoCoreError, ValueError) as error:
        raise explain(error, "reach", f"s3://{bucket}/{prefix}", bucket, "the object store") from error
    return S3Objects(bucket, prefix, client, encryption or Encryption())


@cache
def _descriptions() -> botocore.loaders.Loader:
    """The library's descriptions of services, which take longer to read than all else; every client shares them."""
    return botocore.loaders.create_loader()


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _is_passing(error: ClientError) -> bool:
    return _status(error) >= 500 or _code(error) in {"SlowDown", "RequestTimeout", "429"}


def explain(error: Exception, doing: str, what: str, bucket: str, endpoint: str) -> StateError:
    """What the store or its library said, as an error for people.

    Args:
        error: What was raised.
        doing: Follows "Could not", e.g. ``"write"``.
        what: Name of the object.
        bucket: Name of the bucket.
        endpoint: URL of the store.
    """
    summary = "The state cannot be written." if doing in ("write", "remove") else "The state cannot be read."
    told = f"Could not {doing} {what} at {endpoint}: "
    if isinstance(error, ClientError):
        code = _code(error)
        message = str(error.response.get("Error", {}).get("Message", "")) or code
        passing = _is_passing(error)
        resolution = _resolution(code, _status(error), bucket)
        found = StateError(summary, detail=f"{told}{message} ({code}).", resolution=resolution, doc="docs/state.md")
        return found.passing() if passing else found
    if isinstance(error, (NoCredentialsError, PartialCredentialsError, ProfileNotFound)):
        return StateError(summary, detail=f"{told}{error}.", resolution=_resolution("ExpiredToken", 0, bucket))
    if isinstance(error, (HTTPClientError, NoConnectionError, IncompleteReadError)):
        return StateError(
            summary,
            detail=f"{told}{error} (after {_ATTEMPTS} attempts of at most {_CONNECT + _ANSWER} s each).",
            resolution="See that the network and the store work, and that the endpoint (AWS_ENDPOINT_URL_S3), the "
            "proxy and the certificate authority (AWS_CA_BUNDLE) are right; then repeat the command.",
            doc="docs/state.md",
        ).passing()
    return StateError(
        summary,
        detail=f"{told}{error}.",
        resolution="Correct the settings of AWS clients that this names, then repeat the command.",
        doc="docs/state.md",
    )


def _resolution(code: str, status: int, bucket: str) -> str:
    if code == "NoSuchBucket":
        return f"Make the bucket {bucket} (docs/state.md has the commands), or correct the URL of the state."
    if code in _CREDENTIALS:
        return (
            "Renew the keys or log in again (e.g. `aws sso login`); they are looked for where AWS clients look: "
            "AWS_PROFILE and ~/.aws, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the role of the machine."
        )
    if code == "RequestTimeTooSkewed":
        return "Set this host's clock right, then repeat the command."
    if code in _DENIED or status == 403:
        return (
            f"Allow this user s3:ListBucket on {bucket} and s3:GetObject, s3:PutObject and s3:DeleteObject on what "
            "is under its prefix, and the use of the KMS key if there is one; docs/state.md has the whole policy."
        )
    if code in {"PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}:
        return "Name the region of the bucket: `?region=…` in the URL of the state, or AWS_REGION."
    if code == "NotImplemented":
        return "The store does not know conditional writes; use one that does, or keep the state in PostgreSQL."
    return "Mend what the store reports, or wait if it is only busy; then repeat the command."
