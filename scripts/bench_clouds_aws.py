"""Machines of AWS, at moto's server: the provider, and boto3 making its calls again."""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from orchestrator.providers.registry import parallel_limit
from scripts.bench_clouds_sides import ATTEMPTS, PHASES, Part, Result, Turn, environment, requests_for, run_ours

REGION, IMAGE, FLAVOR = "eu-central-1", "ami-076f415166b04f5fe", "t3.small"
"""An image that moto knows in every region."""

_OF_MACHINES = {"RunInstances", "AssociateAddress", "TerminateInstances"}
"""Operations that are about single machines: any number at the same time, once there is what they name."""

_ID = re.compile(r"\b(?:vpc|subnet|igw|rtb|sg|sgr|key|eipalloc|eipassoc|nat|rtbassoc|vol|eni|i)-[0-9a-f]{8,17}\b")


@dataclass
class Call:
    """A call of boto3 that was made."""

    phase: str
    operation: str
    arguments: Mapping[str, Any]
    ids: list[str] = field(default_factory=list)

    @property
    def is_look(self) -> bool:
        """Whether it finds nothing that is named later: nobody makes the main route table of a network by himself."""
        return self.operation.startswith("Describe") and self.operation != "DescribeRouteTables"

    @property
    def ends(self) -> bool:
        """Whether it removes something."""
        return self.operation.startswith(("Delete", "Detach", "Disassociate", "Release"))


class Recorder:
    """Writes down all calls of boto3."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.phase = ""
        self._lock = Lock()

    def begin(self, phase: str) -> None:
        """What is called from now on is of that phase; of none if it has no name."""
        self.phase = phase

    @contextmanager
    def watching(self) -> Iterator[None]:
        """For the time of the block."""
        from botocore.client import BaseClient

        real = BaseClient._make_api_call

        def watched(client: Any, operation: str, arguments: Any) -> Any:
            call = Call(self.phase, operation, arguments)
            with self._lock:
                self.calls.append(call)
            answer = real(client, operation, arguments)
            if not call.is_look:
                call.ids = _ids(answer)
            return answer

        BaseClient._make_api_call = watched
        try:
            yield
        finally:
            BaseClient._make_api_call = real


def _repeated(act: Callable[[], Any], *, is_gone: bool) -> Any:
    """What comes of it; the emulator fails now and then while it is asked and changed at the same time.

    Args:
        act: Makes a call.
        is_gone: Whether all is well if what it names is gone: an address may go with its machine, or before it.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    for _ in range(ATTEMPTS):
        try:
            return act()
        except (BotoCoreError, ClientError) as problem:
            told = getattr(problem, "response", {})
            if is_gone and str(told.get("Error", {}).get("Code")).endswith("NotFound"):
                return {}
            if told.get("ResponseMetadata", {}).get("HTTPStatusCode", 500) < 500:
                raise
    return act()


def _ids(value: object) -> list[str]:
    """All identifiers, each once, in the order of the answer."""
    return list(dict.fromkeys(_ID.findall(json.dumps(value, default=str))))


class Replay:
    """Makes recorded calls again with nothing but boto3; what they name is what came of the calls before them."""

    def __init__(self, client: Any, threads: int) -> None:
        self._client = client
        self._threads = threads
        self._made: dict[str, Future[dict[str, str]]] = {}

    def run(self, calls: Sequence[Call]) -> float:
        """Make these calls; seconds."""
        started = time.perf_counter()
        # What is removed after the machines is held by them, and by what is removed before it.
        clears = max((n for n, c in enumerate(calls) if c.operation == "TerminateInstances"), default=len(calls))
        with ThreadPoolExecutor(self._threads) as pool:
            futures: list[Future[dict[str, str]]] = []
            changes: list[Future[dict[str, str]]] = []
            for number, call in enumerate(calls):
                is_look, is_shared = call.is_look, call.operation not in _OF_MACHINES
                first = changes if number > clears else changes[-1:] if is_shared and not is_look else []
                future = pool.submit(self._make, call, tuple(first))
                futures.append(future)
                if not is_look and (is_shared or number <= clears < len(calls)):
                    changes.append(future)
                for one in call.ids:
                    self._made.setdefault(one, future)
            for future in futures:
                future.result()
        return time.perf_counter() - started

    def _make(self, call: Call, first: Sequence[Future[dict[str, str]]]) -> dict[str, str]:
        for future in first:
            future.result()
        arguments = self._named(call.arguments)
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", call.operation).lower()
        answer = _repeated(lambda: getattr(self._client, name)(**arguments), is_gone=call.ends)
        return dict(zip(call.ids, _ids(answer), strict=True)) if call.ids and answer else {}

    def _named(self, value: Any) -> Any:
        """The arguments with what they name as it is called now."""
        if isinstance(value, Mapping):
            return {key: self._named(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._named(item) for item in value]
        if isinstance(value, str) and value in self._made:
            return self._made[value].result()[value]
        return value


def measure_aws(machines: int, turns: int) -> Result:
    """At moto's server: a new one for each side and turn, since it keeps what was removed in its lists."""
    import boto3
    from botocore.config import Config

    from tests.moto_server import moto_process

    threads = parallel_limit(f"aws/{REGION}")
    config = Config(max_pool_connections=threads, retries={"total_max_attempts": 1})
    taken: list[Turn] = []
    for turn in range(turns + 1):
        recorder = Recorder()
        requests = requests_for("", machines, f"aws://{REGION}/{IMAGE}", FLAVOR)
        with moto_process() as url, environment("AWS_", _aws_settings(url)), recorder.watching():
            seconds = run_ours(f"aws/{REGION}", requests, recorder.begin)
        calls = [call for call in recorder.calls if call.phase]
        ours = Part(seconds, dict(Counter(call.operation for call in calls)))
        with moto_process() as url, environment("AWS_", _aws_settings(url)):
            client = boto3.session.Session().client("ec2", region_name=REGION, config=config)
            client.describe_vpcs()
            replay = Replay(client, threads)
            bare = Part({p: replay.run([c for c in calls if c.phase == p]) for p in PHASES}, ours.calls)
        # The first turn loads what is loaded once.
        if turn:
            taken.append(Turn(ours, bare))
    return Result("aws", machines, taken)


def _aws_settings(url: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
