"""Builds an image by running steps in a container and committing it: needs nothing but an engine's plain API."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import re
import socket
import tarfile
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Timer
from typing import IO, Any, cast

import docker
import docker.errors
import requests.exceptions
from docker.models.containers import Container
from docker.models.images import Image
from docker.types import Mount
from docker.utils.socket import SocketError, frames_iter

from orchestrator.clients.engine import translated_errors
from orchestrator.errors import CancelledError, ProviderError, without_credentials
from orchestrator.images.build_inputs import BuildInputs, ReadOnlyMount, machine_build_inputs
from orchestrator.resources import user_cache_folder

BUILD_LABEL = "continuum.build"
"""Marks a container that only exists while an image is built."""

_TAIL_LINES = 25


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a build.

    Attributes:
        title: What it does, for people, e.g. ``installing packages``.
        script: Lines for ``sh -eu``, run as root.
        environment: Variables of this step only; the image does not keep them.
        timeout: Seconds after which it is ended.
    """

    title: str
    script: str
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout: int = 900


class ImageBuildError(ProviderError):
    """A step of a build failed."""

    def __init__(self, tag: str, step: Step, status: int | None, tail: str) -> None:
        ended = {124: f"took longer than {step.timeout} s", 137: "was killed"}.get(status or 0, f"ended with {status}")
        super().__init__(
            "An image could not be built.",
            detail=f"Image {tag}: the step '{step.title}' {ended}. The end of its output:\n{tail}",
            resolution="Mend the cause that the output names, and repeat: nothing of the failed build is kept.",
        )


