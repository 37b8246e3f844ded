"""Labels by which containers, networks and volumes are known again."""

from __future__ import annotations

from orchestrator.providers.base import DeploymentTag, MachineRequest

DEPLOYMENT = "continuum.deployment"
LINEAGE = "continuum.lineage"
ADDRESS = "continuum.address"
TOKEN = "continuum.token"  # noqa: S105
HOST = "continuum.host"
HOST_KEY = "continuum.host-key"


def deployment_labels(deployment: DeploymentTag) -> dict[str, str]:
    """What everything of a deployment carries."""
    return {DEPLOYMENT: deployment.name, LINEAGE: deployment.lineage}


def label_filters(deployment: DeploymentTag) -> list[str]:
    """The same as a filter of the engine's lists. The lineage alone decides; a name may be used again.

    Without a lineage, which a state has that cannot be read, the name is all there is to list by.
    """
    if not deployment.lineage:
        return [f"{DEPLOYMENT}={deployment.name}"]
    return [f"{LINEAGE}={deployment.lineage}"]


def machine_labels(request: MachineRequest, *, host: str, host_key: str) -> dict[str, str]:
    """What a machine carries: whose it is, which request made it, and how to reach it safely."""
    return {
        **deployment_labels(request.deployment),
        ADDRESS: request.address,
        TOKEN: request.token,
        HOST: host,
        HOST_KEY: host_key,
    }
