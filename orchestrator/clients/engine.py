"""Finds the machine's container engine, or starts one of our own, and translates its errors."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, cast

import docker
import docker.errors
import requests.exceptions
import urllib3.exceptions

from orchestrator.clients.engine_daemon import OwnEngine, engine_program, install_hint
from orchestrator.clients.transience import PASSING_STATUSES, retry_after
from orchestrator.errors import EngineUnavailableError, ProviderError

PROBE_TIMEOUT = 5
"""Seconds that an engine may take to answer before it counts as away."""

CALL_TIMEOUT = 300
"""Seconds of silence on an ordinary call before the engine counts as gone; keeping a large image is the slowest."""

OLDEST_API = "1.41"
"""The first version of the engines' interface that has all that is used here (Docker 20.10)."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64", "amd64": "amd64"}

_BUSY = PASSING_STATUSES - {500}

_lock = Lock()
_clients: dict[str, docker.DockerClient] = {}


def connect(*, start: bool = True) -> docker.DockerClient:
    """A client of the engine in use; an engine of our own is started if no other answers.

    The choice is made once a process: ``DOCKER_HOST``, the usual sockets, the user's rootless socket, our own engine.

    Args:
        start: Whether an engine may be started; looking at what is there must not.

    Raises:
        EngineUnavailableError: If there is no engine to be had; says what to install or which right is missing.
    """
    with _lock:
        client = _clients.get("engine")
        if client is None:
            client = _clients["engine"] = _find_or_start(start=start)
        return client


def check_available() -> None:
    """Return if an engine answers or could be started; starts none.

    Raises:
        EngineUnavailableError: If there is no engine to be had; says what to install or which right is missing.
    """
    try:
        connect(start=False)
    except EngineUnavailableError:
        if os.environ.get("DOCKER_HOST"):
            raise
        _check_startable([])


def forget() -> None:
    """Close the cached client, so that the next call of :func:`connect` looks for an engine anew."""
    with _lock:
        for client in _clients.values():
            client.close()
        _clients.clear()


def engine_architecture() -> str:
    """Architecture of the images that the engine runs, in the engines' spelling: ``amd64`` or ``arm64``."""
    client = connect()
    with translated_errors("asking the container engine for its architecture"):
        name = str(client.version().get("Arch", ""))
    return _ARCHITECTURES.get(name, name)


@dataclass(frozen=True, slots=True)
class ListedImage:
    """An image as the engine's list tells of it: its id and its names with tags, none for one that lost them."""

    id: str
    tags: tuple[str, ...]


def list_images(client: docker.DockerClient, labels: Sequence[str], repository: str | None = None) -> list[ListedImage]:
    """Images that have all the labels, newest first.

    One call: the SDK's own list asks once more for each image, and fails for one that another removes meanwhile.

    Args:
        client: The engine.
        labels: ``name=value`` each.
        repository: Only images that have a tag there.
    """
    found = client.api.images(repository, filters={"label": list(labels)})
    newest = sorted(found, key=lambda image: int(image["Created"]), reverse=True)
    return [ListedImage(str(image["Id"]), tuple(image.get("RepoTags") or ())) for image in newest]


def published(client: docker.DockerClient, reference: str) -> bool:
    """Whether a registry that the engine reaches has the image; answers within the bound.

    Args:
        client: The engine, reached through a socket.
        reference: Name and tag of an image.
    """
    adapter = cast("Any", client.api.get_adapter("http+docker://"))
    probe = docker.APIClient(base_url=f"unix://{adapter.socket_path}", timeout=PROBE_TIMEOUT, version="auto")
    try:
        probe.inspect_distribution(reference)  # type: ignore[no-untyped-call]
    except (docker.errors.APIError, requests.exceptions.RequestException):
        return False
    finally:
        probe.close()
    return True


def own_engine_running() -> bool:
    """Whether an engine that this program started answers."""
    return _probe(OwnEngine().address)[0] is not None


def own_engine_leaves_packet_filter_alone() -> bool:
    """Whether an engine of our own is in use that sets no packet filter rules, because another engine does."""
    return OwnEngine().leaves_packet_filter_alone()


def stop_idle_own_engine() -> bool:
    """Stop the engine that this program started, if there is no container in it, running or not.

    Returns:
        Whether it was stopped.
    """
    client, _reason = _probe(OwnEngine().address)
    if client is None:
        return False
    try:
        with translated_errors("asking the engine whether anything is in it"):
            busy = bool(client.api.containers(all=True, limit=1))
    finally:
        client.close()
    return not busy and stop_own_engine()


def stop_own_engine() -> bool:
    """Stop the engine that this program started, and nothing else.

    Returns:
        Whether one was running.
    """
    forget()
    return OwnEngine().stop()


