"""Where deployments keep their files, and which deployments there are."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.state.clock import Clock, utc_now
from orchestrator.state.durable_file import make_folder, storage_error

REHEARSAL_SUFFIX = "-rehearsal"
"""Ends the name of a deployment on throw-away machines, which is a deployment of its own."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_STATE = "state"
_RUNS = "runs"
_RUN_STAMP = re.compile(r"(\d{8}T\d{9})Z")
_CACHE = ".cache"


def deploy_home() -> Path:
    """The folder of all deployments: ``DEPLOY_HOME``, else ``.deploy`` in the working folder. Absolute."""
    return Path(os.environ.get("DEPLOY_HOME") or ".deploy").expanduser().absolute()


def cache_folder() -> Path:
    """Shared by all deployments: images, archives. A deployment cannot have its name, which begins with a dot."""
    return deploy_home() / _CACHE


def clean_name(text: str) -> str:
    """A name made of what a deployment's name may hold: ``My App/v2`` gives ``my-app-v2``.

    Raises:
        UsageError: If nothing is left.
    """
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].rstrip("-")
    if not name:
        raise _bad_name(text)
    return name


def deployment_folder(name: str, home: Path | None = None) -> Path:
    """``<home>/<name>``; made by the first write.

    Args:
        name: The deployment.
        home: Instead of the folder of all deployments.

    Raises:
        UsageError: If ``name`` is no possible name, e.g. one that leads out of the home folder.
    """
    if not _NAME.fullmatch(name):
        raise _bad_name(name)
    return (home or deploy_home()) / name


def state_folder(name: str, home: Path | None = None) -> Path:
    """Where the deployment's state files are."""
    return deployment_folder(name, home) / _STATE


def secrets_folder(name: str, home: Path | None = None) -> Path:
    """Where the deployment's secret values are."""
    return deployment_folder(name, home) / "secrets"


def is_deployment_name(name: str) -> bool:
    """Whether a deployment may be called so."""
    return _NAME.fullmatch(name) is not None


def list_folders_with_state(home: Path) -> tuple[str, ...]:
    """Names of all deployments that have their state in a folder, in order.

    Raises:
        StateError: If it cannot be read.
    """
    try:
        folders = [entry for entry in home.iterdir() if _NAME.fullmatch(entry.name)]
        return tuple(sorted(folder.name for folder in folders if _has_state(folder)))
    except FileNotFoundError:
        return ()
    except OSError as cause:
        raise storage_error("read", home, cause) from cause


def _has_state(folder: Path) -> bool:
    state = folder / _STATE
    return any((state / name).exists() for name in ("snapshot.json", "journal.jsonl", "snapshot.json.backup"))


def list_deployments() -> tuple[str, ...]:
    """Names of all deployments that have a state, in order, wherever that is kept.

    Raises:
        StateError: If that cannot be read.
    """
    return _known()[1]


def find_deployment(name: str | None) -> str:
    """The deployment that is meant: ``name``, or the only one there is if none is given.

    Raises:
        UsageError: If there is no such deployment, none at all, or several to choose from.
        StateError: If it cannot be found out.
    """
    place, known = _known()
    if name is None:
        if len(known) == 1:
            return known[0]
        raise _several(place, known) if known else _none(place)
    deployment_folder(name)
    if name in known:
        return name
    raise _unknown(place, name, known)


def _known() -> tuple[str, tuple[str, ...]]:
    from orchestrator.state.backend import open_backend  # noqa: PLC0415 - it knows these folders itself

    backend = open_backend()
    try:
        return backend.place, backend.deployments()
    finally:
        backend.close()


def new_run_id(clock: Clock = utc_now) -> str:
    """A run's identifier: UTC time to the millisecond and process, e.g. ``20251121T030501123Z-4711``; they sort."""
    moment = clock()
    return f"{moment:%Y%m%dT%H%M%S}{moment.microsecond // 1000:03d}Z-{os.getpid()}"


def make_run_folder(deployment: Path, clock: Clock = utc_now) -> tuple[str, Path]:
    """Make the folder of a new run.

    Args:
        deployment: The deployment's folder.
        clock: For the identifier.

    Returns:
        The run's identifier and its folder, ``<deployment>/runs/<identifier>``.

    Raises:
        StateError: If it cannot be made.
    """
    runs = deployment / _RUNS
    make_folder(deployment)
    make_folder(runs)
    first = new_run_id(lambda: max(clock(), _after_latest(runs)))
    for number in itertools.count(1):
        run = first if number == 1 else f"{first}-{number}"
        try:
            (runs / run).mkdir(mode=0o700)
        except FileExistsError:
            continue
        except OSError as cause:
            raise storage_error("make the folder", runs / run, cause) from cause
        return run, runs / run
    raise AssertionError("counting does not end")


def _after_latest(runs: Path) -> datetime:
    """The moment after which runs sort behind all that are there, also when the clock was set back since."""
    stamps = (found[1] for entry in runs.iterdir() if (found := _RUN_STAMP.match(entry.name)))
    for stamp in sorted(stamps, reverse=True):
        with contextlib.suppress(ValueError, OverflowError):
            return datetime.strptime(f"{stamp}+0000", "%Y%m%dT%H%M%S%f%z") + timedelta(milliseconds=1)
    return datetime.min.replace(tzinfo=UTC)


def _bad_name(name: str) -> UsageError:
    return UsageError(
        "This cannot be a deployment's name.",
        detail=f"{name!r} was given. A name has letters, digits, dots, dashes and underscores, begins with a letter or "
        "digit, and has at most 100 characters.",
        resolution="Give another name, or none if there is only one deployment.",
    )


def _none(place: str) -> UsageError:
    return UsageError(
        "There is no deployment.",
        detail=f"{place} holds none.",
        resolution=f"Make one with `deploy apply FILE`, or set {_setting(place)} that holds yours.",
    )


def _setting(place: str) -> str:
    """Which variable leads to another place than this one."""
    return "DEPLOY_HOME to the folder" if place == str(deploy_home()) else "DEPLOY_STATE to the place"


def _several(place: str, known: tuple[str, ...]) -> UsageError:
    return UsageError(
        "There are several deployments.",
        detail=f"{place} holds {', '.join(known)}, and none was named.",
        resolution="Name the one that is meant.",
    )


def _unknown(place: str, name: str, known: tuple[str, ...]) -> UsageError:
    if not known:
        detail = f"{place} holds no deployment, so none of the name {name}."
    else:
        detail = f"{place} holds no deployment {name}, but {', '.join(known)}."
    partner = name.removesuffix(REHEARSAL_SUFFIX) if name.endswith(REHEARSAL_SUFFIX) else name + REHEARSAL_SUFFIX
    if partner in known:
        kind = "the real deployment" if name.endswith(REHEARSAL_SUFFIX) else "its rehearsal"
        return UsageError(
            "There is no such deployment.",
            detail=f"{detail} {partner} is {kind}, a deployment of its own.",
            resolution=f"If that is the one you mean, say `{partner}`.",
        )
    resolution = "Name one of these." if known else f"Set {_setting(place)} that holds it."
    return UsageError("There is no such deployment.", detail=detail, resolution=resolution)
