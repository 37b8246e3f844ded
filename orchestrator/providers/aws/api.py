"""One place of AWS: its clients, with credentials and settings found where AWS clients find them."""

from __future__ import annotations

import os
from functools import cache
from threading import Lock
from typing import Any, cast

from orchestrator.providers.aws.failures import refused, unreachable

_CONNECT, _ANSWER = 10, 60
"""Seconds to wait for a connection and for an answer."""

_CONNECTIONS = 32


class Api:
    """Calls services of AWS; every failure is an ApiError. Safe to use from several threads.

    A request is sent once: whoever called says by what back-off it is repeated, and a create is looked for first.

    Args:
        region: Where; empty for the region of the settings.
    """

    def __init__(self, region: str) -> None:
        self._given = region
        self._clients: dict[tuple[str, str], Any] = {}
        self._session: Any = None
        self._lock = Lock()

    @property
    def region(self) -> str:
        """Where it works; empty if neither the caller nor the settings name a region."""
        # The library looks at AWS_DEFAULT_REGION only; other clients of AWS at this one too.
        return self._given or os.environ.get("AWS_REGION") or str(self._open().region_name or "")

    def knows_region(self) -> bool:
        """Whether the library has ever heard of the region; it is not asked whether it is there."""
        session = self._open()
        return any(
            self.region in session.get_available_regions("ec2", partition_name=partition, allow_non_regional=True)
            for partition in session.get_available_partitions()
        )

    def call(self, operation: str, doing: str, *, service: str = "ec2", **arguments: Any) -> dict[str, Any]:
        """Call an operation.

        Args:
            operation: As the library names it, e.g. ``run_instances``.
            doing: What it is for, in words that follow "While".
            service: Which service.
            arguments: Of the operation.

        Raises:
            ApiError: If it failed.
        """
        answer = self._translated(doing, lambda: getattr(self._client(service), operation)(**arguments))
        return cast("dict[str, Any]", answer)

    def list(self, operation: str, key: str, doing: str, **arguments: Any) -> list[dict[str, Any]]:
        """Everything that an operation of EC2 lists, page by page.

        Args:
            operation: As for ``call``.
            key: Where the answer has the list.
            doing: As for ``call``.
            arguments: The same.
        """

        def ask() -> list[dict[str, Any]]:
            client = self._client("ec2")
            if not client.can_paginate(operation):
                return list(getattr(client, operation)(**arguments)[key])
            return [found for page in client.get_paginator(operation).paginate(**arguments) for found in page[key]]

        return cast("list[dict[str, Any]]", self._translated(doing, ask))

    def _translated(self, doing: str, act: Any) -> Any:
        from botocore.exceptions import (  # noqa: PLC0415 - takes long, and most commands never ask AWS
            BotoCoreError,
            ClientError,
            ConnectionError,  # noqa: A004 - the library's own
            HTTPClientError,
            ParamValidationError,
        )
        from botocore.parsers import ResponseParserError  # noqa: PLC0415 - the same

        try:
            return act()
        except ClientError as error:
            raise refused(error, doing, self.region) from error
        except ParamValidationError:
            # What it says may show arguments, and the one for the first start holds a key.
            problem = ValueError("an argument has a form that AWS does not take")
            raise unreachable(problem, doing, self.region, passing=False) from None
        except ResponseParserError as error:
            raise unreachable(ValueError("the answer breaks off"), doing, self.region, passing=True) from error
        except (HTTPClientError, ConnectionError) as error:
            raise unreachable(error, doing, self.region, passing=_is_passing(error)) from error
        except (BotoCoreError, ValueError) as error:
            raise unreachable(error, doing, self._given, passing=False) from error

    def _open(self) -> Any:
        import boto3  # noqa: PLC0415 - takes long
        import botocore.session  # noqa: PLC0415 - the same

        with self._lock:
            if self._session is None:
                session = botocore.session.get_session()
                session.register_component("data_loader", _descriptions())
                self._session = boto3.session.Session(botocore_session=session)
            return self._session

    def _client(self, service: str) -> Any:
        from botocore.config import Config  # noqa: PLC0415 - takes long

        session, region = self._open(), self.region
        with self._lock:
            known = (service, region)
            if known not in self._clients:
                config = Config(
                    connect_timeout=_CONNECT,
                    read_timeout=_ANSWER,
                    retries={"total_max_attempts": 1, "mode": "standard"},
                    max_pool_connections=_CONNECTIONS,
                    user_agent_extra="continuum-deploy",
                )
                self._clients[known] = session.client(service, region_name=region or None, config=config)
            return self._clients[known]


@cache
def _descriptions() -> Any:
    """The library's descriptions of services, which take longest to read; every client shares them."""
    import botocore.loaders  # noqa: PLC0415 - takes long

    return botocore.loaders.create_loader()


def _is_passing(error: Exception) -> bool:
    """Whether another attempt may reach it: not where it shows a certificate of somebody else."""
    from botocore.exceptions import ProxyConnectionError, SSLError  # noqa: PLC0415 - takes long

    return not isinstance(error, (SSLError, ProxyConnectionError))
