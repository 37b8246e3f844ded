"""Volumes of cinder that are made, and go, with a machine.

Nova makes them in the call that makes a server, and lets nobody say what they carry: they get name and metadata by a
second call. Until then an empty one is known by the name that nova gives it, which says whose server it is for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from orchestrator.errors import ProviderError
from orchestrator.providers.base import MachineRequest
from orchestrator.providers.cloud_errors import gone_is_fine
from orchestrator.providers.cloud_parts import ADDRESS, DEPLOYMENT, HOST_KEY, LINEAGE, label_names
from orchestrator.providers.openstack.api import CINDER, Api
from orchestrator.providers.openstack.failures import ApiError
from orchestrator.providers.openstack.marks import NAME, mark_of_server
from orchestrator.providers.removal import remove_each
from orchestrator.providers.together import Together
from orchestrator.providers.waiting import REMOVAL_PAUSES, Pause

VOLUME = "volume"
"""What kind of thing it is."""

_GOING = {"deleting"}
_CINDERS_OWN = {"readonly", "attached_mode"}
"""Names that cinder shows among the metadata, and that are none of it."""


def volumes_of(server: Mapping[str, Any]) -> list[str]:
    """Identifiers of the volumes that go with a server, as nova tells them; what others attach does not go."""
    attached = server.get("os-extended-volumes:volumes_attached") or []
    return sorted(str(one["id"]) for one in attached if one.get("delete_on_termination"))


def has_own_volumes(server: Mapping[str, Any], request: MachineRequest | None = None) -> bool:
    """Whether nova was asked for volumes with a server.

    Args:
        server: As nova describes it.
        request: What it was asked for with; without it nova's list counts, which is not complete before it runs.
    """
    return bool(volumes_of(server) or (request is not None and (request.volumes_gb or not server.get("image"))))


def empty_volume(size_gb: int) -> dict[str, Any]:
    """How nova is asked for a volume that goes with the server."""
    return {
        "boot_index": -1,
        "source_type": "blank",
        "destination_type": "volume",
        "volume_size": size_gb,
        "delete_on_termination": True,
    }


class Volumes:
    """Looks for volumes, marks and removes them.

    Args:
        api: Where.
        pause: Waits.
    """

    def __init__(self, api: Api, pause: Pause) -> None:
        self._api = api
        self._pause = pause
        self._listed: Together[str, list[dict[str, Any]]] = Together(lambda asked: dict.fromkeys(asked, self._list()))

    def check(self, request: MachineRequest) -> None:
        """See that the cloud makes volumes, if any are asked for.

        Raises:
            ProviderError: If it does not.
        """
        if not request.volumes_gb or self._api.has_volumes():
            return
        words = " and ".join(f"{size} GB" for size in request.volumes_gb)
        raise ApiError(
            "The cloud makes no volumes.",
            detail=f"{request.address} is to have data volumes of {words}; the catalog of {self._api.place} has no "
            "service for block storage.",
            resolution="Leave them out (data_volumes in the template, --data-volume), correct region_name and "
            "interface in clouds.yaml if there is one, or have the machine made where there are volumes.",
        )

    def all(self) -> list[dict[str, Any]]:
        """All of the project that are there; those that are being removed are not."""
        return self._listed.ask("") or []

    def mark(self, server: Mapping[str, Any]) -> list[str]:
        """Let the volumes that nova made with a server of ours carry our marks; identifiers of them.

        Those that somebody attached are left alone, and so are those of a server that somebody made.
        """
        if HOST_KEY not in (server.get("metadata") or {}):
            return []
        made = [volume for volume in self.all() if _is_made_with(volume, server)]
        number = 0
        for volume in sorted(made, key=_place_in):
            is_root = str(volume.get("bootable")).lower() == "true"
            number += not is_root
            if mark_of_server(volume) is None:
                self._mark(volume, server, "root" if is_root else f"data-{number}")
        return [str(volume["id"]) for volume in made]

    def remove_left(self, ids: Sequence[str]) -> dict[str, str]:
        """Remove those of these volumes that nova left behind; why each is left that could not be, by identifier."""
        there = {str(volume["id"]) for volume in self.all()}
        left = [one for one in ids if one in there]

        return remove_each(left, partial(remove_volume, self._api), is_held, self._pause, iter(REMOVAL_PAUSES))

    def _list(self) -> list[dict[str, Any]]:
        if not self._api.has_volumes():
            return []
        found = self._api.list(CINDER, "/volumes/detail", "volumes", "listing volumes")
        return [volume for volume in found if volume.get("status") not in _GOING]

    def _mark(self, volume: Mapping[str, Any], server: Mapping[str, Any], what: str) -> None:
        """In one call, which takes away what it does not name: what others set is told again."""
        told = server.get("metadata") or {}
        ours = {name: str(told[name]) for name in (*label_names(told), DEPLOYMENT, LINEAGE, ADDRESS) if name in told}
        others = {name: text for name, text in (volume.get("metadata") or {}).items() if name not in _CINDERS_OWN}
        wanted = {"name": f"{told.get(NAME)}-{what}", "metadata": {**others, **ours}}
        doing = f"marking a volume of {told.get(ADDRESS)}"
        with gone_is_fine():
            self._api.call(CINDER, "PUT", f"/volumes/{volume['id']}", doing, {"volume": wanted})


def remove_volume(api: Api, identifier: str) -> None:
    """Have a volume removed; what holds it (a server, a snapshot) is told as a conflict, which cinder does not."""
    try:
        api.call(CINDER, "DELETE", f"/volumes/{quote(identifier, safe='')}", f"removing {identifier}")
    except ApiError as error:
        if error.status != 400:
            raise
        raise ApiError(
            "Something holds the volume.", detail=error.detail, resolution=error.resolution, status=409
        ) from error


def is_held(error: ProviderError) -> bool:
    """Whether something else holds what was to be removed."""
    return isinstance(error, ApiError) and error.is_conflict


def left_behind(address: str, machine_id: str, reasons: Mapping[str, str]) -> ProviderError:
    """A machine is gone, and some of its volumes could not be removed."""
    named = " ".join(f"{name}: {reason}" for name, reason in sorted(reasons.items()))
    return ProviderError(
        "A volume of the machine is left behind.",
        detail=f"{address} ({machine_id}) is gone, and OpenStack did not remove all of its volumes. {named}",
        resolution="Remove what holds it, then repeat the command, which goes on; `destroy` removes the volume with "
        "the rest.",
        doc="docs/clouds.md",
    )


def _is_made_with(volume: Mapping[str, Any], server: Mapping[str, Any]) -> bool:
    """Whether nova made a volume for a server of ours, and not for somebody who attached it."""
    is_going = str(volume["id"]) in volumes_of(server)
    mark = mark_of_server(volume)
    if mark is not None:
        return is_going and mark == mark_of_server(server)
    boots_from_it = not server.get("image") and str(volume.get("bootable")).lower() == "true"
    return volume.get("name") == f"{server['id']}-blank-vol" or (is_going and boots_from_it)


def _place_in(volume: Mapping[str, Any]) -> tuple[str, str]:
    """Where a server has it, for an order that is the same every time."""
    devices = sorted(str(one.get("device") or "") for one in volume.get("attachments") or [])
    return (devices[0] if devices else "", str(volume["id"]))
