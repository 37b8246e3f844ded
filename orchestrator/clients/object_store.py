"""Access to a cluster's object store over S3: path style, certificate verified, every wait bounded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from orchestrator.clients.transience import PASSING_STATUSES, retry_after
from orchestrator.errors import RemoteError

_PASSING = (ConnectionClosedError, ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError)
_MISSING = {"NoSuchBucket", "NoSuchKey", "404"}
_OURS_ALREADY = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}


class ObjectStoreError(RemoteError):
    """The store could not be reached, or refused."""

    def __init__(self, endpoint: str, action: str, reason: object) -> None:
        super().__init__(
            "The object store did not do it.",
            detail=f"{action} at {endpoint}: {reason}",
            resolution="Look at the cluster with `deploy status`; applying again mends what is not as it should be.",
        )


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code"))


def _explain(endpoint: str, action: str, error: BotoCoreError | ClientError) -> ObjectStoreError:
    """The error to raise; transient if the store may answer, or answer otherwise, a moment later."""
    explained = ObjectStoreError(endpoint, action, error)
    if isinstance(error, ClientError):
        metadata = error.response.get("ResponseMetadata", {})
        if metadata.get("HTTPStatusCode") in PASSING_STATUSES:
            explained.passing(retry_after(metadata.get("HTTPHeaders", {}).get("retry-after")))
    elif isinstance(error, _PASSING):
        explained.passing()
    return explained


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What a listing tells of an object: its ETag, and when it was put there."""

    etag: str
    modified: datetime


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """An open store; made by :func:`open_store`."""

    endpoint: str
    client: Any

    def put(self, bucket: str, key: str, content: bytes) -> None:
        """Store an object; the bucket must be there."""
        with self._translated(f"Putting {bucket}/{key}"):
            self.client.put_object(Bucket=bucket, Key=key, Body=content)

    def list(self, bucket: str, prefix: str = "") -> dict[str, str]:
        """Keys that begin with ``prefix`` and the ETag of each; none if there is no such bucket."""
        return {key: found.etag for key, found in self.list_objects(bucket, prefix).items()}

    def list_objects(self, bucket: str, prefix: str = "") -> dict[str, StoredObject]:
        """Objects by key, of those whose keys begin with ``prefix``; none if there is no such bucket."""
        found: dict[str, StoredObject] = {}
        with self._translated(f"Listing {bucket}/{prefix}"):
            try:
                for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                    for entry in page.get("Contents", []):
                        found[entry["Key"]] = StoredObject(entry["ETag"], entry["LastModified"])
            except ClientError as error:
                if _code(error) not in _MISSING:
                    raise
        return found

    def make_bucket(self, bucket: str) -> None:
        """Make a bucket; one that is there already is no error."""
        with self._translated(f"Making the bucket {bucket}"):
            try:
                self.client.create_bucket(Bucket=bucket)
            except ClientError as error:
                if _code(error) not in _OURS_ALREADY:
                    raise

    def remove_bucket(self, bucket: str) -> bool:
        """Remove a bucket, so that putting into it fails; False if there are objects in it."""
        with self._translated(f"Removing the bucket {bucket}"):
            try:
                self.client.delete_bucket(Bucket=bucket)
            except ClientError as error:
                if _code(error) == "BucketNotEmpty":
                    return False
                if _code(error) not in _MISSING:
                    raise
        return True

    def get(self, bucket: str, key: str) -> bytes:
        """The content of an object."""
        with self._translated(f"Getting {bucket}/{key}"):
            return bytes(self.client.get_object(Bucket=bucket, Key=key)["Body"].read())

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        with self._translated(f"Deleting {bucket}/{key}"):
            self.client.delete_object(Bucket=bucket, Key=key)

    @contextmanager
    def _translated(self, action: str) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise _explain(self.endpoint, action, error) from error


@contextmanager
def open_store(
    endpoint: str,
    access_key: str,
    secret_key: str,
    *,
    ca_cert: str = "",
    region: str = "us-east-1",
    timeout: float = 20,
) -> Iterator[ObjectStore]:
    """A store, for the duration of a ``with`` block.

    Args:
        endpoint: ``https://host:port``.
        access_key: Login name.
        secret_key: Password.
        ca_cert: PEM of the certificate to trust; empty for the machine's own authorities.
        region: Region that signatures name.
        timeout: Seconds to wait for an answer; connecting may take 5.

    Raises:
        ObjectStoreError: From every method of the store.
    """
    config = Config(
        s3={"addressing_style": "path"},
        signature_version="s3v4",
        connect_timeout=min(5, timeout),
        read_timeout=timeout,
        retries={"total_max_attempts": 3, "mode": "standard"},
        # Stores of other makers do not know the newer checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # The machines are in networks of their own, where no proxy leads.
        proxies={},
    )
    with tempfile.TemporaryDirectory(prefix="continuum-ca-") as folder:
        bundle = Path(folder) / "ca.pem"
        bundle.write_text(ca_cert, encoding="ascii")
        try:
            client = boto3.session.Session().client(
                "s3",
                endpoint_url=endpoint,
                aws_access_key_id=access_key,
                aws_secret_access_key=secret_key,
                region_name=region,
                verify=str(bundle) if ca_cert else True,
                config=config,
            )
        except (BotoCoreError, ValueError) as error:
            raise ObjectStoreError(endpoint, "Connecting", error) from error
        try:
            yield ObjectStore(endpoint, client)
        finally:
            client.close()
