"""What clouds would refuse, asked before anything is touched: all of them at the same time, and not for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_network

from orchestrator.diagnostics import Diagnostic, error, warning
from orchestrator.errors import DeployError
from orchestrator.executors.machine_request import machine_request, networks_in
from orchestrator.planning.actions import RENEWALS, Action
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.plan import Plan
from orchestrator.providers.base import Cloud, DeploymentTag
from orchestrator.providers.registry import is_cloud, load_provider
from orchestrator.services.at_once import all_at_once

PATIENCE = 45.0
"""Seconds in which all clouds have to answer."""

Ask = Callable[[], Sequence[Diagnostic]]


def check_clouds(plan: Plan, seconds: float = PATIENCE) -> tuple[Diagnostic, ...]:
    """What would make the apply of a plan fail at the clouds, each once a node template.

    Args:
        plan: The plan; what it makes is asked for.
        seconds: Bound on all answers together.
    """
    wanted = [change.instance for change in plan.changes.values() if change.action in RENEWALS]
    kept = [change.instance for change in plan.changes.values() if change.action is Action.UPDATE]
    # Who reaches a machine, and its tags, are set anew with whatever is changed of it.
    found = [finding for instance in _at_clouds(kept) for finding in (*_who_reaches(instance), *_tags(instance))]
    found += check_machines(wanted, DeploymentTag(plan.deployment, plan.lineage), seconds)
    return _each_once(found, [*wanted, *kept])


def check_machines(
    wanted: Iterable[DesiredInstance], tag: DeploymentTag, seconds: float = PATIENCE
) -> tuple[Diagnostic, ...]:
    """The same for machines that are to be made; what is no machine of a cloud is left alone."""
    machines: dict[str, list[DesiredInstance]] = {}
    for instance in _at_clouds(tuple(wanted)):
        machines.setdefault(instance.provider, []).append(instance)
    found = [finding for instances in machines.values() for i in instances for finding in (*_who_reaches(i), *_tags(i))]
    asks = {name: _asking(name, instances, tag) for name, instances in machines.items()}
    for name, answer in all_at_once(asks, seconds).items():
        found += _told(name, answer, seconds)
    return _each_once(found, [instance for instances in machines.values() for instance in instances])


def _at_clouds(instances: Sequence[DesiredInstance]) -> list[DesiredInstance]:
    clouds = {name for name in {instance.provider for instance in instances} if is_cloud(name)}
    return [instance for instance in instances if instance.provider in clouds]


def _each_once(found: Sequence[Diagnostic], machines: Iterable[DesiredInstance]) -> tuple[Diagnostic, ...]:
    """One finding of a kind a node template: the first."""
    nodes = {instance.address: instance.node for instance in machines}
    each = {(nodes.get(finding.address, finding.address), finding.summary): finding for finding in reversed(found)}
    return tuple(reversed(each.values()))


def _who_reaches(instance: DesiredInstance) -> Iterable[Diagnostic]:
    """What is wrong with the networks from which SSH is let in: none, or none that can be understood."""
    inside = instance.settings.get("public_address") is False and instance.settings.get("network")
    networks = networks_in(str(instance.settings.get("ssh_from") or ""))
    if not networks and not inside:
        yield error(
            "Nothing says from where machines are reached.",
            f"{instance.address}: {instance.provider} lets in nobody who is not named. Give the networks that SSH may "
            "come from, your own address for one, with --ssh-from (for example --ssh-from 203.0.113.7/32); or, where "
            "this program runs inside the machines' network, --public-addresses none with --network.",
            address=instance.address,
        )
    for network in networks:
        try:
            everybody = ip_network(network).prefixlen == 0
        except ValueError as reason:
            yield error(
                "A network cannot be understood.",
                f"{instance.address}: --ssh-from has {network!r} ({reason}). Write address/bits, for example "
                "203.0.113.7/32 for one computer.",
                address=instance.address,
            )
            continue
        if everybody:
            yield warning(
                "SSH is open to everybody.",
                f"{instance.address}: --ssh-from has {network}, which is every address there is. Name the networks "
                "that you come from, unless that is what you want.",
                address=instance.address,
            )


def _tags(instance: DesiredInstance) -> Iterable[Diagnostic]:
    """What is wrong with the tags that are asked for."""
    for entry in str(instance.settings.get("tags") or "").split(","):
        name, equals, _ = entry.partition("=")
        if entry.strip() and not (name.strip() and equals):
            yield error(
                "A tag cannot be understood.",
                f"{instance.address}: --tags has {entry.strip()!r}. Write NAME=VALUE,NAME=VALUE, for example "
                "team=vision,cost-centre=17.",
                address=instance.address,
            )


def _asking(name: str, instances: Sequence[DesiredInstance], tag: DeploymentTag) -> Ask:
    def ask() -> Sequence[Diagnostic]:
        provider = load_provider(name)
        requests = [machine_request(instance, tag, "", "") for instance in instances]
        return provider.check(requests) if isinstance(provider, Cloud) else ()

    return ask


def _told(name: str, answer: Sequence[Diagnostic] | BaseException | None, seconds: float) -> Sequence[Diagnostic]:
    if answer is None:
        text = f"{name} did not answer within {seconds:g} s whether it would make what is asked for. Try again."
        return (error("A cloud does not answer.", text, address=name),)
    if isinstance(answer, DeployError):
        return (error(answer.summary, f"{answer.detail} {answer.resolution}".strip(), address=name),)
    if isinstance(answer, BaseException):
        raise answer
    return [replace(finding, address=finding.address or name) for finding in answer]
