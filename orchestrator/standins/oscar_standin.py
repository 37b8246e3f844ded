#!/usr/bin/env python3
"""Stand-in for OSCAR and its object store where neither can be had: services run from image archives.

Speaks the parts of OSCAR's HTTP API and of S3 that a deployment uses, over TLS. An object that arrives on a service's
input path starts the service's image: the archive that was put in K3s's air-gap folder is unpacked once, and the
service's script runs inside it (chroot, own mount and pid namespaces where the machine allows them, an unprivileged
user), with the environment that OSCAR gives it. What the script leaves in its output folder goes to the service's
outputs, on this store or on another cluster's.

What it does not do: limits of memory and processor, synchronous services that stay up, GPU, SGX, volumes, other users,
multipart uploads. Standard library only; one file; it imports nothing of the program that installs it.

Usage: oscar_standin.py [--config /etc/oscar-standin/config.json]
"""

# The names that the standard library's server calls, paths that exist in another root, documents of any shape:
# ruff: noqa: A002, N815, PTH115, PTH119, PTH120, S104, S108
from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import datetime as dt
import hashlib
import hmac
import http.client
import io
import json
import logging
import os
import platform
import queue
import re
import secrets
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import uuid
import zipfile
import zlib
from dataclasses import dataclass, field, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

VERSION = "4.1.2-standin"
REGION = "us-east-1"
LOG = logging.getLogger("oscar-standin")
Document = dict[str, Any]


# --- configuration -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Config:
    """What the configuration file may say; times in seconds, sizes in bytes."""

    password: str
    access_key: str
    secret_key: str
    address: str
    certificate: str
    key: str
    user: str = "oscar"
    listen: str = "0.0.0.0"
    port: int = 30301
    store_port: int = 30300
    state_dir: str = "/var/lib/oscar-standin"
    images_dir: str = "/var/lib/rancher/k3s/agent/images"
    run_user: int = 65534
    job_timeout: float = 300.0
    event_attempts: int = 3
    upload_attempts: int = 8
    backoff: float = 1.0
    workers: int = 2
    max_body: int = 64 * 1024 * 1024
    max_log: int = 1024 * 1024
    jobs_kept: int = 50

    @classmethod
    def load(cls, path: Path) -> Config:
        """Read the file; an unknown key is an error, since it would be a misspelt one."""
        document = json.loads(path.read_text(encoding="utf-8"))
        unknown = set(document) - {f.name for f in fields(cls)}
        if unknown:
            raise SystemExit(f"{path}: unknown keys: {', '.join(sorted(unknown))}")
        return cls(**document)

    @property
    def endpoint(self) -> str:
        """Address of the OSCAR API."""
        return f"https://{self.address}:{self.port}"

    @property
    def store_endpoint(self) -> str:
        """Address of the object store."""
        return f"https://{self.address}:{self.store_port}"


def write_durably(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write so that after a crash either the old content or all of the new one is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def utc(moment: float | None = None) -> str:
    """ISO 8601 with milliseconds, as S3 and Kubernetes write times."""
    when = dt.datetime.fromtimestamp(time.time() if moment is None else moment, dt.UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03d}Z"


# --- AWS Signature Version 4 -------------------------------------------------------------------------------------


class S3Error(Exception):
    """An error as S3 answers it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True)
class SignedRequest:
    """The parts of a request that a signature covers; ``path`` and ``query`` as they stand in the request line."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


def signature(request: SignedRequest, secret: str, when: tuple[str, str], names: list[str], payload: str) -> str:
    """The signature in hexadecimal; ``when`` is date and scope, ``names`` the signed headers in lower case."""
    date, scope = when
    pairs = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in parse_qsl(request.query, True))
    headers = "".join(f"{n}:{' '.join(request.headers.get(n, '').split())}\n" for n in names)
    canonical = "\n".join(
        [request.method, request.path, "&".join(f"{k}={v}" for k, v in pairs), headers, ";".join(names), payload]
    )
    text = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def sign(request: SignedRequest, access_key: str, secret: str, region: str, body: bytes) -> dict[str, str]:
    """Headers to add to a request so that an S3 store takes it."""
    date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    payload = hashlib.sha256(body).hexdigest()
    added = {**request.headers, "x-amz-date": date, "x-amz-content-sha256": payload}
    names = sorted(added)
    scope = f"{date[:8]}/{region}/s3/aws4_request"
    covered = SignedRequest(request.method, request.path, request.query, added)
    value = signature(covered, secret, (date, scope), names, payload)
    added["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={';'.join(names)}, Signature={value}"
    )
    return added


_AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 Credential=([^,]+), *SignedHeaders=([^,]+), *Signature=([0-9a-f]{64})")


