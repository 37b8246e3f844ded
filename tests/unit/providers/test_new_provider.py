"""A further cloud needs its folder, a line in the registry and the profile: nothing else knows a cloud's name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.planning import profile
from orchestrator.providers.base import DeploymentTag, MachineRequest
from orchestrator.providers.registry import PROVIDERS, has_volumes, is_cloud, is_provider, parallel_limit
from orchestrator.state.backend import VARIABLE
from tests.unit.pretend_cloud import PROVIDER, PretendCloud, Sky

Deploy = Callable[..., str]
REPOSITORY = Path(__file__).resolve().parents[3]
IMAGE = "4bd65f30-1f3c-4f5a-9d0e-5a1f0c9e2b11"


@pytest.fixture
def sky(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sky]:
    """What exists at all places of ``balloon``, which makes machines of images ``one://…``."""
    monkeypatch.setitem(PROVIDERS, "balloon", PROVIDER)
    text = (REPOSITORY / "tosca" / "profiles" / "production.yaml").read_text(encoding="utf-8")
    for before, after in (
        ("image_schemes: {", "image_schemes: {balloon: one, "),
        ("provider: im\n", "provider: balloon/{place_of.image_id}\n"),
    ):
        assert text.count(before) == 1
        text = text.replace(before, after)
    (tmp_path / "production.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(profile, "data_path", lambda *parts: tmp_path.joinpath(*parts[2:]))
    profile.load_profile.cache_clear()
    Sky.current = Sky()
    yield Sky.current
    del Sky.current
    profile.load_profile.cache_clear()


@pytest.fixture
def deploy(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deploy:
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "deploy"))
    monkeypatch.delenv(VARIABLE, raising=False)

    def run(*arguments: object, expect: int = 0) -> str:
        code = main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        assert code == expect, f"exit {code}\n{shown.out}\n{shown.err}"
        return shown.out + shown.err

    return run


def application(folder: Path, image: str) -> Path:
    text = (REPOSITORY / "examples" / "mask-detection" / "production.yaml").read_text(encoding="utf-8")
    assert f"ost://cloud.example.org/{IMAGE}" in text
    path = folder / "application.yaml"
    path.write_text(text.replace(f"ost://cloud.example.org/{IMAGE}", image), encoding="utf-8")
    return path


def test_the_registry_tells_what_it_is(sky: Sky) -> None:
    assert is_provider("balloon/one")
    assert is_cloud("balloon/one")
    assert parallel_limit("balloon/one") == PretendCloud.max_parallel
    assert not has_volumes("balloon/one"), "it does not say that it makes any"
    assert sky.asked == [], "nobody is asked for this"


@pytest.mark.parametrize(
    ("image", "given"), [(f"one://here/{IMAGE}", ()), (IMAGE, ("--provider", "CloudVM=balloon/here"))]
)
def test_its_machines_are_planned_and_looked_at_beforehand(
    sky: Sky, deploy: Deploy, tmp_path: Path, image: str, given: tuple[str, ...]
) -> None:
    plan = tmp_path / "plan.json"
    deploy("plan", application(tmp_path, image), "--ssh-from", "203.0.113.7/32", *given, "--out", plan)
    changes = json.loads(plan.read_text(encoding="utf-8"))["changes"]
    made = {c["instance"]["provider"] for c in changes if c["address"].startswith("layer2-cloudvm[")}
    assert made == {"balloon/here"}
    assert ("here", "check") in sky.asked


def test_it_is_refused_what_it_does_not_say_that_it_makes(sky: Sky, deploy: Deploy, tmp_path: Path) -> None:
    file = application(tmp_path, f"one://here/{IMAGE}")
    told = deploy("plan", file, "--ssh-from", "203.0.113.7/32", "--data-volume", "100")
    assert "The provider makes no data volumes." in told
    assert "and provider 'balloon/here' of profile 'production' cannot make one." in told
    assert "An apply would be refused" in told
    assert sky.machines == {}


def test_it_is_offered_and_swept_like_the_others(sky: Sky, deploy: Deploy, tmp_path: Path) -> None:
    told = deploy("plan", application(tmp_path, IMAGE), "--provider", "zeppelin/here", expect=2)
    assert "balloon/PLACE" in told
    lost = DeploymentTag("shop", "lost")
    PretendCloud("here").create(MachineRequest(lost, "cloud[0]", "token", "cloud-0", "amd64", 1, 512, "key"))
    assert "balloon/here: shop, lineage lost" in deploy("sweep", "--provider", "balloon/here")
    assert "balloon/PLACE" in deploy("sweep", "--provider", "zeppelin/here", expect=2)
    deploy("sweep", "--provider", "balloon/here", "--remove", "--auto-approve")
    assert sky.machines == {}
