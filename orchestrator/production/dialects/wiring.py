"""Wires components: which paths and stores they read and write, and where their measurements go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.production.dag_order import predecessors, successors
from orchestrator.production.dialects.companions import Companions
from orchestrator.production.dialects.settings import ExportSettings, Secrets
from orchestrator.production.dialects.sites import ACCESS_KEY, REGION, Site, lower_image
from orchestrator.production.model import Production
from orchestrator.production.naming import partition_of
from orchestrator.production.ways import annotations_by_component
from orchestrator.topology.model import Topology

DRIFT_SUFFIX = "_DRIFTED"
CLEAN_SUFFIX = "_NO_DRIFT"
EXIT_SUFFIX = "_EARLY_EXIT"
NO_EXIT_SUFFIX = "_NO_EARLYEXIT"
ORGANISATION = "ai-sprint"

_EXPOSED = {"min_scale": "1", "max_scale": "1", "port": "80", "cpu_threshold": "80"}


@dataclass(frozen=True, slots=True)
class Measurements:
    """The InfluxDB that measurements are sent to."""

    url: str
    token: str
    organisation: str
    bucket: str


class Wiring:
    """How the components of one deployment hang together.

    Args:
        model: The deployment.
        topology: What it compiles to; services have their environment from it.
        sites: Where the components run, in the order of the graph.
        companions: What the files beside the production file say.
        settings: Choices for the export.
        secrets: Gives what stands for a secret.
    """

    def __init__(
        self,
        model: Production,
        topology: Topology,
        sites: Mapping[str, Site],
        companions: Companions,
        settings: ExportSettings,
        secrets: Secrets,
    ) -> None:
        self.topology = topology
        self.sites = sites
        self.companions = companions
        self.settings = settings
        self.secrets = secrets
        self.before = predecessors(model.dag.edges)
        self.after = successors(model.dag.edges)
        self.top = _highest([site for site in sites.values() if site.influx])
        self.exits = frozenset(name for name, found in annotations_by_component(model).items() if found.early_exits)
        made = [site for site in sites.values() if site.is_made]
        self.drift = _highest(made) if companions.drift_image else None

    def measurements(self, site: Site) -> Measurements:
        """Where a site sends its measurements: to the first component on the highest layer that has an InfluxDB.

        That one sends them to the InfluxDB of the settings.
        """
        if self.top is None or self.top is site:
            token = (
                self.secrets.given("im-top-influx-token", "--influx-token-file") if self.settings.influx_token else ""
            )
            return Measurements(self.settings.influx_url, token, "aisprint", "bucket")
        bucket = f"{self.companions.application}-bucket"
        return Measurements(self.top.influx, self.top.influx_token(self.secrets), ORGANISATION, bucket)

    def service(self, name: str) -> dict[str, Any]:
        """Properties of the function that a component becomes."""
        site = self.sites[name]
        container = site.placed.component.container
        outputs, providers = self._outputs(name)
        service: dict[str, Any] = {
            "name": site.placed.service,
            "image": lower_image(container.image),
            "script": f"/opt/{name}/script.sh",
            "memory": f"{container.memory_mb}Mi",
            "cpu": float(container.computing_units),
            "env_variables": self._environment(site),
            "input": self._inputs(name),
            "output": outputs,
        }
        if providers:
            service["storage_providers"] = providers
        if container.gpu:
            service["enable_gpu"] = True
        if container.trusted_execution:
            service["enable_sgx"] = True
        if container.expose and not site.is_functions:
            service["exposed"] = dict(_EXPOSED)
        return service

    def _environment(self, site: Site) -> dict[str, str]:
        properties = self.topology.nodes[f"service-{site.placed.service}"].properties
        own = properties.get("environment")
        environment = {
            "KCI": "AWS Lambda" if site.is_functions else site.store or site.cluster,
            "MONIT_HOST": "localhost" if site.is_functions else f"{self.companions.application}-telegraf",
            "MONIT_PORT": "8094",
            "MONIT_PROTOCOL": "udp",
        }
        if self.drift is not None:
            environment |= self._drift_environment(self.drift)
        if site.is_functions:
            measurements = self.measurements(site)
            environment |= {"INFLUX_ENDPOINT": measurements.url, "INFLUX_TOKEN": measurements.token}
        environment |= {key: str(value) for key, value in own.items()} if isinstance(own, Mapping) else {}
        return environment | ({"RESOURCE_ID": "AWS Lambda"} if site.is_functions else {})

    def _drift_environment(self, drift: Site) -> dict[str, str]:
        return {
            "DRIFT_DETECTOR_MINIO_AK": ACCESS_KEY,
            "DRIFT_DETECTOR_MINIO_BUCKET": drift.placed.component.name,
            "DRIFT_DETECTOR_MINIO_SK": drift.store_keys(self.secrets)[1],
            "DRIFT_DETECTOR_MINIO_URL": drift.store,
        }

    def _inputs(self, name: str) -> list[dict[str, str]]:
        site = self.sites[name]
        paths = [f"{self.sites[b].placed.service}/output" for b in self.before.get(name, ()) if b in self.sites]
        return [_own_path(site, path) for path in paths or [f"{site.placed.service}/input"]]

    def _outputs(self, name: str) -> tuple[list[dict[str, str]], dict[str, dict[str, dict[str, str]]]]:
        """The outputs, and the stores of others that they need."""
        site = self.sites[name]
        path = f"{site.placed.service}/output"
        outputs: list[dict[str, str]] = []
        providers: dict[str, dict[str, dict[str, str]]] = {}
        ends = True
        for target in self.after.get(name, ()):
            other = self.sites.get(target)
            if other is None:
                continue
            output = _own_path(site, path) if site.shares_store(other) else self._path_at(other, path, providers)
            if name in self.exits:
                goes_on = partition_of(target)[0] == partition_of(name)[0]
                output["suffix"] = NO_EXIT_SUFFIX if goes_on else EXIT_SUFFIX
                ends = ends and goes_on
            if output not in outputs:
                outputs.append(output)
        if name in self.exits and ends:
            outputs.append({**_own_path(site, path), "suffix": EXIT_SUFFIX})
        elif not outputs:
            outputs.append(_own_path(site, path))
        if self.drift is not None:
            outputs = [{"suffix": CLEAN_SUFFIX, **output} for output in outputs]
            drifted = self._path_at(self.drift, f"{site.placed.service}/drift_detection_data", providers)
            outputs.append({**drifted, "suffix": DRIFT_SUFFIX})
        return outputs, providers

    def _path_at(self, site: Site, path: str, providers: dict[str, dict[str, dict[str, str]]]) -> dict[str, str]:
        """A path in the store of another site, whose address and keys go to ``providers``."""
        access, secret = site.store_keys(self.secrets)
        if site.is_functions:
            keys = {"access_key": access, "secret_key": secret, "region": site.region}
            providers.setdefault("s3", {})[site.cluster] = keys
            return {"storage_provider": f"s3.{site.cluster}", "path": f"{site.facts.bucket}/{path}"}
        keys = {"access_key": access, "secret_key": secret, "region": REGION, "endpoint": site.store}
        providers.setdefault("minio", {})[site.cluster] = keys
        return {"storage_provider": f"minio.{site.cluster}", "path": path}


def _own_path(site: Site, path: str) -> dict[str, str]:
    if site.is_functions:
        return {"storage_provider": "s3", "path": f"{site.facts.bucket}/{path}"}
    return {"storage_provider": "minio", "path": path}


def _highest(sites: list[Site]) -> Site | None:
    """The first of the sites on the highest layer."""
    highest = max((site.placed.layer.number for site in sites), default=None)
    return next((site for site in sites if site.placed.layer.number == highest), None)
