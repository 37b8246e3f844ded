"""Machines at addresses of their own: a claim on the machine itself says whose it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from orchestrator.errors import OperationError, ProviderError, RemoteError
from orchestrator.providers.base import DeploymentTag, Machine, MachineRequest, MachineState, Place, Resource
from orchestrator.topology.model import Value

LOOK_TIMEOUT = 4.0
"""Seconds for connecting, and for the answer, while looking."""

WORK_TIMEOUT = 30.0
"""The same while claiming and releasing: a slow card may take long to write."""

CLAIM_FILE = "/var/lib/continuum-deploy/claim.json"
_PARALLEL_LOOKS = 64


class StaticProvider:
    """Claims machines that are there, and releases them; it neither makes, starts nor stops one.

    A machine's identifier is that of its place with the token of the claim, so that what was released and claimed again
    is another one.
    """

    max_parallel = 32
    can_start = False

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._claimed: dict[str, str] = {}

    def know(self, places: Iterable[Place]) -> None:
        """See the protocol ``Settled``; a place that was known is replaced."""
        for place in places:
            self._places[place.id] = place
            if place.claimed:
                self._claimed[place.id] = place.claimed

    def open(self) -> None:
        """See the protocol; there is nothing to open."""

    def close(self) -> None:
        """See the protocol; there is nothing to close."""

    def create(self, request: MachineRequest, progress: Callable[[str], None] = lambda _: None) -> Machine:
        """Claim the machine at ``request.place``, and let the deployment's key in."""
        place = self._place(request.place, request.address)
        progress(f"claiming {place.id}")
        wanted: dict[str, Value] = {
            "deployment": request.deployment.name,
            "lineage": request.deployment.lineage,
            "address": request.address,
            "token": request.token,
        }
        line = f"{' '.join(request.authorized_key.split()[:2])} {_comment(request)}"
        answer = _run(place, {"operation": "claim", "user": place.user, "key": line, **wanted}, WORK_TIMEOUT)
        if not answer.get("claimed"):
            raise _taken(place, wanted, answer.get("claim"))
        machine = _machine(place, wanted)
        self._claimed[place.id] = machine.id
        return machine

    def start(self, machine_id: str) -> Machine:
        """See the protocol: one that runs is left as it is, and another one cannot be started from here."""
        place, token = self._of_id(machine_id)
        found = _claim(_run(place, {"operation": "look"}, LOOK_TIMEOUT))
        if found is None or found.get("token") != token:
            raise ProviderError(
                "The machine is gone.",
                detail=f"{place.id} is no longer claimed for {place.address}.",
                resolution="Apply again: it is claimed anew.",
            )
        return _machine(place, found)

    def adjust(self, machine_id: str, setup: Mapping[str, Value]) -> Machine:
        """See the protocol; nothing is set on a machine that is there already, so that nothing can differ."""
        if setup:
            raise ProviderError(
                "A machine cannot be set up from here.",
                detail=f"{machine_id} is there already; {', '.join(sorted(setup))} cannot be set on it.",
                resolution="Change it on the machine.",
            )
        return self.start(machine_id)

    def delete(self, machine_id: str) -> None:
        """Take our key and our claim away; nothing else on the machine is touched."""
        place, token = self._of_id(machine_id)
        _run(place, {"operation": "release", "lineage": place.lineage, "token": token}, WORK_TIMEOUT)
        if self._claimed.get(place.id) == machine_id:
            del self._claimed[place.id]

    def find(self, deployment: DeploymentTag) -> Sequence[Machine]:
        """See the protocol: every known place is asked, all at once.

        One that was claimed and does not answer is still ours as far as anybody knows.
        """
        return [machine for machine, _ in self._look(deployment)]

    def release(self, deployment: DeploymentTag) -> None:
        """See the protocol; machines of their own share nothing."""

    def leftovers(self, deployment: DeploymentTag) -> Sequence[Resource]:
        """See the protocol: claims, and machines that cannot be asked whether they still have one."""
        return [
            Resource("claim", machine.id, f"{CLAIM_FILE} on {place.id}", machine.address)
            for machine, place in self._look(deployment)
        ]

    def _look(self, deployment: DeploymentTag) -> list[tuple[Machine, Place]]:
        places = [self._places[key] for key in sorted(self._places)]
        if not places:
            return []
        with ThreadPoolExecutor(min(_PARALLEL_LOOKS, len(places)), thread_name_prefix="claims") as pool:
            found = list(pool.map(lambda place: self._seen(place, deployment), places))
        return [(machine, place) for machine, place in zip(found, places, strict=True) if machine is not None]

    def _seen(self, place: Place, deployment: DeploymentTag) -> Machine | None:
        """The machine, if it is this deployment's."""
        try:
            found = _claim(_run(place, {"operation": "look"}, LOOK_TIMEOUT))
        except (RemoteError, OperationError, ProviderError) as cause:
            return self._unreachable(place, deployment, f"{cause.summary} {cause.detail}")
        mine = found is not None and found.get("deployment") == deployment.name
        if found is None or not mine or deployment.lineage not in ("", found.get("lineage")):
            return None
        return _machine(place, found)

    def _unreachable(self, place: Place, deployment: DeploymentTag, reason: str) -> Machine | None:
        """The machine, if it was this deployment's when it was last seen."""
        claimed = self._claimed.get(place.id, "")
        if not claimed or place.lineage != deployment.lineage:
            return None
        return Machine(
            id=claimed,
            address=place.address,
            token=claimed.rpartition("#")[2],
            state=MachineState.UNREACHABLE,
            host=place.host,
            port=place.port,
            user=place.user,
            host_key=place.host_key,
            details=place.details,
            reason=reason,
        )

    def _place(self, key: str, address: str) -> Place:
        if key in self._places:
            return self._places[key]
        raise ProviderError(
            "Where a machine is is not known.",
            detail=f"Nothing says at which address {address} is: physical_nodes.yaml, or the inventory, gives fewer "
            "machines of its resource than totalNodes.",
            resolution="Add its address there, or make totalNodes smaller.",
            doc="docs/machines.md",
        )

    def _of_id(self, machine_id: str) -> tuple[Place, str]:
        key, _, token = machine_id.rpartition("#")
        if key not in self._places:
            raise ProviderError(
                "How to reach a machine is not known.",
                detail=f"The machine {machine_id} is claimed, and the state does not say how to log in to it.",
                resolution=f"Remove {CLAIM_FILE} there by hand, and the line that ends in continuum-deploy from "
                "authorized_keys.",
            )
        return self._places[key], token