@contextmanager
def translated_errors(action: str) -> Iterator[None]:
    """Turn what the engine's client raises into this program's errors.

    Args:
        action: What is being done, e.g. ``creating the container shop-edge-0``; part of the message.

    Raises:
        EngineUnavailableError: If the engine went away or does not answer.
        ProviderError: If the engine answered that it will not do it.
    """
    try:
        yield
    except docker.errors.APIError as error:
        refused = ProviderError(
            "The container engine refused.",
            detail=f"While {action}, the engine answered: {error.explanation or error}.",
        )
        # Not 500: an engine answers so whatever went wrong, such as a name or a right that is missing.
        if error.status_code in _BUSY:
            asked = error.response.headers.get("Retry-After") if error.response is not None else None
            refused.passing(retry_after(asked))
        raise refused from error
    except docker.errors.InvalidVersion as error:
        raise ProviderError(
            "The container engine is too old.",
            detail=f"While {action}: {error}.",
            resolution="Use Docker 20.10 or newer.",
        ) from error
    except (
        docker.errors.DockerException,
        requests.exceptions.RequestException,
        urllib3.exceptions.HTTPError,
        ConnectionError,
        TimeoutError,
    ) as error:
        raise EngineUnavailableError(
            "The container engine went away.",
            detail=f"While {action}, the connection to the engine failed: {error}.",
            resolution="Start the engine again and repeat the command: it continues where it stopped.",
        ).passing() from error


def _find_or_start(*, start: bool) -> docker.DockerClient:
    """The first engine that answers, else our own, started if that is allowed."""
    chosen = os.environ.get("DOCKER_HOST", "")
    if chosen:
        return _chosen_engine(chosen)
    refused: list[str] = []
    own = OwnEngine()
    for address in (*_usual_addresses(), own.address):
        client, reason = _probe(address)
        if client is not None:
            return client
        if reason:
            refused.append(reason)
    denied = [r for r in refused if "permission" in r.lower()]
    if denied and os.geteuid() != 0:
        raise EngineUnavailableError(
            "The container engine may not be used by this user.",
            detail=f"An engine is installed, but {denied[0]}.",
            resolution="Join the group that owns the socket (usually `docker`) and log in again, or run as root.",
        )
    if not start:
        raise EngineUnavailableError(
            "No container engine answers.",
            detail="None is started for just looking.",
            resolution="`deploy apply` starts one.",
        )
    _check_startable(refused)
    own.start(lambda: _probe(own.address)[0] is not None)
    client, reason = _probe(own.address)
    if client is None:
        raise EngineUnavailableError("The container engine did not start.", detail=f"{reason}\n{own.log_tail()}")
    return client


def _chosen_engine(address: str) -> docker.DockerClient:
    """The engine that ``DOCKER_HOST`` names: it is used or refused, never replaced by another."""
    if not address.startswith("unix://"):
        raise EngineUnavailableError(
            "The container engine is not on this machine.",
            detail=f"DOCKER_HOST is {address!r}. Containers on another machine cannot be reached from here.",
            resolution="Unset DOCKER_HOST, or point it at a socket of this machine (unix://…).",
        )
    client, reason = _probe(address)
    if client is None:
        raise EngineUnavailableError(
            "The chosen container engine does not answer.",
            detail=f"DOCKER_HOST is {address!r}; {reason or 'no socket is there'}.",
            resolution="Start that engine, or unset DOCKER_HOST so that another one is looked for.",
        )
    return client


def _check_startable(refused: list[str]) -> None:
    """Raise what is missing for an engine of our own."""
    also = f" Tried: {'; '.join(refused)}." if refused else ""
    if engine_program() is None:
        raise EngineUnavailableError(
            "There is no container engine.",
            detail=f"No container engine answers, and none is installed (there is no `dockerd`).{also}",
            resolution=install_hint(),
        )
    if os.geteuid() != 0:
        raise EngineUnavailableError(
            "No container engine runs, and starting one needs root.",
            detail=f"`dockerd` is installed at {engine_program()}, but only root may start it.{also}",
            resolution="Start it (`sudo systemctl start docker`), or run this command with sudo.",
        )


def _usual_addresses() -> tuple[str, ...]:
    """Where engines that are not ours listen."""
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    paths = ("/var/run/docker.sock", f"{runtime}/docker.sock")
    return tuple(f"unix://{path}" for path in paths)


def _probe(address: str) -> tuple[docker.DockerClient | None, str]:
    """A client if an engine answers at ``address`` within the bound, else why not (empty if nothing is there)."""
    path = Path(address.removeprefix("unix://"))
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            return None, f"{path} is not a socket"
    except PermissionError:
        return None, f"{path}: permission denied"
    except OSError:
        return None, ""
    if not os.access(path, os.R_OK | os.W_OK):
        return None, f"{path}: permission denied"
    try:
        with socket.socket(socket.AF_UNIX) as attempt:
            attempt.settimeout(PROBE_TIMEOUT)
            attempt.connect(str(path))
    except OSError as error:
        return None, f"{path} does not answer ({error.strerror or error})"
    # Asked without a version, which every engine answers, and by a session that can be closed whatever happens.
    probe = docker.APIClient(base_url=address, timeout=PROBE_TIMEOUT, version=OLDEST_API)
    try:
        probe.get(f"{probe.base_url}/_ping", timeout=PROBE_TIMEOUT).raise_for_status()
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        return None, f"{path} does not answer ({_innermost(error)})"
    finally:
        probe.close()
    with translated_errors(f"talking to the engine at {path}"):
        return docker.DockerClient(base_url=address, timeout=CALL_TIMEOUT, version="auto"), ""


def _innermost(error: BaseException) -> str:
    """The plainest text of a nest of errors."""
    text = str(error)
    return text.rsplit("Caused by", 1)[-1] if "Caused by" in text else text
