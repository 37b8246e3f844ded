"""The cluster or cloud that each component gets of its own in an export, with its names, addresses and secrets."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.production.dialects.companions import Companions, PhysicalFacts
from orchestrator.production.dialects.settings import ExportSettings, Secrets
from orchestrator.production.model import LayerType
from orchestrator.production.placement import Placed

ACCESS_KEY = "minio"
"""Access key of every object store that an export makes."""

REGION = "us-east-1"

_TAG = re.compile(r"(?P<name>[^@]*?)(?P<rest>(?::[^/:@]*)?(?:@.*)?)")


@dataclass(frozen=True, slots=True)
class Site:
    """Where one component runs.

    Attributes:
        placed: The component with its layer and resource.
        cluster: Name of the cluster, the same in every export.
        domain: Domain of the cluster's names.
        facts: What is said about the machines, if they are physical.
    """

    placed: Placed
    cluster: str
    domain: str
    facts: PhysicalFacts

    @property
    def is_made(self) -> bool:
        """Whether the Infrastructure Manager makes the cluster."""
        return self.placed.layer.type in (LayerType.VIRTUAL, LayerType.PHYSICAL_TO_BE_PROVISIONED)

    @property
    def is_physical(self) -> bool:
        """Whether it makes it on machines that are there."""
        return self.placed.layer.type is LayerType.PHYSICAL_TO_BE_PROVISIONED

    @property
    def is_functions(self) -> bool:
        """Whether there are cloud functions instead of a cluster."""
        return self.placed.runs_in_cloud_functions

    @property
    def store(self) -> str:
        """Address of the object store."""
        return f"https://minio.{self.cluster}.{self.domain}" if self.is_made else self.facts.store

    @property
    def influx(self) -> str:
        """Address of the InfluxDB; empty if there is none."""
        return f"https://influx.{self.cluster}.{self.domain}" if self.is_made else self.facts.influx

    @property
    def region(self) -> str:
        """Region of cloud functions."""
        functions = self.placed.resource.functions
        return self.facts.region or (functions.region if functions else "") or REGION

    def shares_store(self, other: Site) -> bool:
        """Whether another component has the same object store, so that no keys are needed between them."""
        if self.is_made or other.is_made or self.is_functions != other.is_functions:
            return self is other
        if self.is_functions:
            return (self.facts.bucket, self.region) == (other.facts.bucket, other.region)
        return self.placed.platform == other.placed.platform

    def secret(self, what: str) -> str:
        """Name of a secret of the cluster that is made."""
        return f"im-{self.placed.service}-{what}"

    def store_keys(self, secrets: Secrets) -> tuple[str, str]:
        """Access key and secret key of the object store."""
        if self.is_made:
            return ACCESS_KEY, secrets.generated(self.secret("minio-password"))
        kind = "aws" if self.is_functions else "minio"
        source = f"of {self.placed.resource.name!r} in physical_nodes.yaml"
        return (
            secrets.given(f"{self.placed.platform}-store-access-key", f"{kind}.access_key {source}"),
            secrets.given(f"{self.placed.platform}-store-key", f"{kind}.secret_key {source}"),
        )

    def influx_token(self, secrets: Secrets) -> str:
        """Token of the InfluxDB."""
        if self.is_made:
            return secrets.generated(self.secret("influx-token"))
        source = f"influx.token of {self.placed.resource.name!r} in physical_nodes.yaml"
        return secrets.given(f"{self.placed.platform}-influx-token", source)


def build_sites(
    placed: Mapping[str, Placed], order: tuple[str, ...], companions: Companions, settings: ExportSettings
) -> dict[str, Site]:
    """A site for each component, in the order of the graph."""
    found = {}
    for name in order:
        place = placed[name]
        facts = companions.physical.get((place.layer.number, place.resource.name.casefold()), PhysicalFacts())
        cluster = cluster_name(companions.application, name)
        found[name] = Site(place, cluster, settings.domain, facts)
    return found


def cluster_name(application: str, component: str) -> str:
    """Name of the cluster of a component: ``oscar-cluster-`` and eight digits that tell it from others."""
    return f"oscar-cluster-{hashlib.sha256(f'{application}/{component}'.encode()).hexdigest()[:8]}"


def lower_image(image: str) -> str:
    """The reference of an image with its name in lower case, as registries want it; tag and digest stay."""
    found = _TAG.fullmatch(image)
    return f"{found['name'].lower()}{found['rest']}" if found else image
