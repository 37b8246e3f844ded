"""Renders an inventory in each of the forms that Ansible reads."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.services.inventory import ClusterInventory
from orchestrator.topology.model import Value


def render_inventory(clusters: Sequence[ClusterInventory], form: str) -> str:
    """The inventory as text that ends in a newline.

    With one cluster there are the groups ``server`` and ``agent`` that the plays are about; with several, each has a
    group of its own only, since a play is about one.

    Args:
        clusters: The clusters.
        form: ``yaml``, ``ini`` or ``json``.
    """
    groups = _groups(clusters)
    if form == "json":
        return json.dumps({"all": {"children": groups}}, indent=2, ensure_ascii=False) + "\n"
    head = "".join(f"# {line}\n" for line in _remarks(clusters))
    return head + (_ini(groups) if form == "ini" else _yaml(groups))


def _groups(clusters: Sequence[ClusterInventory]) -> dict[str, dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = {}
    for cluster in clusters:
        servers = {name: dict(variables) for name, variables in cluster.servers.items()}
        agents = {name: dict(variables) for name, variables in cluster.agents.items()}
        machines: dict[str, Any] = {"hosts": {**servers, **agents}}
        if len(clusters) == 1:
            machines = {"children": {"server": {"hosts": servers}, "agent": {"hosts": agents}}}
        groups[cluster.group] = {**machines, "vars": dict(cluster.variables)}
    return groups


def _remarks(clusters: Sequence[ClusterInventory]) -> Iterator[str]:
    if len(clusters) > 1:
        names = ", ".join(cluster.name for cluster in clusters)
        yield f"A play is about one cluster: choose it with --cluster NAME ({names})."
    for cluster in clusters:
        if cluster.secrets:
            yield f"{cluster.name}: secrets are left out, give them yourself: {', '.join(cluster.secrets)}."
        if cluster.unknown:
            yield f"{cluster.name}: not known yet where these are: {', '.join(cluster.unknown)}."


def _yaml(groups: Mapping[str, Mapping[str, Any]]) -> str:
    return "\n".join(["---", "all:", "  children:", *_yaml_groups(groups, 4)]) + "\n"


def _yaml_groups(groups: Mapping[str, Mapping[str, Any]], indent: int) -> Iterator[str]:
    margin = " " * indent
    for name, group in groups.items():
        yield f"{margin}{name}:"
        for part, entries in group.items():
            yield f"{margin}  {part}:" if entries else f"{margin}  {part}: {{}}"
            if part == "children":
                yield from _yaml_groups(entries, indent + 4)
            elif part == "vars":
                yield from (f"{margin}    {key}: {_scalar(value)}" for key, value in entries.items())
            else:
                for host, variables in entries.items():
                    yield f"{margin}    {_scalar(host)}:"
                    yield from (f"{margin}      {key}: {_scalar(value)}" for key, value in variables.items())


def _ini(groups: Mapping[str, Mapping[str, Any]]) -> str:
    return "\n".join(_ini_groups(groups)).lstrip("\n") + "\n"


def _ini_groups(groups: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, group in groups.items():
        for part, entries in group.items():
            yield from ("", f"[{name}]" if part == "hosts" else f"[{name}:{part}]")
            for key, value in entries.items():
                if part == "hosts":
                    yield " ".join([key, *(f"{k}={shlex.quote(repr(v))}" for k, v in value.items())])
                else:
                    yield key if part == "children" else f"{key}={value!r}"
        yield from _ini_groups(group.get("children", {}))


def _scalar(value: Value) -> str:
    # JSON is YAML, whatever is in it.
    return json.dumps(value, ensure_ascii=True)