def check_signature(request: SignedRequest, config: Config) -> str:
    """Verify the Authorization header; gives the payload hash it declares. Raises S3Error 403."""
    match = _AUTHORIZATION.fullmatch(request.headers.get("authorization", "").strip())
    if match is None:
        raise S3Error(403, "AccessDenied", "Access Denied.")
    credential, names, given = match[1].split("/", 1), match[2].split(";"), match[3]
    if credential[0] != config.access_key or len(credential) != 2:
        raise S3Error(403, "InvalidAccessKeyId", "The Access Key Id you provided does not exist in our records.")
    date = request.headers.get("x-amz-date", "")
    try:
        moment = dt.datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    except ValueError:
        raise S3Error(403, "AccessDenied", "A valid x-amz-date header is required.") from None
    if abs(time.time() - moment.timestamp()) > 15 * 60:
        raise S3Error(403, "RequestTimeTooSkewed", "The difference between the request time and ours is too large.")
    payload = request.headers.get("x-amz-content-sha256", "")
    expected = signature(request, config.secret_key, (date, credential[1]), names, payload)
    if "host" not in names or not hmac.compare_digest(expected, given):
        raise S3Error(403, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature.")
    return payload


# --- object store ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StoredObject:
    """One object: ``file`` is the name of its content beside its record."""

    key: str
    file: str
    size: int
    etag: str
    modified: float
    content_type: str = "binary/octet-stream"


class ObjectStore:
    """Buckets as folders; an object is a content file and a record that names it, replaced in one step."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self._buckets: dict[str, dict[str, StoredObject]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for bucket in folder.iterdir():
            records = (StoredObject(**json.loads(p.read_text())) for p in bucket.glob("*.json"))
            self._buckets[bucket.name] = {r.key: r for r in records}

    def buckets(self) -> list[tuple[str, float]]:
        """Names and times of creation."""
        with self._lock:
            return [(name, (self._folder / name).stat().st_ctime) for name in sorted(self._buckets)]

    def create_bucket(self, bucket: str) -> bool:
        """Make a bucket; False if it was there."""
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
            raise S3Error(400, "InvalidBucketName", "The specified bucket is not valid.")
        with self._lock:
            if bucket in self._buckets:
                return False
            (self._folder / bucket).mkdir(exist_ok=True)
            self._buckets[bucket] = {}
            return True

    def delete_bucket(self, bucket: str, *, whole: bool = False) -> None:
        """Remove an empty bucket; a ``whole`` one with all that is in it, if it is there."""
        with self._lock:
            if whole and bucket not in self._buckets:
                return
            if self.objects(bucket) and not whole:
                raise S3Error(409, "BucketNotEmpty", "The bucket you tried to delete is not empty.")
            shutil.rmtree(self._folder / bucket)
            del self._buckets[bucket]

    def objects(self, bucket: str) -> dict[str, StoredObject]:
        """Every object of a bucket by key."""
        with self._lock:
            if bucket not in self._buckets:
                raise S3Error(404, "NoSuchBucket", "The specified bucket does not exist.")
            return dict(self._buckets[bucket])

    def put(self, bucket: str, key: str, content: bytes, content_type: str = "binary/octet-stream") -> StoredObject:
        """Store an object durably."""
        if not 0 < len(key.encode()) <= 1024:
            raise S3Error(400, "KeyTooLongError", "Your key is too long.")
        self.objects(bucket)
        etag = hashlib.md5(content, usedforsecurity=False).hexdigest()
        record = StoredObject(key, f"{uuid.uuid4().hex}.bin", len(content), etag, time.time(), content_type)
        write_durably(self._folder / bucket / record.file, content)
        with self._lock:
            before = self.objects(bucket).get(key)
            write_durably(self._record(bucket, key), json.dumps(vars(record)).encode())
            self._buckets[bucket][key] = record
        if before is not None:
            (self._folder / bucket / before.file).unlink(missing_ok=True)
        return record

    def get(self, bucket: str, key: str) -> StoredObject:
        """The record of an object."""
        found = self.objects(bucket).get(key)
        if found is None:
            raise S3Error(404, "NoSuchKey", "The specified key does not exist.")
        return found

    def content(self, bucket: str, key: str) -> bytes:
        """The bytes of an object."""
        with self._lock:
            return (self._folder / bucket / self.get(bucket, key).file).read_bytes()

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        with self._lock:
            record = self.objects(bucket).get(key)
            if record is not None:
                self._record(bucket, key).unlink(missing_ok=True)
                (self._folder / bucket / record.file).unlink(missing_ok=True)
                del self._buckets[bucket][key]

    def _record(self, bucket: str, key: str) -> Path:
        return self._folder / bucket / f"{hashlib.sha256(key.encode()).hexdigest()}.json"


def send_object(provider: Document, bucket: str, key: str, content: bytes, timeout: float = 20.0) -> None:
    """Put an object on another cluster's store; makes the bucket if there is none. Raises OSError or S3Error."""
    status, code = _remote(provider, "PUT", f"/{bucket}/{quote(key, safe='/-_.~')}", content, timeout)
    if status == 404 and "NoSuchBucket" in code:
        status, code = _remote(provider, "PUT", f"/{bucket}", b"", timeout)
        if status not in (200, 409):
            raise S3Error(status, "BucketNotMade", f"Making bucket {bucket} was answered with {status}: {code}")
        status, code = _remote(provider, "PUT", f"/{bucket}/{quote(key, safe='/-_.~')}", content, timeout)
    if status != 200:
        raise S3Error(status, "ObjectNotPut", f"Putting {bucket}/{key} was answered with {status}: {code}")


def _remote(provider: Document, method: str, path: str, body: bytes, timeout: float) -> tuple[int, str]:
    url = urlsplit(provider["endpoint"])
    if url.scheme == "https":
        context = ssl.create_default_context(cadata=provider.get("ca_cert") or None)
        if provider.get("verify") is False:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(url.hostname or "", url.port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=timeout)  # type: ignore[assignment]
    request = SignedRequest(method, path, "", {"host": url.netloc})
    headers = sign(request, provider["access_key"], provider["secret_key"], provider.get("region") or REGION, body)
    with contextlib.closing(connection):
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(4096).decode("utf-8", "replace")


# --- images ------------------------------------------------------------------------------------------------------


class ImageMissingError(Exception):
    """No archive on this machine carries the image."""


@dataclass(frozen=True)
class Image:
    """An image found in an archive: member names of its layers, base first, and what its configuration says."""

    archive: Path
    id: str
    layers: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""


def full_reference(reference: str) -> str:
    """Write out what an image reference leaves out: ``docker.io/library/`` and ``:latest``."""
    name, _, digest = reference.partition("@")
    if ":" not in name.rsplit("/", 1)[-1] and not digest:
        name += ":latest"
    first = name.split("/", 1)[0]
    if "/" not in name:
        name = f"docker.io/library/{name}"
    elif "." not in first and ":" not in first and first != "localhost":
        name = f"docker.io/{name}"
    return f"{name}@{digest}" if digest else name


class Images:
    """Finds images in the archives of a folder and unpacks them, each once."""

    def __init__(self, archives: Path, roots: Path) -> None:
        self._archives, self._roots = archives, roots
        self._lock = threading.Lock()
        self._index: dict[tuple[str, int, int], dict[str, Image]] = {}

    def find(self, reference: str) -> Image:
        """The image called ``reference``. Raises ImageMissingError."""
        wanted = full_reference(reference)
        self._refresh()
        for images in self._index.values():
            if wanted in images:
                return images[wanted]
        raise ImageMissingError(f"No archive in {self._archives} carries the image {reference}.")

    def _refresh(self) -> None:
        """Read the archives that are new."""
        with self._lock:
            archives = [p for p in self._archives.glob("*") if p.name.endswith((".tar", ".tar.gz", ".tgz"))]
            fresh: dict[tuple[str, int, int], dict[str, Image]] = {}
            for path in sorted(archives):
                status = path.stat()
                mark = (str(path), status.st_size, status.st_mtime_ns)
                fresh[mark] = self._index[mark] if mark in self._index else read_archive(path)
            self._index = fresh

    def root(self, image: Image) -> Path:
        """Folder of the unpacked image; unpacked now if it was not yet."""
        target = self._roots / image.id
        with self._lock:
            if not target.is_dir():
                self._roots.mkdir(parents=True, exist_ok=True)
                half = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=self._roots))
                try:
                    unpack(image, half)
                    half.chmod(0o755)
                    half.rename(target)
                except BaseException:
                    shutil.rmtree(half, ignore_errors=True)
                    raise
        return target

    def clean(self) -> None:
        """Remove what a crash left half unpacked, and images that no archive has any longer."""
        self._refresh()
        kept = {image.id for images in self._index.values() for image in images.values()}
        for root in self._roots.glob("*"):
            if root.name not in kept:
                shutil.rmtree(root, ignore_errors=True)


def read_archive(path: Path) -> dict[str, Image]:
    """Images of an archive made by ``docker save`` or an OCI tool, by full reference; nothing if it is unreadable."""
    try:
        with tarfile.open(path, "r:*") as archive:
            names = set(archive.getnames())
            read = _reader(archive)
            if "manifest.json" in names:
                return dict(_docker_images(path, read))
            return dict(_oci_images(path, read)) if "index.json" in names else {}
    except (OSError, tarfile.TarError, ValueError, KeyError, zlib.error) as error:
        LOG.warning("%s is no readable image archive: %s", path, error)
        return {}