def recipe_digest(*parts: object) -> str:
    """Sixteen hexadecimal digits that change whenever one of the parts does; for the tag of an image."""
    text = json.dumps(parts, default=repr, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def inspect_image(client: docker.DockerClient, tag: str) -> Image | None:
    """The image with that tag, or None."""
    with translated_errors(f"looking for the image {tag}"):
        try:
            return client.images.get(tag)
        except docker.errors.ImageNotFound:
            return None


def find_image(client: docker.DockerClient, tag: str) -> str | None:
    """Id of the image with that tag, or None."""
    image = inspect_image(client, tag)
    return None if image is None else str(image.id)


def build_image(
    client: docker.DockerClient,
    base: str,
    steps: Sequence[Step],
    tag: str,
    *,
    labels: Mapping[str, str] | None = None,
    mounts: Sequence[ReadOnlyMount] = (),
    copy_in: Mapping[str, Path | bytes] | None = None,
    changes: Sequence[str] = (),
    progress: Callable[[str], None] = lambda _: None,
    cancel: Event | None = None,
) -> str:
    """Run the steps on top of ``base`` and keep the result as ``tag``.

    The steps share this machine's network and see its package sources, certificates and proxies; the image keeps none
    of them. Start command, environment and the like are the base's unless ``changes`` says otherwise.

    Args:
        client: The engine.
        base: Tag or id of the image to start from.
        steps: What to run, in order.
        tag: ``name:tag`` of the result.
        labels: Labels of the result.
        mounts: More folders of this machine that the steps may read.
        copy_in: Absolute path in the image to a file, a folder (its content) or bytes; copied before the first step,
            owned by root.
        changes: Dockerfile instructions such as ``CMD ["/sbin/init"]`` or ``ENV NAME=value``; those that the
            engine takes while it keeps a container (not STOPSIGNAL).
        progress: Called with the title of each step.
        cancel: The build stops before the next step once this is set.

    Returns:
        The id of the image, ``sha256:…``.

    Raises:
        ImageBuildError: If a step fails; carries the end of its output.
        EngineUnavailableError: If the engine goes away.
        CancelledError: If ``cancel`` was set.
    """
    with machine_build_inputs(user_cache_folder()) as inputs:
        container = _start(client, base, tag, BuildInputs((*inputs.mounts, *mounts), inputs.environment))
        try:
            _copy_in(container, copy_in or {})
            for step in steps:
                if cancel is not None and cancel.is_set():
                    raise CancelledError("The build was stopped.", detail=f"Image {tag}, before '{step.title}'.")
                progress(step.title)
                _run_step(client, container, tag, step, inputs.environment)
            return _commit(client, container, base, tag, [*_labels(labels or {}), *changes])
        finally:
            _remove(container)


@contextmanager
def build_lock(name: str, timeout: float = 1200.0) -> Iterator[None]:
    """Keep other processes and threads from building the same image at the same time.

    Args:
        name: What is being built.
        timeout: Seconds to wait for another builder.
    """
    folder = user_cache_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout
    with (folder / f"{_slug(name)}.lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ProviderError(
                        "Another process builds the same image.",
                        detail=f"It has held the lock {file.name} for more than {timeout:.0f} s.",
                        resolution="Wait for it or end it, then repeat.",
                    ) from None
                time.sleep(0.2)
        yield


def _start(client: docker.DockerClient, base: str, tag: str, inputs: BuildInputs) -> Container:
    """Start the container that the steps run in; one that a killed build left is removed first."""
    name = f"continuum-build-{_slug(tag)}"
    with translated_errors(f"starting the build of {tag}"):
        try:
            stale = client.containers.get(name)
            if stale.labels.get(BUILD_LABEL) == tag:
                stale.remove(force=True, v=True)
        except docker.errors.NotFound:
            pass
        # It ends by itself should this process be killed. An entry point can be replaced while an image is kept, but
        # not taken away: so only a base that has one gets another here.
        waiting = ["sleep", "7200"]
        overridden = bool(_configuration(client, base).get("Entrypoint"))
        return client.containers.run(
            base,
            entrypoint=waiting if overridden else None,
            command=None if overridden else waiting,
            name=name,
            detach=True,
            user="0:0",
            network_mode="host",
            labels={BUILD_LABEL: tag},
            tmpfs={"/run": "mode=755"},
            mounts=[Mount(m.target, str(m.source), type="bind", read_only=True) for m in inputs.mounts],
        )


def _copy_in(container: Container, entries: Mapping[str, Path | bytes]) -> None:
    if not entries:
        return
    with tempfile.TemporaryFile() as file:
        write_tar(file, entries)
        file.seek(0)
        with translated_errors("copying files into a build"):
            container.put_archive("/", file)


def write_tar(file: IO[bytes], entries: Mapping[str, Path | bytes], modes: Mapping[str, int] | None = None) -> None:
    """Write a tar archive with everything owned by root.

    Args:
        file: Where to.
        entries: Absolute path to content, file or folder; a path that ends in ``/`` makes an empty folder.
        modes: Permission bits of entries given as bytes; 0o644 (folders: 0o755) if not named.
    """

    def as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        return member

    with tarfile.open(fileobj=file, mode="w") as archive:
        for target, content in entries.items():
            name = target.strip("/")
            if isinstance(content, bytes):
                member = tarfile.TarInfo(name)
                member.size, member.mtime = len(content), int(time.time())
                if target.endswith("/"):
                    member.type = tarfile.DIRTYPE
                member.mode = (modes or {}).get(target, 0o755 if member.isdir() else 0o644)
                archive.addfile(member, io.BytesIO(content))
            else:
                archive.add(content, name, filter=as_root)


def _run_step(
    client: docker.DockerClient, container: Container, tag: str, step: Step, environment: Mapping[str, str]
) -> None:
    """Run one step to its end, or to its time limit."""
    variables = {
        "DEBIAN_FRONTEND": "noninteractive",
        "PIP_NO_CACHE_DIR": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "PIP_BREAK_SYSTEM_PACKAGES": "1",
        **environment,
        **step.environment,
    }
    command = ["timeout", "-k", "10", str(step.timeout), "sh", "-euc", step.script]
    with translated_errors(f"running the step '{step.title}' of {tag}"):
        run = client.api.exec_create(container.id, command, environment=variables, user="0:0")["Id"]
        connection = cast("Any", client.api.exec_start(run, socket=True))
        # `timeout` inside ends a step that hangs; this ends one whose container, or engine, hangs.
        watchdog = Timer(step.timeout + 30, _give_up, [container, connection])
        watchdog.daemon = True
        watchdog.start()
        try:
            tail = _output_tail(connection)
        finally:
            watchdog.cancel()
        status = client.api.exec_inspect(run)["ExitCode"]
    if status != 0:
        raise ImageBuildError(tag, step, status, without_credentials(tail))


def _output_tail(connection: Any) -> str:
    """Wait for the end of what writes to the connection, and return the last lines that it wrote."""
    tail: deque[bytes] = deque(maxlen=_TAIL_LINES)
    rest = b""
    try:
        for _, chunk in frames_iter(connection, tty=False):  # type: ignore[no-untyped-call]
            *lines, rest = (rest + chunk).split(b"\n")
            tail.extend(lines)
    except SocketError as error:
        raise ConnectionError(str(error)) from error
    finally:
        # Nobody else closes the connection of a run, not even when it has ended.
        getattr(connection, "_sock", connection).close()
        connection.close()
    return b"\n".join([*tail, rest]).decode("utf-8", "replace").strip()


def _give_up(container: Container, connection: Any) -> None:
    """End a build that hangs; an engine that hangs as well must not keep its output waited for."""
    with contextlib.suppress(docker.errors.DockerException, requests.exceptions.RequestException):
        container.kill()
    with contextlib.suppress(OSError):
        getattr(connection, "_sock", connection).shutdown(socket.SHUT_RDWR)


def _labels(labels: Mapping[str, str]) -> list[str]:
    """Instructions that set the labels, and that clear the mark of a build."""
    return [f"LABEL {json.dumps(key)}={json.dumps(value)}" for key, value in {BUILD_LABEL: "", **labels}.items()]


def _commit(client: docker.DockerClient, container: Container, base: str, tag: str, changes: Sequence[str]) -> str:
    """Keep the container as an image, with the base's start command instead of the build's."""
    with translated_errors(f"keeping the image {tag}"):
        container.stop(timeout=0)
        config = _configuration(client, base)
        restored = [f"USER {config.get('User') or 'root'}"]
        if config.get("Entrypoint"):
            restored.append(f"ENTRYPOINT {json.dumps(config['Entrypoint'])}")
        if config.get("Cmd") or not config.get("Entrypoint"):
            restored.append(f"CMD {json.dumps(config.get('Cmd') or ['sh'])}")
        repository, _, version = tag.rpartition(":")
        image = container.commit(repository, version, changes=[*restored, *changes])
        return str(image.id)


def _configuration(client: docker.DockerClient, image: str) -> Mapping[str, Any]:
    """How the image starts: entry point, command, user."""
    return client.images.get(image).attrs.get("Config") or {}


def _remove(container: Container) -> None:
    """Remove the build's container; that it cannot be removed must not hide why the build failed."""
    try:
        container.remove(force=True, v=True)
    except (docker.errors.DockerException, requests.exceptions.RequestException):
        return


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text)
