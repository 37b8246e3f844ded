"""A cluster's kubeconfig: kept sealed when it was fetched, written anew on a host that has none."""

from __future__ import annotations

from pathlib import Path
from threading import Event

from orchestrator.executors.base import Folders, OperationRequest
from orchestrator.executors.kubeconfig import keep_kubeconfig, kubeconfig_file
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.providers.base import DeploymentTag
from orchestrator.state.model import InstanceRecord
from orchestrator.state.secret_store import SealedSecretStore
from tests.secrets_in_memory import memory_secrets

KEY = "QUJD" * 12
TEXT = f"apiVersion: v1\nclusters:\n- name: edge\nusers:\n- user:\n    client-key-data: {KEY}\n"
ATTRIBUTES = {"kubeconfig": "kubeconfig/edge.yaml"}


def request(folder: Path, secrets: SealedSecretStore, has_one: bool = True) -> OperationRequest:
    instance = DesiredInstance("edge-k3s", "edge-k3s", "K")
    return OperationRequest(
        tag=DeploymentTag("demo", "lineage"),
        action=Action.READ,
        operation="configure",
        implementation=Operation("configure", "A", "f"),
        instance=instance,
        record=InstanceRecord("edge-k3s", "edge-k3s", "K", attributes=ATTRIBUTES if has_one else {}),
        known={},
        desired={},
        folders=Folders(folder, folder, folder, folder),
        secrets=secrets,
        progress=lambda _line: None,
        cancel=Event(),
    )


def fetched(folder: Path, text: str) -> Path:
    path = folder / "kubeconfig" / "edge.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_another_host_has_what_the_first_one_fetched(tmp_path: Path) -> None:
    store = memory_secrets()
    path = fetched(tmp_path / "one", TEXT)
    keep_kubeconfig(request(tmp_path / "one", store), ATTRIBUTES)
    assert kubeconfig_file(request(tmp_path / "one", store)) == path
    other = kubeconfig_file(request(tmp_path / "two", store))
    assert other == tmp_path / "two" / "kubeconfig" / "edge.yaml"
    assert other.read_text(encoding="utf-8") == TEXT
    assert other.stat().st_mode & 0o777 == 0o600
    assert other.parent.stat().st_mode & 0o777 == 0o700


def test_an_older_file_gives_way_to_what_was_fetched_last(tmp_path: Path) -> None:
    store = memory_secrets()
    fetched(tmp_path, TEXT)
    keep_kubeconfig(request(tmp_path, store), ATTRIBUTES)
    keep_kubeconfig(request(tmp_path, store), ATTRIBUTES)
    assert [(s.name, s.version) for s in store.entries()] == [("kubeconfig-edge-k3s", 1)]
    path = fetched(tmp_path, "an older one")
    assert kubeconfig_file(request(tmp_path, store)) == path
    assert path.read_text(encoding="utf-8") == TEXT


def test_a_file_from_before_it_was_kept_stays(tmp_path: Path) -> None:
    path = fetched(tmp_path, TEXT)
    assert kubeconfig_file(request(tmp_path, memory_secrets())) == path
    assert path.read_text(encoding="utf-8") == TEXT


def test_keys_in_it_are_masked_and_ordinary_lines_are_not(tmp_path: Path) -> None:
    store = memory_secrets()
    fetched(tmp_path, TEXT)
    keep_kubeconfig(request(tmp_path, store), ATTRIBUTES)
    assert store.values() == (KEY,)


def test_what_has_none_has_none(tmp_path: Path) -> None:
    store = memory_secrets()
    keep_kubeconfig(request(tmp_path, store), {"endpoint": "https://192.0.2.1"})
    assert kubeconfig_file(request(tmp_path, store, has_one=False)) is None
    assert store.entries() == ()