def _reader(archive: tarfile.TarFile) -> Callable[[str], Any]:
    def read(name: str) -> Any:
        member = archive.extractfile(name)
        if member is None:
            raise KeyError(name)
        return json.loads(member.read())

    return read


def _docker_images(path: Path, read: Callable[[str], Any]) -> Iterator[tuple[str, Image]]:
    for entry in read("manifest.json"):
        identity = re.sub(r"\.json$", "", entry["Config"].rsplit("/", 1)[-1])
        image = _image(path, identity, entry["Layers"], read(entry["Config"]))
        for tag in entry.get("RepoTags") or []:
            yield full_reference(tag), image


def _oci_images(path: Path, read: Callable[[str], Any]) -> Iterator[tuple[str, Image]]:
    for entry in read("index.json")["manifests"]:
        notes = entry.get("annotations", {})
        name = notes.get("io.containerd.image.name") or notes.get("org.opencontainers.image.ref.name")
        manifest = read(_blob(entry["digest"]))
        if "manifests" in manifest:
            machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
            fitting = [m for m in manifest["manifests"] if m.get("platform", {}).get("architecture") == machine]
            if not fitting:
                continue
            manifest = read(_blob(fitting[0]["digest"]))
        if name:
            layers = [_blob(layer["digest"]) for layer in manifest["layers"]]
            digest = manifest["config"]["digest"]
            yield full_reference(name), _image(path, digest.split(":")[-1], layers, read(_blob(digest)))


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _image(path: Path, identity: str, layers: list[str], document: Document) -> Image:
    if not re.fullmatch(r"[0-9a-f]{12,64}", identity):
        raise ValueError(f"strange image id {identity!r}")
    settings = document.get("config") or {}
    environment = dict(item.split("=", 1) for item in settings.get("Env") or [] if "=" in item)
    return Image(path, identity, tuple(layers), environment, settings.get("User") or "")


def unpack(image: Image, root: Path) -> None:
    """Lay the image's layers over each other under ``root``, honouring the marks of removed files."""
    with tarfile.open(image.archive, "r:*") as archive:
        for name in image.layers:
            layer = archive.extractfile(name)
            if layer is None:
                raise ImageMissingError(f"{image.archive} has no layer {name}.")
            with tarfile.open(fileobj=layer, mode="r:*") as members:
                _unpack_layer(members, root)
    for name, mode in (("tmp", 0o1777), ("dev", 0o755), ("proc", 0o755)):
        (root / name).mkdir(exist_ok=True)
        (root / name).chmod(mode)
    for name, minor in (("null", 3), ("zero", 5), ("random", 8), ("urandom", 9)):
        with contextlib.suppress(OSError):  # a machine without the right to make devices still runs what needs none
            os.mknod(root / "dev" / name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
            (root / "dev" / name).chmod(0o666)


def _unpack_layer(members: tarfile.TarFile, root: Path) -> None:
    folders: list[tuple[Path, tarfile.TarInfo]] = []
    made: set[Path] = set()
    for member in members:
        name = os.path.normpath("/" + member.name).lstrip("/")
        if not name or name == ".":
            continue
        parent = inside(root, os.path.dirname(name))
        base = os.path.basename(name)
        parent.mkdir(parents=True, exist_ok=True)
        if base == ".wh..wh..opq":
            for old in parent.iterdir():
                if old not in made:
                    _remove(old)
        elif base.startswith(".wh."):
            _remove(parent / base[4:])
        else:
            target = parent / base
            made.add(target)
            if _lay(members, member, target, root):
                folders.append((target, member))
    for target, member in reversed(folders):
        os.utime(target, (member.mtime, member.mtime))


def _lay(members: tarfile.TarFile, member: tarfile.TarInfo, target: Path, root: Path) -> bool:
    """Put one member in its place; True if it is a folder, whose time is set when its content is there."""
    if member.isdir():
        if target.is_symlink() or not target.is_dir():
            _remove(target)
            target.mkdir()
    else:
        _remove(target)
        if member.issym():
            target.symlink_to(member.linkname)
        elif member.islnk():
            source = os.path.normpath("/" + member.linkname).lstrip("/")
            os.link(inside(root, os.path.dirname(source)) / os.path.basename(source), target, follow_symlinks=False)
        elif member.isfile():
            content = members.extractfile(member)
            with target.open("xb") as file:
                shutil.copyfileobj(content or io.BytesIO(), file)
        else:
            return False  # devices and pipes come from the machine, never from an image
    if not member.islnk():
        with contextlib.suppress(PermissionError):
            os.lchown(target, member.uid, member.gid)
    if member.isfile() or member.isdir():
        target.chmod(member.mode & 0o7777)
    if member.isfile():
        os.utime(target, (member.mtime, member.mtime))
    return member.isdir()


def inside(root: Path, name: str) -> Path:
    """The path of ``name`` as a process confined to ``root`` would see it: links never lead outside."""
    parts = [p for p in name.split("/") if p not in ("", ".")]
    here: list[str] = []
    for _ in range(1000):
        if not parts:
            return root.joinpath(*here)
        part = parts.pop(0)
        if part == "..":
            here = here[:-1]
            continue
        step = root.joinpath(*here, part)
        if step.is_symlink():
            target = os.readlink(step)
            if target.startswith("/"):
                here = []
            parts = [p for p in target.split("/") if p not in ("", ".")] + parts
        else:
            here.append(part)
    raise ValueError(f"too many links in {name!r}")


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)


# --- services ----------------------------------------------------------------------------------------------------


