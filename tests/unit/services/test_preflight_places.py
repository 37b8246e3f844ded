"""What is refused before an apply because nobody says where it is."""

from __future__ import annotations

from orchestrator.executors.existing import missing_access, unused_credentials
from orchestrator.executors.places import missing_place, unused_hosts
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.topology.model import Value

LOOK = "continuum.artifacts.Existing"


def machine(provider: str, index: int, *hosts: Value) -> DesiredInstance:
    return DesiredInstance(f"e[{index}]", "e", "T", index=index, provider=provider, properties={"hosts": list(hosts)})


def test_a_machine_that_is_to_be_found_has_an_address() -> None:
    entry: Value = {"host": "192.0.2.1"}
    assert missing_place(machine("static", 0, entry)) == ""
    assert "1 of the addresses" in missing_place(machine("static", 1, entry))
    assert "0 of the addresses" in missing_place(machine("static", 0))
    assert (
        missing_place(machine("local", 0)) == missing_place(machine("nobody", 0)) == missing_place(machine("", 0)) == ""
    )


def test_a_rehearsal_asks_for_no_credential_of_what_it_does_not_touch() -> None:
    assert unused_hosts(machine("local", 0)) == unused_hosts(machine("", 0)) == {"hosts"}
    assert unused_hosts(machine("static", 0)) == set()
    for kind, unused in (
        (LOOK, set()),
        ("continuum.artifacts.AnsiblePlaybook", {"kubeconfig", "api_token", "ca_cert"}),
    ):
        operations = {"configure": Operation("configure", kind, "cluster")}
        assert unused_credentials(DesiredInstance("n", "n", "T", operations=operations)) == unused


def test_what_is_there_already_can_be_asked() -> None:
    def node(file: str, **said: Value) -> DesiredInstance:
        return DesiredInstance(
            "n", "n", "T", properties=said, operations={"configure": Operation("configure", LOOK, file)}
        )

    assert missing_access(node("cluster", kubeconfig="file:/x")) == missing_access(node("cluster", endpoint="x")) == ""
    assert "kubeconfig" in missing_access(node("cluster", kubeconfig="", endpoint=""))
    assert "endpoint" in missing_access(node("oscar", endpoint=""))
    assert missing_access(node("machine")) == missing_access(node("oscar", endpoint="x")) == ""
