"""One place of OpenStack: its services, with credentials and settings found where OpenStack clients find them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from threading import Lock
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from orchestrator.providers.openstack.failures import ApiError, broken_off, refused, unreachable
from orchestrator.providers.openstack.settings import region_of

NOVA, NEUTRON, GLANCE, CINDER = "compute", "network", "image", "block-storage"
MICROVERSION = "2.61"
"""Of nova (Rocky, 2018): tags in the call that makes a server, and sizes listed with all that they have."""

_VERSIONS = {NOVA: "v2.1", NEUTRON: "v2.0", GLANCE: "v2"}
_VERSION = re.compile(r"/v\d+(\.\d+)?(?=/|$)")


class Api:
    """Calls services of a cloud; every failure is an ApiError. Safe to use from several threads.

    A request is sent once (and once more with another token if the one that it had is not taken any longer): whoever
    called says by what back-off it is repeated, and a create is looked for first.

    Args:
        place: Which cloud: host of its identity service; empty for the one that the settings name.
    """

    def __init__(self, place: str) -> None:
        self._given = place
        self._region: Any = None
        self._endpoints: dict[str, str] = {}
        self._lock = Lock()

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return self._given or "the cloud of the settings"

    @property
    def name(self) -> str:
        """The host that images of this place are written with; empty if no place was named."""
        return self._given

    def project(self, doing: str = "asking who we are") -> str:
        """Identifier of the project that the credentials are for."""
        found = self._translated(doing, lambda: self._open().get_session().get_project_id())
        if not found:
            raise ApiError(
                "No project is named.",
                detail=f"The credentials for {self.place} are for no project.",
                resolution="Name one: project_name in clouds.yaml, or OS_PROJECT_NAME.",
            )
        return str(found)

    def outer_networks(self) -> set[str]:
        """Names of networks that the settings say lead outside (``networks`` of clouds.yaml)."""
        told = self._translated("reading the settings", lambda: self._open().get_external_ipv4_networks())
        return {str(name) for name in told}

    def has_volumes(self) -> bool:
        """Whether the cloud makes disks of a size that is asked for."""
        return bool(self._translated("looking which services there are", lambda: self._told_endpoint(CINDER)))

    def get(self, service: str, path: str, doing: str, **query: Any) -> dict[str, Any]:
        """Read something."""
        return self.call(service, "GET", path, doing, query=query)

    def call(
        self,
        service: str,
        method: str,
        path: str,
        doing: str,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Call a service.

        Args:
            service: Its type.
            method: Of HTTP.
            path: After the service's version, e.g. ``/servers``.
            doing: What it is for, in words that follow "While".
            body: As JSON; ``None`` for no body.
            query: What follows the path; a list for a name that is given several times.

        Returns:
            The answer; empty if it has no body.

        Raises:
            ApiError: If it failed.
        """
        asked = urlencode({k: v for k, v in (query or {}).items() if v is not None}, doseq=True)
        return self._send(service, method, f"{path}?{asked}" if asked else path, doing, body)

    def list(self, service: str, path: str, key: str, doing: str, **query: Any) -> list[dict[str, Any]]:
        """Everything that a service lists, page by page.

        Args:
            service: Its type.
            path: After the service's version.
            key: Where the answer has the list.
            doing: As for ``call``.
            query: What follows the path.
        """
        found: list[dict[str, Any]] = []
        seen: set[str] = set()
        following: Mapping[str, Any] = query
        while True:
            answer = self.call(service, "GET", path, doing, query=following)
            found += answer.get(key) or []
            link = _next_page(answer, key)
            if not link or link in seen:
                return found
            seen.add(link)
            following = dict(parse_qsl(urlsplit(link).query)) | {
                name: value for name, value in query.items() if isinstance(value, list)
            }

    def _send(self, service: str, method: str, path: str, doing: str, body: Any) -> dict[str, Any]:
        def ask() -> Any:
            session = self._open().get_session()
            return session.request(
                self._endpoint(service) + path,
                method,
                json=body,
                raise_exc=False,
                connect_retries=0,
                status_code_retries=0,
                # Bodies hold what a machine is told at its first start; nobody is to find that in a log.
                log=False,
                headers={"Accept": "application/json"},
                microversion=MICROVERSION if service == NOVA else None,
                microversion_service_type=service,
            )

        response = self._translated(doing, ask)
        if response.status_code >= 400:
            raise refused(response.status_code, response.headers, response.text, doing, self.place)
        if not response.content:
            return {}
        try:
            answer = response.json()
        except ValueError:
            if response.status_code in {202, 204}:
                return {}
            raise broken_off(doing, self.place) from None
        return answer if isinstance(answer, dict) else {}

    def _translated(self, doing: str, act: Any) -> Any:
        try:
            return act()
        except ApiError:
            raise
        except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
            raise unreachable(error, doing, self.place) from error
        except Exception as error:
            from keystoneauth1.exceptions import ClientException  # noqa: PLC0415 - takes long

            if not isinstance(error, ClientException):
                raise
            raise unreachable(error, doing, self.place) from error

    def _open(self) -> Any:
        with self._lock:
            if self._region is None:
                self._region = region_of(self._given)
            return self._region

    def _endpoint(self, service: str) -> str:
        """Where a service is, with its version; what the settings say counts more than the catalog."""
        region = self._open()
        if service not in self._endpoints:
            told = self._told_endpoint(service)
            if not told:
                raise ApiError(
                    "The cloud does not offer that service.",
                    detail=f"The catalog of {self.place} has no {service}"
                    f"{f' in {region.get_region_name(service)}' if region.get_region_name(service) else ''}.",
                    resolution="Correct region_name and interface in clouds.yaml (OS_REGION_NAME, OS_INTERFACE).",
                )
            self._endpoints[service] = versioned(service, told, self.project() if service == CINDER else "")
        return self._endpoints[service]

    def _told_endpoint(self, service: str) -> str:
        """Where the settings or the catalog say that a service is; empty if they do not have it."""
        region = self._open()
        from keystoneauth1.exceptions import EndpointNotFound  # noqa: PLC0415 - takes long

        try:
            told = region.get_endpoint(service) or region.get_session().get_endpoint(
                service_type=region.get_service_type(service),
                interface=region.get_interface(service),
                region_name=region.get_region_name(service),
                service_name=region.get_service_name(service),
                skip_discovery=True,
            )
        except EndpointNotFound:
            return ""
        return str(told or "")


def versioned(service: str, url: str, project: str = "") -> str:
    """An endpoint with the version that is spoken: catalogs have them with it, without it, or with an older one.

    Args:
        service: Its type.
        url: As the catalog has it.
        project: Whose volumes are meant: those of cinder have it in their paths, which newer ones no longer require.
    """
    base = url.rstrip("/")
    found = _VERSION.search(base)
    if service == CINDER:
        return f"{base[: found.start()] if found else base}/v3/{project}"
    if found is None:
        return f"{base}/{_VERSIONS[service]}"
    if service == NOVA and found.group() == "/v2":
        return f"{base[: found.start()]}/v2.1{base[found.end() :]}"
    return base


def _next_page(answer: Mapping[str, Any], key: str) -> str:
    """Where the list goes on; empty if it does not."""
    if isinstance(answer.get("next"), str):
        return str(answer["next"])
    links = answer.get(f"{key}_links") or []
    return next((str(link["href"]) for link in links if link.get("rel") == "next"), "")