class ApiError(Exception):
    """An error as OSCAR answers it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


_BOOLEANS = ("enable_gpu", "enable_sgx", "image_prefetch", "alpine")
_STRINGS = ("name", "image", "script", "memory", "cpu", "cluster_id", "log_level", "total_cpu", "total_memory")
_MAPS = ("annotations", "labels", "environment", "storage_providers", "synchronous", "expose", "clusters", "mount")


def check_service(service: Any) -> Document:
    """The service if OSCAR would take it. Raises ApiError 400 with what is wrong."""
    if not isinstance(service, dict):
        raise ApiError(400, "The service specification is not valid: an object is expected.")
    for key in ("name", "image", "script"):
        if not service.get(key):
            raise ApiError(400, f"The service specification is not valid: '{key}' is required.")
    for keys, kind in ((_STRINGS, str), (_BOOLEANS, bool), (_MAPS, dict), (("input", "output"), list)):
        for key in keys:
            if service.get(key) is not None and not isinstance(service[key], kind):
                raise ApiError(400, f"The service specification is not valid: '{key}' must be a {kind.__name__}.")
    if len(service["name"]) > 39 or not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", service["name"]):
        raise ApiError(400, "The service name is not valid: a DNS label of at most 39 characters is expected.")
    if not re.fullmatch(r"\d+(\.\d+)?([EPTGMk]i?|m)?", service.get("memory") or "256Mi"):
        raise ApiError(400, f"The memory quantity {service['memory']!r} is not valid.")
    if not re.fullmatch(r"\d+(\.\d+)?m?", service.get("cpu") or "0.2"):
        raise ApiError(400, f"The cpu quantity {service['cpu']!r} is not valid.")
    for value in variables(service).values():
        if not isinstance(value, str):
            raise ApiError(400, "The service specification is not valid: environment variables must be strings.")
    _check_storage(service)
    return service


def _check_storage(service: Document) -> None:
    minio = (service.get("storage_providers") or {}).get("minio") or {}
    for name, provider in minio.items():
        if not isinstance(provider, dict) or not isinstance(provider.get("verify", True), bool):
            raise ApiError(400, f"The storage provider minio.{name} is not valid: 'verify' must be a boolean.")
        if not all(isinstance(provider.get(k), str) for k in ("endpoint", "access_key", "secret_key")):
            raise ApiError(400, f"The storage provider minio.{name} needs endpoint, access_key and secret_key.")
    for kind in ("input", "output"):
        for entry in service.get(kind) or []:
            if not isinstance(entry, dict) or not isinstance(entry.get("path"), str) or not entry["path"].strip("/"):
                raise ApiError(400, f"Each {kind} needs a path.")
            provider = entry.get("storage_provider") or "minio"
            known = {"minio", "minio.default"} | ({f"minio.{n}" for n in minio} if kind == "output" else set())
            if provider not in known:
                raise ApiError(400, f"The storage provider {provider!r} of the {kind} is not defined.")
            if not all(isinstance(entry.get(k) or [], list) for k in ("prefix", "suffix")):
                raise ApiError(400, f"'prefix' and 'suffix' of the {kind} must be lists.")


def variables(service: Document) -> Document:
    """The service's environment variables; both spellings of the key are in use."""
    environment = service.get("environment") or {}
    found = environment.get("variables") or environment.get("Variables") or {}
    if not isinstance(found, dict):
        raise ApiError(400, "The service specification is not valid: environment variables must be a map.")
    return found


def split_path(path: str) -> tuple[str, str]:
    """Bucket and folder of a storage path; the folder may be empty."""
    bucket, _, folder = path.strip("/").partition("/")
    return bucket, folder.strip("/")


def passes(entry: Document, name: str) -> bool:
    """Whether a file of this name passes the prefix and suffix filters of an input or output."""
    prefixes, suffixes = entry.get("prefix") or [""], entry.get("suffix") or [""]
    base = name.rsplit("/", 1)[-1]
    return any(base.startswith(p) for p in prefixes) and any(base.endswith(s) for s in suffixes)


class Services:
    """The registered services, each a file that survives a restart."""

    def __init__(self, folder: Path, store: ObjectStore) -> None:
        self._folder, self._store = folder, store
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        self._services: dict[str, Document] = {p.stem: json.loads(p.read_text()) for p in folder.glob("*.json")}

    def all(self) -> list[Document]:
        """Every service, by name."""
        with self._lock:
            return [self._services[name] for name in sorted(self._services)]

    def get(self, name: str) -> Document:
        """One service. Raises ApiError 404."""
        with self._lock:
            if name not in self._services:
                raise ApiError(404, f"The service {name!r} does not exist.")
            return self._services[name]

    def put(self, document: Any, *, exists: bool) -> None:
        """Register (``exists`` False) or replace a service. Raises ApiError 400, 404 or 409."""
        service = check_service(document)
        name = service["name"]
        with self._lock:
            if exists and name not in self._services:
                raise ApiError(404, f"The service {name!r} does not exist.")
            if not exists and name in self._services:
                raise ApiError(409, "A service with the provided name already exists.")
            before = self._services.get(name, {})
            service = {**service, "token": before.get("token") or secrets.token_hex(32)}
            for entry in [*(service.get("input") or []), *(service.get("output") or [])]:
                if (entry.get("storage_provider") or "minio") in ("minio", "minio.default"):
                    try:
                        self._store.create_bucket(split_path(entry["path"])[0])
                    except S3Error as error:
                        raise ApiError(400, f"The path {entry['path']!r} is not valid: {error.message}") from error
            write_durably(self._folder / f"{name}.json", json.dumps(service).encode())
            self._services[name] = service

    def delete(self, name: str) -> None:
        """Remove a service with the buckets of its inputs and outputs and all that is in them, as OSCAR 4 does.

        As there, it is this store's bucket that goes for an output on another cluster too, whoever else uses it.
        """
        service = self.get(name)
        with self._lock:
            (self._folder / f"{name}.json").unlink(missing_ok=True)
            self._services.pop(name, None)
        for entry in [*(service.get("input") or []), *(service.get("output") or [])]:
            self._store.delete_bucket(split_path(entry["path"])[0], whole=True)

    def listening(self, bucket: str, key: str) -> list[str]:
        """Names of the services with an input that this object arrives on."""
        found = []
        for service in self.all():
            for entry in service.get("input") or []:
                wanted, folder = split_path(entry["path"])
                if bucket == wanted and key.startswith(f"{folder}/" if folder else "") and passes(entry, key):
                    found.append(service["name"])
                    break
        return found


# --- jobs --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Event:
    """Something for a service to work on; kept on disk until its outputs are stored or it is given up."""

    id: str
    service: str
    created: float
    bucket: str = ""
    key: str = ""
    body: str = ""

    @property
    def file_name(self) -> str:
        """Name of the input file the script sees."""
        return self.key.rsplit("/", 1)[-1] if self.key else "event"


class JobFailedError(Exception):
    """An attempt at an event failed; the message ends up in the job's log."""


