"""Which cloud of the settings of OpenStack clients is meant, and the way in to it."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from orchestrator.providers.openstack.failures import ApiError

WHERE = (
    "Credentials are looked for where OpenStack clients look: clouds.yaml (in this folder, ~/.config/openstack or "
    "/etc/openstack, or OS_CLIENT_CONFIG_FILE) and the variables OS_*."
)

# What the libraries have to say is told as errors: without a handler, Python prints their warnings between our lines.
for _library in ("keystoneauth", "openstack"):
    logging.getLogger(_library).addHandler(logging.NullHandler())

_ANSWER = 60
"""Seconds to wait for a connection, and for an answer, unless the settings say otherwise (``api_timeout``)."""


def region_of(place: str) -> Any:
    """The settings for one place, of openstacksdk's ``CloudRegion``; nothing is connected to.

    Args:
        place: Host of the cloud's identity service, with its port or without, or a name in clouds.yaml; empty for the
            cloud that the settings name (OS_CLOUD, or the only one).

    Raises:
        ApiError: If there is none, or several fit, or they would not check certificates.
    """
    settings = _read_settings()
    name = _name_of(settings, place)
    from keystoneauth1.exceptions import ClientException  # noqa: PLC0415 - takes long
    from openstack.exceptions import SDKException  # noqa: PLC0415 - the same

    try:
        with warnings.catch_warnings():
            # Of certificates that are not checked it warns; that is refused below.
            warnings.simplefilter("ignore")
            region = settings.get_one(cloud=name)
            verify, _ = region.get_requests_verify_args()
    except (ClientException, SDKException, OSError, ValueError, TypeError) as error:
        raise ApiError(
            "The settings of OpenStack clients cannot be used.",
            detail=f"For the cloud {name or place or 'of the settings'}: {_first_line(error)}.",
            resolution=f"Correct them. {WHERE}",
        ) from error
    if not verify:
        raise ApiError(
            "The cloud's certificate would not be checked.",
            detail=f"The settings for {name or place} say not to (`verify: false`, `insecure` or OS_INSECURE), so that "
            "anybody on the way could read the password.",
            resolution="Remove that; name the authority of the certificate by `cacert` or OS_CACERT.",
        )
    region.config["api_timeout"] = float(region.config.get("api_timeout") or _ANSWER)
    return region


def host_of(url: str) -> str:
    """Host and port of a URL as people write them: without the scheme's own port."""
    parts = urlsplit(url if "://" in url else f"//{url}")
    try:
        port = parts.port
    except ValueError:
        port = None
    usual = {"https": 443, "http": 80}.get(parts.scheme)
    host = (parts.hostname or "").lower()
    return f"{host}:{port}" if port and port != usual else host


def _read_settings() -> Any:
    try:
        from openstack.config import OpenStackConfig  # noqa: PLC0415 - takes long, and may not be there
        from openstack.exceptions import SDKException  # noqa: PLC0415 - the same
    except ImportError as error:
        raise ApiError(
            "The library for OpenStack is not installed.",
            detail=f"{error}.",
            resolution="Install it with `pip install 'continuum-deploy[openstack]'`.",
        ) from error
    try:
        return OpenStackConfig(app_name="continuum-deploy")
    except (SDKException, OSError, ValueError, TypeError, AttributeError) as error:
        raise ApiError(
            "The settings of OpenStack clients cannot be used.",
            detail=f"They cannot be read: {_first_line(error)}.",
            resolution=f"Correct them. {WHERE}",
        ) from error


def _name_of(settings: Any, place: str) -> str | None:
    """The cloud's name in the settings."""
    named = os.environ.get("OS_CLOUD", "")
    hosts = {name: host_of(url) for name, url in _urls(settings).items()}
    if named and named not in hosts:
        raise ApiError(
            "The settings have no such cloud.",
            detail=f"OS_CLOUD is {named}; there are: {', '.join(sorted(hosts)) or 'none'}.",
            resolution=f"Correct it. {WHERE}",
        )
    if not place:
        return named or None
    wanted = place.lower()
    fitting = [name for name, host in hosts.items() if wanted in {host, host.rpartition(":")[0] or host, name.lower()}]
    chosen = next((name for name in (named, settings.envvar_key) if name in fitting), "")
    if chosen or len(fitting) == 1:
        return chosen or fitting[0]
    if not fitting:
        known = ", ".join(f"{name} ({host})" for name, host in sorted(hosts.items()) if host)
        raise ApiError(
            "There are no credentials for the cloud.",
            detail=f"None of the clouds in the settings has its auth_url at {place}; there are: {known or 'none'}.",
            resolution=f"Add it, or correct the host in the image id (ost://host/id). {WHERE}",
        )
    raise ApiError(
        "Several clouds of the settings fit.",
        detail=f"Each of these has its auth_url at {place}: {', '.join(sorted(fitting))}.",
        resolution="Say which one by OS_CLOUD.",
    )


def _urls(settings: Any) -> Mapping[str, str]:
    """Where each cloud's identity service is."""
    from openstack.exceptions import SDKException  # noqa: PLC0415 - takes long

    found: dict[str, str] = {}
    for name in settings.get_cloud_names():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read = settings.get_one(cloud=name, validate=False).config
                # Those of variables are not sorted before they are used.
                told = {"auth_url": read.get("auth_url"), **(read.get("auth") or {})}
        except (SDKException, OSError, ValueError, KeyError, TypeError, AttributeError):
            # One that is not asked for may be as wrong as it likes.
            told = {}
        found[name] = str(told.get("auth_url") or "")
    return found


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
