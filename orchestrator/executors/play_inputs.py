"""What a play gets: the machines it runs over, found by following who is hosted on whom, and its resolved inputs."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.errors import OperationError
from orchestrator.executors.base import OperationRequest
from orchestrator.resources import data_path
from orchestrator.standin_files import standin_path
from orchestrator.state.former import is_former
from orchestrator.state.model import InstanceRecord
from orchestrator.state.secret_references import SecretResolver
from orchestrator.state.secrets import references
from orchestrator.topology.model import Value

_HOSTING = ("host", "machine")
"""Requirements that say where something runs; the others connect or provide, and lead to machines of others."""

_RESOURCE = "resource:"
_STANDINS = "standins/"


def find_machines(request: OperationRequest) -> tuple[InstanceRecord, ...]:
    """Records of the machines under the instance, in the order of the requirements, each once."""
    return tuple(record for record in _under(request).values() if record is not None)


def missing_machines(request: OperationRequest) -> tuple[str, ...]:
    """Addresses of machines that are wanted under the instance and could not be made, or never answered.

    Raises:
        OperationError: If the first one is among them, which carries a server that the others depend on.
    """
    under = _under(request)
    missing = tuple(address for address, record in under.items() if record is None)
    if missing and missing[0] == next(iter(under)):
        raise OperationError(
            "The first machine of a cluster is not there.",
            detail=f"{request.instance.address} needs {missing[0]}, which carries the cluster's server.",
            resolution="Apply again once the cause is mended for which that machine could not be had.",
        )
    return missing


def _under(request: OperationRequest) -> dict[str, InstanceRecord | None]:
    """The machines under the instance by address; ``None`` for one that is wanted and not there."""
    found: dict[str, InstanceRecord | None] = {}
    seen: set[str] = set()

    def visit(address: str) -> None:
        if address in seen:
            return
        seen.add(address)
        record = request.known.get(address)
        if record is not None and "host" in record.attributes and "host_key" in record.attributes:
            found[address] = record
            return
        wanted = request.desired.get(address)
        if wanted is not None and wanted.provider:
            found[address] = None
            return
        for target in _hosts(request, address):
            visit(target)

    for target in _hosts(request, request.instance.address):
        visit(target)
    return found


def _hosts(request: OperationRequest, address: str) -> tuple[str, ...]:
    instance = request.instance if address == request.instance.address else request.desired.get(address)
    record = request.known.get(address)
    if instance is not None and instance.requirements:
        return tuple(a for name in _HOSTING for a in instance.requirements.get(name, ()))
    if record is None:
        return ()
    listed = [record.inputs.get(f"requirements.{name}") for name in _HOSTING]
    targets = tuple(str(a) for entry in listed if isinstance(entry, list) for a in entry)
    return targets or record.dependencies


class InputResolver:
    """Replaces what waits for run time in operation inputs; remembers the secret values it gave out."""

    def __init__(self, request: OperationRequest) -> None:
        self._request = request
        self._secrets = SecretResolver(request.secrets, request.instance.secret_versions)
        self.secrets: list[str] = []

    def resolve(self, value: Value, name: str = "") -> Value:
        """``value`` with secrets, shipped files and attributes in place of their references.

        Args:
            value: The value of an input.
            name: The input, for messages.
        """
        if isinstance(value, str):
            return self._text(value, name)
        if isinstance(value, list):
            return [self.resolve(item, name) for item in value]
        if isinstance(value, dict):
            if set(value) == {"get_attribute"}:
                return self._attribute(value["get_attribute"])
            return {key: self.resolve(item, name) for key, item in value.items()}
        return value

    def resolve_all(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Every value of a mapping resolved."""
        return {name: self.resolve(value, name) for name, value in values.items()}

    def _text(self, value: str, name: str) -> str:
        if references(value):
            where = f"{self._request.instance.address}: input {name!r} of {self._request.operation}"
            secret = self._secrets.resolve(value, where, make=True)
            self.secrets.append(secret)
            return secret
        if value.startswith(_RESOURCE):
            path = value.removeprefix(_RESOURCE)
            if path.startswith(_STANDINS):
                return str(standin_path(path.removeprefix(_STANDINS)))
            return str(data_path(*path.split("/")))
        return value

    def _attribute(self, arguments: Value) -> Value:
        if not (isinstance(arguments, list) and len(arguments) == 2 and all(isinstance(a, str) for a in arguments)):
            raise self._unresolved(arguments)
        node, name = str(arguments[0]), str(arguments[1])
        if node == "SELF":
            node = self._request.instance.address
        known = self._request.known.values()
        records = [r for r in known if node == r.address or (node == r.node and not is_former(r.address))]
        values = [r.attributes[name] for r in records if name in r.attributes]
        if not values:
            raise self._unresolved(arguments)
        return values[0] if len(values) == 1 else values

    def _unresolved(self, arguments: Value) -> OperationError:
        return OperationError(
            "An input of an operation is not known.",
            detail=f"{self._request.instance.address}: the {self._request.operation} operation needs get_attribute "
            f"{arguments}, but no node instance has such an attribute.",
            resolution="Correct the input in the node type or profile, or see why that node has no such attribute.",
        )