class Sandbox:
    """Runs a script inside an unpacked image."""

    def __init__(self, config: Config) -> None:
        self._config = config
        isolated = ["--mount", "--pid", "--ipc", "--fork", "--mount-proc"]
        probe = ["unshare", *isolated, "true"]
        try:
            works = subprocess.run(probe, capture_output=True, timeout=10, check=False).returncode == 0
        except (OSError, subprocess.TimeoutExpired):
            works = False
        self.namespaces = isolated if works else []

    def run(self, root: Path, image: Image, script: str, job: str, environment: dict[str, str]) -> tuple[int, bytes]:
        """Run ``script`` by ``/bin/sh``; its exit status (124 when time ran out) and what it printed."""
        number = image.user.split(":")[0]
        user = int(number) if number.isdigit() and int(number) else self._config.run_user
        folder = root / "tmp" / job
        (folder / "script.sh").write_text(script if script.endswith("\n") else f"{script}\n")
        as_root = os.geteuid() == 0
        for path in (folder, *folder.rglob("*")):
            if as_root:
                os.lchown(path, user, user)
        command = ["unshare", *self.namespaces, "--root", str(root), "--wd", f"/tmp/{job}"]
        command += ["--setgid", str(user), "--setuid", str(user)] if as_root else []
        base = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": f"/tmp/{job}"}
        process = subprocess.Popen(
            [*command, "--", "/bin/sh", f"/tmp/{job}/script.sh"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**base, **image.environment, **environment},
            start_new_session=True,
        )
        return self._wait(process)

    def _wait(self, process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
        printed = bytearray()
        pipe = process.stdout
        if pipe is None:
            raise ValueError("the script's output must be a pipe")

        def drain() -> None:
            while chunk := os.read(pipe.fileno(), 65536):
                printed.extend(chunk[: max(0, self._config.max_log - len(printed))])

        reader = threading.Thread(target=drain, daemon=True)
        reader.start()
        try:
            status = process.wait(self._config.job_timeout)
        except subprocess.TimeoutExpired:
            status = 124
            printed.extend(f"\nstopped after {self._config.job_timeout:g} s\n".encode())
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        reader.join(10)
        return status, bytes(printed)


class Jobs:
    """Takes events from the spool, runs them, stores their outputs. At least once: a restart begins anew."""

    def __init__(self, config: Config, store: ObjectStore, services: Services, images: Images) -> None:
        self._config, self._store, self._services, self._images = config, store, services, images
        self._sandbox = Sandbox(config)
        self._spool = Path(config.state_dir) / "events"
        self._logs = Path(config.state_dir) / "logs"
        self._queue: queue.Queue[Event] = queue.Queue()
        self._stopping = threading.Event()
        self._spool.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)

    @property
    def isolation(self) -> str:
        """How scripts are confined, in words."""
        return "chroot and own namespaces" if self._sandbox.namespaces else "chroot only"

    def start(self) -> None:
        """Take up what was left, then work."""
        left = [Event(**json.loads(p.read_text())) for p in self._spool.glob("*.json")]
        for event in sorted(left, key=lambda e: e.created):
            self._queue.put(event)
        for number in range(self._config.workers):
            threading.Thread(target=self._work, name=f"worker-{number}", daemon=True).start()

    def stop(self) -> None:
        """Begin nothing more; what is running ends with the process and is begun anew by the next one."""
        self._stopping.set()

    def prefetch(self, reference: str) -> None:
        """Unpack an image in the background, so that the first event does not wait for it."""

        def unpack_now() -> None:
            try:
                self._images.root(self._images.find(reference))
            except (ImageMissingError, OSError, tarfile.TarError, ValueError) as error:
                LOG.info("%s is not unpacked yet: %s", reference, error)

        threading.Thread(target=unpack_now, daemon=True).start()

    def object_arrived(self, bucket: str, key: str) -> None:
        """Note an event for every service that listens; durable when this returns."""
        if key.endswith("/"):
            return
        for service in self._services.listening(bucket, key):
            self.submit(Event(self._new_id(service), service, time.time(), bucket, key))

    def submit(self, event: Event) -> None:
        """Put an event in the spool and the queue."""
        write_durably(self._spool / f"{event.id}.json", json.dumps(vars(event)).encode())
        self._note(event, "Pending", f"input: {event.bucket}/{event.key}")
        self._queue.put(event)

    def invoke(self, service: str, body: bytes) -> str:
        """An asynchronous call without an object; gives the job's name."""
        event = Event(self._new_id(service), service, time.time(), body=base64.b64encode(body).decode())
        self.submit(event)
        return event.id

    def call(self, service: Document, body: bytes) -> bytes:
        """A synchronous call: what the script left (base64; several files zipped), or what it printed."""
        event = Event(self._new_id(service["name"]), service["name"], time.time(), body=base64.b64encode(body).decode())
        try:
            outputs, printed = self._run(event, service)
        except JobFailedError as error:
            self._note(event, "Failed", str(error))
            raise ApiError(500, str(error)) from error
        self._note(event, "Succeeded", printed)
        if not outputs:
            return printed.encode()
        if len(outputs) == 1:
            return base64.b64encode(next(iter(outputs.values())))
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, content in outputs.items():
                archive.writestr(name, content)
        return base64.b64encode(packed.getvalue())

    def drop(self, service: str) -> None:
        """Forget the waiting events and the logs of a service that is deleted."""
        for path in self._spool.glob("*.json"):
            with contextlib.suppress(OSError, ValueError):
                if json.loads(path.read_text())["service"] == service:
                    path.unlink(missing_ok=True)
        shutil.rmtree(self._logs / service, ignore_errors=True)

    def logs(self, service: str) -> Document:
        """Status of every job of a service that is still remembered."""
        found = {}
        for path in sorted((self._logs / service).glob("*.json")):
            with contextlib.suppress(OSError, ValueError):
                found[path.stem] = json.loads(path.read_text())
        return found

    def log(self, service: str, job: str) -> str:
        """What a job printed. Raises ApiError 404."""
        path = self._logs / service / f"{job}.log"
        if not re.fullmatch(r"[-a-z0-9]+", job) or not path.is_file():
            raise ApiError(404, f"The job {job!r} does not exist.")
        return path.read_text(encoding="utf-8", errors="replace")

    def delete_logs(self, service: str, job: str = "") -> None:
        """Forget one ended job, or all of them."""
        for name, status in self.logs(service).items():
            if name == job or (not job and status["status"] in ("Succeeded", "Failed")):
                for ending in ("json", "log"):
                    (self._logs / service / f"{name}.{ending}").unlink(missing_ok=True)

    @staticmethod
    def _new_id(service: str) -> str:
        return f"{service}-{uuid.uuid4().hex[:12]}"

    def _work(self) -> None:
        while not self._stopping.is_set():
            event = self._queue.get()
            try:
                self._handle(event)
            except OSError as error:
                # A full disk or the like: the event stays in the spool, and the next start takes it up again.
                LOG.warning("event %s stays in the spool: %s", event.id, error)

    def _handle(self, event: Event) -> None:
        spooled = self._spool / f"{event.id}.json"
        report = [f"input: {event.bucket}/{event.key}" if event.bucket else "input: a call"]
        for attempt in range(1, self._config.event_attempts + 1):
            if not spooled.exists():
                return
            try:
                service = self._services.get(event.service)
            except ApiError:
                break
            try:
                self._note(event, "Running", "\n".join(report))
                outputs, printed = self._run(event, service)
                report.append(printed)
                self._deliver(service, outputs, report)
                self._note(event, "Succeeded", "\n".join(report))
                break
            except JobFailedError as error:
                report.append(f"attempt {attempt} of {self._config.event_attempts}: {error}")
                self._note(event, "Running", "\n".join(report))
                LOG.warning("event %s: %s", event.id, str(error).splitlines()[0])
            if attempt < self._config.event_attempts:
                self._pause(attempt)
        else:
            self._note(event, "Failed", "\n".join(report))
        if not self._stopping.is_set():
            spooled.unlink(missing_ok=True)

    def _pause(self, attempt: int) -> None:
        self._stopping.wait(min(30.0, self._config.backoff * 2 ** (attempt - 1)))

    def _run(self, event: Event, service: Document) -> tuple[dict[str, bytes], str]:
        """Run the script once; its output files by relative name and what it printed. Raises JobFailedError."""
        try:
            image = self._images.find(service["image"])
            root = self._images.root(image)
            content = base64.b64decode(event.body) if event.body else b""
            content = self._store.content(event.bucket, event.key) if event.bucket else content
        except (ImageMissingError, S3Error, OSError, tarfile.TarError, ValueError) as error:
            raise JobFailedError(str(error)) from error
        folder = root / "tmp" / event.id
        shutil.rmtree(folder, ignore_errors=True)
        try:
            for part in ("input", "output"):
                (folder / part).mkdir(parents=True)
            (folder / "input" / event.file_name).write_bytes(content)
            environment = self._environment(event, service)
            status, printed = self._sandbox.run(root, image, service["script"], event.id, environment)
            text = printed.decode("utf-8", "replace")
            if status != 0:
                raise JobFailedError(f"the script ended with status {status}\n{text}")
            return dict(_files(folder / "output")), text
        except OSError as error:
            raise JobFailedError(f"the script could not be run: {error}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @staticmethod
    def _environment(event: Event, service: Document) -> dict[str, str]:
        folder = f"/tmp/{event.id}"
        record = {"s3": {"bucket": {"name": event.bucket}, "object": {"key": quote(event.key)}}}
        document = {"Key": f"{event.bucket}/{event.key}", "Records": [{"eventSource": "minio:s3", **record}]}
        return {
            **variables(service),
            "INPUT_FILE_PATH": f"{folder}/input/{event.file_name}",
            "TMP_INPUT_DIR": f"{folder}/input",
            "TMP_OUTPUT_DIR": f"{folder}/output",
            "STORAGE_OBJECT_KEY": event.key,
            "EVENT": json.dumps(document) if event.bucket else base64.b64decode(event.body).decode("utf-8", "replace"),
        }

    def _deliver(self, service: Document, outputs: dict[str, bytes], report: list[str]) -> None:
        for entry in service.get("output") or []:
            bucket, folder = split_path(entry["path"])
            for name, content in outputs.items():
                if passes(entry, name):
                    key = f"{folder}/{name}" if folder else name
                    self._deliver_one(service, entry.get("storage_provider") or "minio", (bucket, key), content)
                    report.append(f"stored {name} as {bucket}/{key} on {entry.get('storage_provider') or 'minio'}")

    def _deliver_one(self, service: Document, provider: str, place: tuple[str, str], content: bytes) -> None:
        for attempt in range(1, self._config.upload_attempts + 1):
            try:
                if provider in ("minio", "minio.default"):
                    self._store.create_bucket(place[0])
                    self._store.put(*place, content)
                    self.object_arrived(*place)
                else:
                    target = service["storage_providers"]["minio"][provider.partition(".")[2]]
                    send_object(target, *place, content)
                return
            except (OSError, S3Error, http.client.HTTPException) as error:
                problem = f"{'/'.join(place)} could not be stored on {provider}: {error}"
                LOG.warning("%s (attempt %d)", problem, attempt)
                if attempt == self._config.upload_attempts or self._stopping.is_set():
                    raise JobFailedError(problem) from error
                self._pause(attempt)

    def _note(self, event: Event, status: str, text: str) -> None:
        """Record where a job stands, and forget the oldest ended jobs of the service."""
        folder = self._logs / event.service
        record = folder / f"{event.id}.json"
        known: Document = json.loads(record.read_text()) if record.exists() else {"creation_time": utc(event.created)}
        if status == "Running":
            known.setdefault("start_time", utc())
        if status in ("Succeeded", "Failed"):
            known["finish_time"] = utc()
        write_durably(folder / f"{event.id}.log", text.encode())
        write_durably(record, json.dumps({**known, "status": status}).encode())
        ended = sorted((s["creation_time"], name) for name, s in self.logs(event.service).items() if "finish_time" in s)
        for _, name in ended[: max(0, len(ended) - self._config.jobs_kept)]:
            self.delete_logs(event.service, name)


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Regular files under ``folder`` by relative name; links are left alone, since they may lead anywhere."""
    for where, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(where, name)
            if stat.S_ISREG(path.lstat().st_mode):
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
                with os.fdopen(descriptor, "rb") as file:
                    yield path.relative_to(folder).as_posix(), file.read()


# --- HTTP --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """Everything the request handlers work on."""

    config: Config
    store: ObjectStore
    services: Services
    jobs: Jobs


class Handler(BaseHTTPRequestHandler):
    """What both interfaces share: reading bodies, answering, never leaving a connection half read."""

    protocol_version = "HTTP/1.1"
    server_version = "oscar-standin"
    sys_version = ""
    timeout = 60
    world: ClassVar[World]

    def do_GET(self) -> None:
        """Answer any method."""
        chunked = bool(self.headers.get("Transfer-Encoding"))
        self.body_read = not chunked and int(self.headers.get("Content-Length") or 0) == 0
        url = urlsplit(self.path)
        try:
            self.answer(self.command, url.path, url.query)
        except (S3Error, ApiError, OSError, ValueError, KeyError) as error:
            if isinstance(error, (ConnectionError, TimeoutError)):
                self.close_connection = True
                return
            self.fail(error)

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    def answer(self, method: str, path: str, query: str) -> None:
        """Do what the request asks and send the answer."""
        raise NotImplementedError

    def fail(self, error: Exception) -> None:
        """Send an error."""
        raise NotImplementedError

    def body(self) -> bytes:
        """The request's body. Raises ApiError 413."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            content = b"".join(self._chunks())
            self.body_read = True
            return content
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= self.world.config.max_body:
            raise ApiError(413, "The body is too large.")
        content = self.rfile.read(length)
        if len(content) != length:
            raise ConnectionResetError("the body ended early")
        self.body_read = True
        return content

    def _chunks(self) -> Iterator[bytes]:
        left = self.world.config.max_body
        while size := int(self.rfile.readline(1024).split(b";")[0], 16):
            left -= size
            if size < 0 or left < 0:
                raise ApiError(413, "The body is too large.")
            yield self.rfile.read(size)
            self.rfile.readline(8)
        while self.rfile.readline(8192) not in (b"\r\n", b"\n", b""):
            pass

    def send(self, status: int, content: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Send an answer; the connection ends if the request's body was not read."""
        self.send_response(status)
        given = {"Content-Length": str(len(content)), **(headers or {})}
        if not self.body_read:
            given["Connection"] = "close"
            self.close_connection = True
        if status == 204:
            del given["Content-Length"]
        for name, value in given.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Requests go to the debug log only."""
        LOG.debug("%s %s", self.address_string(), format % args)


class StoreHandler(Handler):
    """The S3 interface: path style, one account, signatures verified."""

    def answer(self, method: str, path: str, query: str) -> None:
        """Route by bucket, key and method."""
        headers = {k.lower(): v for k, v in self.headers.items()}
        payload = check_signature(SignedRequest(method, path, query, headers), self.world.config)
        bucket, _, raw = path.lstrip("/").partition("/")
        bucket, key = unquote(bucket), unquote(raw)
        if not bucket:
            self._list_buckets(method)
        elif not key:
            self._bucket(method, bucket, dict(parse_qsl(query, True)))
        elif query and not query.startswith("x-id="):
            raise S3Error(501, "NotImplemented", "This part of S3 is not implemented.")
        else:
            self._object(method, bucket, key, payload)

    def fail(self, error: Exception) -> None:
        """An error document."""
        status, code, text = 500, "InternalError", "We encountered an internal error."
        if isinstance(error, S3Error):
            status, code, text = error.status, error.code, error.message
        elif isinstance(error, ApiError):
            status, code, text = error.status, "InvalidRequest", error.message
        elif isinstance(error, ValueError):
            status, code, text = 400, "InvalidRequest", str(error)
        else:
            LOG.error("store: %r", error)
        body = f"<Error><Code>{code}</Code><Message>{escape(text)}</Message></Error>"
        self._xml(status, body)

    def _xml(self, status: int, body: str) -> None:
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'
        self.send(status, text.encode(), {"Content-Type": "application/xml"})

    def _list_buckets(self, method: str) -> None:
        if method != "GET":
            raise S3Error(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
        entries = "".join(
            f"<Bucket><Name>{name}</Name><CreationDate>{utc(made)}</CreationDate></Bucket>"
            for name, made in self.world.store.buckets()
        )
        owner = "<Owner><ID>standin</ID><DisplayName>standin</DisplayName></Owner>"
        self._xml(200, f"<ListAllMyBucketsResult>{owner}<Buckets>{entries}</Buckets></ListAllMyBucketsResult>")

    def _bucket(self, method: str, bucket: str, query: dict[str, str]) -> None:
        store = self.world.store
        if method == "PUT":
            self.body()
            if not store.create_bucket(bucket):
                raise S3Error(409, "BucketAlreadyOwnedByYou", "Your previous request to create the bucket succeeded.")
            self.send(200, headers={"Location": f"/{bucket}"})
        elif method == "HEAD":
            store.objects(bucket)
            self.send(200)
        elif method == "DELETE":
            store.delete_bucket(bucket)
            self.send(204)
        elif method == "GET" and "location" in query:
            store.objects(bucket)
            self._xml(200, "<LocationConstraint></LocationConstraint>")
        elif method == "GET" and query.get("list-type") == "2":
            self._xml(200, list_objects(bucket, store.objects(bucket), query))
        else:
            raise S3Error(501, "NotImplemented", "This part of S3 is not implemented.")

    def _object(self, method: str, bucket: str, key: str, payload: str) -> None:
        store = self.world.store
        if method == "PUT":
            if self.headers.get("x-amz-copy-source"):
                raise S3Error(501, "NotImplemented", "Copying objects is not implemented.")
            content = decode_payload(self.body(), payload, self.headers.get("x-amz-trailer") or "")
            record = store.put(bucket, key, content, self.headers.get("Content-Type") or "binary/octet-stream")
            self.world.jobs.object_arrived(bucket, key)
            self.send(200, headers={"ETag": f'"{record.etag}"'})
        elif method in ("GET", "HEAD"):
            record = store.get(bucket, key)
            headers = {
                "ETag": f'"{record.etag}"',
                "Content-Type": record.content_type,
                "Last-Modified": self.date_time_string(int(record.modified)),
            }
            if method == "HEAD":
                self.send(200, headers={**headers, "Content-Length": str(record.size)})
            else:
                self.send(200, store.content(bucket, key), headers)
        elif method == "DELETE":
            store.delete(bucket, key)
            self.send(204)
        else:
            raise S3Error(501, "NotImplemented", "This part of S3 is not implemented.")


def decode_payload(body: bytes, declared: str, trailer: str) -> bytes:
    """The object's bytes, checked against the hash that the signature covers, or against the trailer's checksum."""
    if declared == "STREAMING-UNSIGNED-PAYLOAD-TRAILER":
        content, trailers = _decode_chunks(body)
        if trailer.lower() == "x-amz-checksum-crc32":
            expected = base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()
            if trailers.get("x-amz-checksum-crc32") != expected:
                raise S3Error(400, "BadDigest", "The checksum you specified did not match what we received.")
        return content
    if declared.startswith("STREAMING-"):
        raise S3Error(501, "NotImplemented", "Signed chunks are not implemented.")
    if declared != "UNSIGNED-PAYLOAD" and hashlib.sha256(body).hexdigest() != declared:
        raise S3Error(400, "XAmzContentSHA256Mismatch", "The provided x-amz-content-sha256 header does not match.")
    return body


def _decode_chunks(body: bytes) -> tuple[bytes, dict[str, str]]:
    content, place = bytearray(), 0
    while True:
        end = body.find(b"\r\n", place)
        if end < 0:
            raise S3Error(400, "IncompleteBody", "The body ended early.")
        size = int(body[place:end].split(b";")[0], 16)
        place = end + 2
        if size == 0:
            break
        content += body[place : place + size]
        place += size + 2
    lines = [line.partition(":") for line in body[place:].decode("ascii", "replace").split("\r\n") if ":" in line]
    return bytes(content), {name.strip().lower(): value.strip() for name, _, value in lines}


def list_objects(bucket: str, objects: Mapping[str, StoredObject], query: dict[str, str]) -> str:
    """The answer to ListObjectsV2; the continuation token is the last name given, encoded."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    limit = max(0, min(1000, int(query.get("max-keys") or 1000)))
    token = query.get("continuation-token", "")
    after = base64.urlsafe_b64decode(token).decode() if token else query.get("start-after", "")
    shown: dict[str, str] = {}
    cut = False
    for key in sorted(objects, key=str.encode):
        if not key.startswith(prefix):
            continue
        inner = key[len(prefix) :]
        folder = prefix + inner.split(delimiter)[0] + delimiter if delimiter and delimiter in inner else ""
        name = folder or key
        if name <= after or name in shown:
            continue
        if len(shown) == limit:
            cut = True
            break
        shown[name] = _listed(objects[key], folder, query)
    last = base64.urlsafe_b64encode(list(shown)[-1].encode()).decode() if shown and cut else ""
    encoding = "<EncodingType>url</EncodingType>" if query.get("encoding-type") == "url" else ""
    more = f"<NextContinuationToken>{last}</NextContinuationToken>" if cut else ""
    return (
        f"<ListBucketResult><Name>{escape(bucket)}</Name><Prefix>{_shown(prefix, query)}</Prefix>"
        f"<KeyCount>{len(shown)}</KeyCount><MaxKeys>{limit}</MaxKeys><IsTruncated>{str(cut).lower()}</IsTruncated>"
        f"{encoding}{more}{''.join(shown.values())}</ListBucketResult>"
    )


def _shown(text: str, query: dict[str, str]) -> str:
    return escape(quote(text) if query.get("encoding-type") == "url" else text)


def _listed(record: StoredObject, folder: str, query: dict[str, str]) -> str:
    if folder:
        return f"<CommonPrefixes><Prefix>{_shown(folder, query)}</Prefix></CommonPrefixes>"
    return (
        f"<Contents><Key>{_shown(record.key, query)}</Key><LastModified>{utc(record.modified)}</LastModified>"
        f"<ETag>&quot;{record.etag}&quot;</ETag><Size>{record.size}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
    )


class ApiHandler(Handler):
    """OSCAR's interface."""

    def answer(self, method: str, path: str, query: str) -> None:
        """Route by path and method; the query says nothing here."""
        del query
        parts = [unquote(p) for p in path.strip("/").split("/")]
        if (method, parts) == ("GET", ["health"]):
            self.send(200, b"Ok", {"Content-Type": "text/plain"})
            return
        self._authenticate(parts)
        if parts == ["system", "services"]:
            self._services(method)
        elif parts[:2] == ["system", "services"] and len(parts) == 3:
            self._service(method, parts[2])
        elif parts[:2] == ["system", "logs"] and len(parts) in (3, 4):
            self._logs(method, *parts[2:])
        elif parts[0] in ("job", "run") and len(parts) == 2 and method == "POST":
            self._call(*parts)
        elif method == "GET" and parts in (["system", "info"], ["system", "config"]):
            self._json(200, self._facts(parts[1]))
        else:
            raise ApiError(404, "404 page not found")

    def fail(self, error: Exception) -> None:
        """An error in words."""
        status, text = 500, "internal error"
        if isinstance(error, ApiError):
            status, text = error.status, error.message
        elif isinstance(error, ValueError):
            status, text = 400, f"The request is not valid: {error}"
        else:
            LOG.error("api: %r", error)
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="Authorization Required"'
        self.send(status, text.encode(), headers)

    def _authenticate(self, parts: list[str]) -> None:
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        config = self.world.config
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(value, validate=True)
            except binascii.Error:
                given = b""
            if hmac.compare_digest(given, f"{config.user}:{config.password}".encode()):
                return
        if scheme.lower() == "bearer" and parts[0] in ("job", "run") and len(parts) == 2:
            token = self.world.services.get(parts[1])["token"]
            if hmac.compare_digest(value.strip().encode(), token.encode()):
                return
        raise ApiError(401, "Unauthorized")

    def _json(self, status: int, document: Any) -> None:
        self.send(status, json.dumps(document).encode(), {"Content-Type": "application/json; charset=utf-8"})

    def _services(self, method: str) -> None:
        if method == "GET":
            self._json(200, self.world.services.all())
        elif method in ("POST", "PUT"):
            try:
                document = json.loads(self.body())
            except ValueError as error:
                raise ApiError(400, f"The service specification is not valid: {error}") from error
            self.world.services.put(document, exists=method == "PUT")
            self.world.jobs.prefetch(document["image"])
            self.send(201 if method == "POST" else 204)
        else:
            raise ApiError(405, "405 method not allowed")

    def _service(self, method: str, name: str) -> None:
        if method == "GET":
            self._json(200, self.world.services.get(name))
        elif method == "DELETE":
            self.world.services.delete(name)
            self.world.jobs.drop(name)
            self.send(204)
        else:
            raise ApiError(405, "405 method not allowed")

    def _logs(self, method: str, service: str, job: str = "") -> None:
        self.world.services.get(service)
        if method == "DELETE":
            self.world.jobs.delete_logs(service, job)
            self.send(204)
        elif method == "GET" and job:
            self.send(200, self.world.jobs.log(service, job).encode(), {"Content-Type": "text/plain; charset=utf-8"})
        elif method == "GET":
            self._json(200, self.world.jobs.logs(service))
        else:
            raise ApiError(405, "405 method not allowed")

    def _call(self, kind: str, name: str) -> None:
        service = self.world.services.get(name)
        body = self.body()
        if kind == "job":
            self._json(201, {"job": self.world.jobs.invoke(name, body)})
        else:
            self.send(200, self.world.jobs.call(service, body), {"Content-Type": "text/plain"})

    def _facts(self, kind: str) -> Document:
        config = self.world.config
        if kind == "info":
            return {
                "version": VERSION,
                "git_commit": "",
                "architecture": platform.machine(),
                "kubernetes_version": "none: stand-in",
                "serverless_backend": {"name": f"stand-in, {self.world.jobs.isolation}", "version": VERSION},
            }
        store = {"endpoint": config.store_endpoint, "verify": True, "region": REGION}
        keys = {"access_key": config.access_key, "secret_key": config.secret_key}
        return {
            "name": "oscar-standin",
            "namespace": "oscar",
            "services_namespace": "oscar-svc",
            "gpu_available": False,
            "serverless_backend": "stand-in",
            "yunikorn_enable": False,
            "minio_provider": {**store, **keys},
        }


class TlsServer(ThreadingHTTPServer):
    """A server whose handshakes happen in the connection's own thread, so that a silent client blocks nobody."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, place: tuple[str, int], handler: type[Handler], context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(place, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept without waiting for the client's first word."""
        connection, address = super().get_request()
        wrapped = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return wrapped, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A broken connection is one line, not a stack."""
        del request
        error = sys.exc_info()[1]
        level = logging.DEBUG if isinstance(error, OSError) else logging.ERROR
        LOG.log(level, "connection from %s: %r", client_address, error, exc_info=level == logging.ERROR)


def notify_ready() -> None:
    """Tell systemd, if it started us, that requests are answered."""
    place = os.environ.pop("NOTIFY_SOCKET", "")
    if place:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
            notifier.connect("\0" + place[1:] if place.startswith("@") else place)
            notifier.send(b"READY=1")


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="Stand-in for OSCAR and its object store.")
    parser.add_argument("--config", type=Path, default=Path("/etc/oscar-standin/config.json"))
    parser.add_argument("--verbose", action="store_true", help="log every request")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.DEBUG if arguments.verbose else logging.INFO, format="%(levelname)s %(message)s")
    os.umask(0o022)
    config = Config.load(arguments.config)
    folder = Path(config.state_dir)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    store = ObjectStore(folder / "store")
    services = Services(folder / "services", store)
    images = Images(Path(config.images_dir), folder / "rootfs")
    images.clean()
    jobs = Jobs(config, store, services, images)
    Handler.world = World(config, store, services, jobs)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(config.certificate, config.key)
    servers = [
        TlsServer((config.listen, config.port), ApiHandler, context),
        TlsServer((config.listen, config.store_port), StoreHandler, context),
    ]
    done = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    signal.signal(signal.SIGINT, lambda *_: done.set())
    jobs.start()
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    LOG.info(
        "answering on %s (OSCAR) and %s (store); scripts run by %s", config.port, config.store_port, jobs.isolation
    )
    notify_ready()
    done.wait()
    jobs.stop()
    for server in servers:
        server.shutdown()


if __name__ == "__main__":
    main()
