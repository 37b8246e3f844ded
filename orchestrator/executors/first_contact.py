"""Logs in to a machine that was made or found, and replaces the host key that its cloud knows by one of its own.

A cloud is given the private half of the first host key, which everything that runs on the machine can read there. So it
only serves for the first connections: ``create`` has the machine make another one and records its public half,
``start`` has it shown. A run that is cut off between finds a machine that shows one of the two, both recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from orchestrator.executors.ansible_process import DEPLOYMENT_KEY
from orchestrator.executors.base import OperationRequest
from orchestrator.executors.login import has_own_key, host_key_attributes, is_behind_another, login_to
from orchestrator.executors.ssh_key import key_file, private_key
from orchestrator.state.model import InstanceRecord
from orchestrator.topology.model import Value

LOGIN_TIMEOUT = 20.0
"""Seconds from "it is there" to "SSH answers", for a machine that runs."""

FIRST, NEXT = "first_host_key", "next_host_key"
"""Attributes of a machine of a cloud: the key that the cloud knows, and the one that is to take its place."""

ADOPTED = "adopted"
"""Attribute of a machine that was made by hand: its user and host key are its own, and no cloud knows them."""

_PINS = ("host_key", "jump_host_keys")


def with_recorded_keys(attributes: Mapping[str, Value], record: InstanceRecord) -> dict[str, Value]:
    """The attributes that a provider tells with the host keys that are recorded, where those count.

    They count where the provider does not know any, and for a machine whose key was replaced, or never was its cloud's.
    """
    recorded = record.attributes
    is_same = recorded.get("machine_id") == attributes["machine_id"]
    if is_same and recorded.get(ADOPTED):
        own = {name: recorded[name] for name in (*_PINS, "user", ADOPTED) if recorded.get(name)}
        return {**attributes, **own}
    if is_same and recorded.get(FIRST) and recorded.get("host_key"):
        return {**attributes, "host_key": recorded["host_key"]}
    if recorded.get("host") != attributes["host"] or attributes["host_key"]:
        return dict(attributes)
    return {**attributes, **{name: recorded[name] for name in _PINS if name in recorded}}


def meet(request: OperationRequest, told: Mapping[str, Value], seconds: float, *, renews: bool) -> dict[str, Value]:
    """Wait until a login works; gives the attributes of the machine.

    Args:
        request: The operation.
        told: What the provider tells of the machine, as attributes.
        seconds: For how long.
        renews: Whether the host key that the provider knows is to be replaced.
    """
    from orchestrator.remote.host_key_rotation import make_next_key, wait_for_one_of  # noqa: PLC0415 - takes long
    from orchestrator.remote.host_keys import KnownHosts  # noqa: PLC0415 - the same

    recorded = request.record.attributes
    attributes = with_recorded_keys(told, request.record)
    is_same = recorded.get("machine_id") == told["machine_id"]
    keys = [str(attributes["host_key"])] if attributes["host_key"] else []
    if is_same and keys and recorded.get(NEXT):
        keys.append(str(recorded[NEXT]))
    known = KnownHosts.of(request.folders.deployment / "state")
    with _default_key(request, attributes) as key:
        target = login_to(replace(request.record, attributes=attributes), request.secrets, key, request.known)
        pinned = wait_for_one_of(target, keys, seconds, request.cancel, known, request.progress)
        if renews and told["host_key"]:
            first = recorded.get(FIRST) if is_same else None
            attributes[FIRST] = first or told["host_key"]
            attributes[NEXT] = make_next_key(pinned) if pinned.host_key == attributes[FIRST] else ""
    return attributes | host_key_attributes(pinned, with_way=not is_behind_another(request.record))


def renew_host_key(request: OperationRequest) -> dict[str, Value]:
    """Have the machine show the host key that it has made, if it does not yet; gives what changes in its attributes."""
    recorded = request.record.attributes
    if not recorded.get(NEXT):
        return {}
    from orchestrator.remote.host_key_rotation import take_next_key  # noqa: PLC0415 - takes long, and is rarely needed

    request.progress("replacing the host key that the cloud knows")
    with _default_key(request, recorded) as key:
        target = login_to(request.record, request.secrets, key, request.known)
        renewed = take_next_key(target, str(recorded[NEXT]), request.cancel)
    return {"host_key": renewed.host_key, NEXT: ""}


@contextmanager
def _default_key(request: OperationRequest, attributes: Mapping[str, Value]) -> Iterator[Path]:
    """A file with the key of the deployment, unless the machine has one of its own."""
    if has_own_key(attributes):
        yield DEPLOYMENT_KEY
        return
    with key_file(private_key(request.secrets, request.folders.deployment)) as key:
        yield key
