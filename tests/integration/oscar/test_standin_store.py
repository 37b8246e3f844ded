"""The stand-in's object store, as boto3 sees it."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.clients.object_store import ObjectStoreError, open_store


def test_objects_go_in_and_come_out(standin: Any) -> None:
    with standin.store() as store:
        store.client.create_bucket(Bucket="pictures")
        store.put("pictures", "in/ä b+c&d.txt", b"one")
        store.put("pictures", "in/large", b"x" * 3_000_000)
        assert set(store.list("pictures", "in/")) == {"in/ä b+c&d.txt", "in/large"}
        assert store.get("pictures", "in/ä b+c&d.txt") == b"one"
        assert store.client.head_object(Bucket="pictures", Key="in/large")["ContentLength"] == 3_000_000
        store.put("pictures", "in/large", b"less")
        assert store.get("pictures", "in/large") == b"less"
        store.delete("pictures", "in/large")
        store.delete("pictures", "in/large")
        assert list(store.list("pictures")) == ["in/ä b+c&d.txt"]
        assert [b["Name"] for b in store.client.list_buckets()["Buckets"]] == ["pictures"]


def test_pages_and_folders_are_listed(standin: Any) -> None:
    with standin.store() as store:
        store.client.create_bucket(Bucket="pictures")
        for key in ("a/1", "a/2", "b/1", "c"):
            store.put("pictures", key, b"")
        pages = store.client.get_paginator("list_objects_v2").paginate(
            Bucket="pictures", PaginationConfig={"PageSize": 3}
        )
        assert [[o["Key"] for o in page["Contents"]] for page in pages] == [["a/1", "a/2", "b/1"], ["c"]]
        top = store.client.list_objects_v2(Bucket="pictures", Delimiter="/")
        assert [p["Prefix"] for p in top["CommonPrefixes"]] == ["a/", "b/"]
        assert [o["Key"] for o in top["Contents"]] == ["c"]


def test_checksums_of_newer_clients_are_understood(standin: Any) -> None:
    import boto3

    client = boto3.session.Session().client(
        "s3",
        endpoint_url=standin.store_endpoint,
        aws_access_key_id="minio",
        aws_secret_access_key=standin.config["secret_key"],
        region_name="us-east-1",
        verify=str(standin.folder / "certificate.pem"),
    )
    client.create_bucket(Bucket="pictures")
    client.put_object(Bucket="pictures", Key="a", Body=b"x" * 200_000)
    assert client.get_object(Bucket="pictures", Key="a")["Body"].read() == b"x" * 200_000
    client.close()


def test_what_is_not_there_is_said(standin: Any) -> None:
    with standin.store() as store:
        assert store.list("nothing") == {}
        with pytest.raises(ObjectStoreError, match="NoSuchBucket"):
            store.put("nothing", "a", b"")
        store.client.create_bucket(Bucket="pictures")
        with pytest.raises(ObjectStoreError, match="NoSuchKey"):
            store.get("pictures", "a")
        with pytest.raises(store.client.exceptions.ClientError, match="BucketAlreadyOwnedByYou"):
            store.client.create_bucket(Bucket="pictures")


def test_a_wrong_key_is_refused_with_403(standin: Any) -> None:
    from botocore.exceptions import ClientError

    with standin.store(secret_key="wrong") as store, pytest.raises(ClientError) as caught:
        store.client.list_buckets()
    assert caught.value.response["Error"]["Code"] == "SignatureDoesNotMatch"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_another_certificate_is_not_trusted(standin: Any) -> None:
    with (
        open_store(standin.store_endpoint, "minio", "x") as store,
        pytest.raises(ObjectStoreError, match="certificate"),
    ):
        store.list("pictures")


def test_objects_survive_a_kill(make_standin: Callable[..., Any]) -> None:
    standin = make_standin()
    with standin.store() as store:
        store.client.create_bucket(Bucket="pictures")
        store.put("pictures", "a", b"kept")
    standin.stop(kill=True)
    standin.start()
    with standin.store() as store:
        assert store.get("pictures", "a") == b"kept"


def test_a_silent_client_blocks_nobody(standin: Any) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", standin.config["port"])):
        began = time.monotonic()
        standin.client().check_health()
        assert time.monotonic() - began < 2