def _comment(request: MachineRequest) -> str:
    """Ends our line in authorized_keys."""
    return f"continuum-deploy:{request.deployment.name}:{request.address}:{request.deployment.lineage}"


def _machine(place: Place, claim: Mapping[str, Value]) -> Machine:
    return Machine(
        id=f"{place.id}#{claim['token']}",
        address=str(claim["address"]),
        token=str(claim["token"]),
        state=MachineState.RUNNING,
        host=place.host,
        port=place.port,
        user=place.user,
        host_key=place.host_key,
        details=place.details,
    )


def _run(place: Place, request: Mapping[str, Value], timeout: float) -> Mapping[str, Value]:
    is_look = request["operation"] == "look"
    answer = place.run(_program(), request, timeout, as_root=not is_look)
    if is_look and answer.get("needs_root"):
        answer = place.run(_program(), request, timeout, as_root=True)
    if "error" in answer:
        raise ProviderError(
            "A machine cannot be claimed or released.",
            detail=f"{place.id}: {answer['error']}.",
            resolution="Mend that on the machine, then run the command again.",
            doc="docs/machines.md",
        )
    return answer


def _program() -> str:
    return Path(__file__).with_name("claim_program.py").read_text(encoding="utf-8")


def _claim(answer: Mapping[str, Value]) -> Mapping[str, Value] | None:
    found = answer.get("claim")
    return found if isinstance(found, dict) and found.get("token") else None


def _taken(place: Place, wanted: Mapping[str, Value], found: Value) -> ProviderError:
    """Why a machine was not claimed, by the claim that is on it."""
    claim = found if isinstance(found, dict) else {}
    if claim.get("lineage") == wanted["lineage"] and claim.get("address") == wanted["address"]:
        return ProviderError(
            "An earlier machine is still there.",
            detail=f"{wanted['address']} is to be made anew, but {place.id} carries the claim of its predecessor.",
            resolution="Delete the predecessor first; `apply` does so by itself when it knows of it.",
        )
    if claim.get("lineage") == wanted["lineage"]:
        return ProviderError(
            "One machine is named for two nodes.",
            detail=f"{place.id} is {claim.get('address')} of this deployment already, and is named for "
            f"{wanted['address']} as well.",
            resolution="Give each node a machine of its own in physical_nodes.yaml or the inventory.",
            doc="docs/machines.md",
        )
    holder = f"deployment {claim['deployment']!r} ({claim['address']})" if claim.get("deployment") else "somebody"
    return ProviderError(
        "A machine belongs to another deployment.",
        detail=f"{place.id} is claimed by {holder}, lineage {claim.get('lineage') or 'unknown'}: {CLAIM_FILE} on it "
        "says so. Nothing was changed on it.",
        resolution="Destroy that deployment where its state is, or take another machine. Only if it is gone for good, "
        f"remove {CLAIM_FILE} on the machine by hand, after `playbooks/reset.yml` has run over it.",
        doc="docs/machines.md",
    )
