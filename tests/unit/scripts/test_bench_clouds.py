"""The benchmark of clouds makes the same calls on both sides; its figures themselves are nobody's test."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest

from tests.contract.aws_bed import REGION
from tests.moto_server import aws_settings


@pytest.fixture(scope="module")
def bench_clouds(repository: Path) -> ModuleType:
    spec = spec_from_file_location("bench_clouds", repository / "scripts" / "bench_clouds.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["bench_clouds"] = module  # where its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def test_what_was_recorded_is_made_again_and_nothing_is_left(
    bench_clouds: ModuleType, aws_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws_settings(monkeypatch, aws_server)
    requests = bench_clouds.requests_for("", 3, f"aws://{REGION}/{bench_clouds.IMAGE}", "t3.small")
    ours, bare = bench_clouds.Recorder(), bench_clouds.Recorder()
    with ours.watching():
        seconds = bench_clouds.run_ours(f"aws/{REGION}", requests, ours.begin)
    assert set(seconds) == set(bench_clouds.PHASES)
    calls = [call for call in ours.calls if call.phase]
    client = boto3.session.Session().client("ec2", region_name=REGION)
    replay = bench_clouds.Replay(client, 4)
    with bare.watching():
        for phase in bench_clouds.PHASES:
            replay.run([call for call in calls if call.phase == phase])
    assert sorted(call.operation for call in bare.calls) == sorted(call.operation for call in calls)
    made = [call for call in bare.calls if call.operation == "RunInstances"]
    assert len(made) == 3
    assert not {one for call in made for one in call.ids} & {one for call in calls for one in call.ids}
    filters: list[Any] = [{"Name": "tag:continuum:lineage", "Values": [requests[0].deployment.lineage]}]
    assert client.describe_vpcs(Filters=filters)["Vpcs"] == []
    alive = [*filters, {"Name": "instance-state-name", "Values": ["pending", "running"]}]
    assert client.describe_instances(Filters=alive)["Reservations"] == []


def test_the_best_of_each_side_counts_and_a_look_is_no_part_of_it(bench_clouds: ModuleType) -> None:
    part, result = bench_clouds.Part, bench_clouds.Result
    turns = [
        result("aws", 3, part({"up": 2.0, "look": 9.0, "down": 1.0}), part({"up": 1.0, "look": 1.0, "down": 1.0})),
        result("aws", 3, part({"up": 1.0, "look": 9.0, "down": 1.0}), part({"up": 3.0, "look": 1.0, "down": 1.0})),
    ]
    assert bench_clouds.best_of(turns).ratio == 1.0
