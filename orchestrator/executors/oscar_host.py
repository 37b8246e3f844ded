"""An OSCAR with its store, as its record and the secret store describe it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.clients.oscar import OscarClient
from orchestrator.errors import OperationError
from orchestrator.planning.desired import secret_versions_of
from orchestrator.state.model import InstanceRecord
from orchestrator.state.secret_references import SecretResolver
from orchestrator.state.secrets import SecretStore
from orchestrator.topology.model import Value

if TYPE_CHECKING:
    from orchestrator.clients.object_store import ObjectStore

_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class OscarHost:
    """An OSCAR with its store, as its record and the secret store describe it."""

    address: str
    name: str
    client: OscarClient
    store_endpoint: str
    access_key: str
    secret_key: str

    @classmethod
    def of(cls, record: InstanceRecord, secrets: SecretStore, *, timeout: float = 30.0) -> OscarHost:
        """Put together what is needed to speak to it.

        Raises:
            OperationError: If its address or a password is not known.
        """
        endpoint = text_of(record, "endpoint")
        if not endpoint:
            raise OperationError(
                "OSCAR's address is not known.",
                detail=f"{record.address} has no endpoint: it was not installed, and the input does not give one.",
                resolution="Apply again so that it is installed, or give its endpoint in the input.",
            )
        password = _secret(record, "password", secrets)
        return cls(
            address=record.address,
            name=text_of(record, "cluster_name") or record.node,
            client=OscarClient(
                endpoint, text_of(record, "user") or "oscar", password, text_of(record, "ca_cert"), timeout
            ),
            store_endpoint=text_of(record, "store_endpoint"),
            access_key=text_of(record, "access_key") or _secret(record, "store_access_key", secrets) or "minio",
            secret_key=_secret(record, "store_secret_key", secrets),
        )

    def storage_provider(self) -> dict[str, Value]:
        """How another cluster's service reaches this store; ``ca_cert`` is an addition that OSCAR does not look at."""
        provider: dict[str, Value] = {
            "endpoint": self.store_endpoint,
            "verify": True,
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "region": _REGION,
        }
        ca_cert = self.client.ca_cert
        return {**provider, "ca_cert": ca_cert} if ca_cert else provider

    def open_store(self) -> AbstractContextManager[ObjectStore]:
        """Its object store, for the duration of a ``with`` block."""
        from orchestrator.clients.object_store import open_store  # noqa: PLC0415 - takes a while to load

        return open_store(self.store_endpoint, self.access_key, self.secret_key, ca_cert=self.client.ca_cert)


def input_paths(properties: Mapping[str, Value]) -> list[str]:
    """Bucket paths that a service listens to, the first one first."""
    more = properties.get("more_input_paths")
    return [str(path) for path in [properties["input_path"], *(more if isinstance(more, list) else [])]]


def split_path(path: str) -> tuple[str, str]:
    """Bucket, and folder with a slash at its end (or empty)."""
    bucket, _, folder = path.strip("/").partition("/")
    return bucket, f"{folder}/" if folder else ""


def text_of(record: InstanceRecord, name: str) -> str:
    """An attribute, else the property of that name, as text."""
    return str(record.attributes.get(name) or record.inputs.get(f"properties.{name}") or "")


def _secret(record: InstanceRecord, name: str, secrets: SecretStore) -> str:
    """The value that a property of the record refers to."""
    reference = str(record.inputs.get(f"properties.{name}") or "")
    resolver = SecretResolver(secrets, secret_versions_of(record.inputs))
    return resolver.resolve(reference, f"{record.address}: property {name!r}")
