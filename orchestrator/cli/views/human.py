"""Results as text for a person."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.views.table import table
from orchestrator.planning.actions import REMOVALS, Action
from orchestrator.planning.downtime import longest
from orchestrator.planning.observation import Presence
from orchestrator.state.model import Lifecycle

if TYPE_CHECKING:
    from orchestrator.diagnostics import Diagnostic
    from orchestrator.errors import DeployError
    from orchestrator.manifest.model import Manifest
    from orchestrator.planning.plan import Change, Plan
    from orchestrator.planning.substitution import Substitution
    from orchestrator.services.status import InstanceStatus
    from orchestrator.topology.model import Topology

SYMBOLS = {
    Action.CREATE: "+",
    Action.UPDATE: "~",
    Action.MOVE: "→",
    Action.REPLACE: "±",
    Action.DELETE: "-",
    Action.FORGET: "-",
    Action.REFRESH: "◦",
    Action.NO_OP: "=",
}
_VERBS = {
    Action.CREATE: "to create",
    Action.UPDATE: "to update",
    Action.MOVE: "to move",
    Action.REPLACE: "to replace",
    Action.DELETE: "to delete",
    Action.FORGET: "to go with its machines",
    Action.REFRESH: "to take over into the state",
    Action.NO_OP: "unchanged",
}

_ABSENT = re.compile(r"\bno '([^']*)'")
MOST_REPETITIONS = 10
"""How many places are named where the same is found again."""

MOST_STOPPING = 10
"""How many of the things are named that stop while a plan is applied."""

MOST_FINDINGS = 200
"""More than these are counted, not shown, warnings before errors."""


def render_diagnostics(diagnostics: Iterable[Diagnostic]) -> str:
    """Every finding with its place and the offending line; what is said of the same key again, by its lines alone."""
    groups: list[dict[int, Diagnostic]] = []
    alike: dict[tuple[str, ...], dict[int, Diagnostic]] = {}
    for found in diagnostics:
        kind, line = _kind(found), _line(found)
        group = alike.get(kind)
        if group is None or not kind or line in group:
            group = {}
            groups.append(group)
            alike.setdefault(kind, group)
        group[line] = found
    errors_first = sorted(groups, key=lambda group: not next(iter(group.values())).is_error)
    kept = {id(group) for group in errors_first[:MOST_FINDINGS]}
    shown = [list(group.values()) for group in groups if id(group) in kept]
    texts = [_diagnostic(group[0]) + _repetitions(group[1:]) for group in shown]
    if len(groups) > len(shown):
        texts.append(f"… and {len(groups) - len(shown)} more. `deploy validate --format json` has all of them.")
    return "\n\n".join(texts)


def _printable(text: str) -> str:
    """The text with what would steer a terminal, or turn the direction of writing, written as an escape."""
    return "".join(
        c if c in "\n\u00a0" or c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def _kind(found: Diagnostic) -> tuple[str, ...]:
    """What findings have in common that are shown together; empty for one that is shown by itself, as errors are."""
    if found.is_error or found.location is None:
        return ()
    word, colon, _ = found.location.text.strip().partition(":")
    missing = _ABSENT.findall(found.detail)
    return (found.severity.value, found.summary, found.location.file, word, *missing) if colon else ()


def _line(found: Diagnostic) -> int:
    return found.location.line if found.location else 0


def _repetitions(others: Sequence[Diagnostic]) -> str:
    """A line that names the places where the same is found again."""
    if not others:
        return ""
    places = [f"{_line(d)} ({d.location.text.strip()[:60]})" for d in others[:MOST_REPETITIONS] if d.location]
    if len(others) > len(places):
        places.append(f"and {len(others) - len(places)} more")
    return f"\n  The same in {'line' if len(others) == 1 else 'lines'} {', '.join(places)}."


def _diagnostic(found: Diagnostic) -> str:
    place = f"{found.location}: " if found.location else (f"{found.address}: " if found.address else "")
    lines = [f"{place}{found.severity.value}: {found.summary}"]
    if found.location and found.location.text.strip():
        text = found.location.text.replace("\t", " ")
        start = max(0, found.location.column - 60)
        lines.append(f"    {text[start : start + 120]}")
        lines.append("    " + " " * (found.location.column - 1 - start) + "^")
    if found.detail:
        lines.append(f"  {found.detail}")
    return _printable("\n".join(lines))


def count(number: int, noun: str) -> str:
    """``1 error``, ``2 errors``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def render_counts(diagnostics: Iterable[Diagnostic]) -> str:
    """``1 error, 2 warnings``, and notes if there are any."""
    found = Counter(d.severity.value for d in diagnostics)
    names = ("error", "warning") + (("note",) if found["note"] else ())
    return ", ".join(count(found[name], name) for name in names)


def render_error(error: DeployError, log_file: Path | None) -> str:
    """Summary, detail, what to do, where the log is."""
    lines = [f"Error: {error.summary}"]
    if error.detail:
        lines.extend(f"  {line}" for line in error.detail.splitlines())
    if error.resolution:
        lines.append(f"→ {error.resolution}")
    if error.doc:
        lines.append(f"  See {error.doc}.")
    if log_file is not None:
        lines.append(f"  Log: {log_file}")
    return "\n".join(lines)


def render_plan(plan: Plan, topology: Topology | None) -> str:
    """The plan as a tree of computational layers, each change with its reasons; then counts and downtime."""
    kind = "Refresh of the state" if plan.refresh_only else "Plan"
    lines = [f"{kind} for {plan.deployment} (profile {plan.profile})"]
    if plan.targets:
        lines.append(f"  Only {', '.join(plan.targets)} with what must come before; all else is left as it is.")
    shown: set[str] = set()
    by_node: dict[str, list[Change]] = {}
    for change in plan.changes.values():
        if not plan.is_part_of_move(change):
            by_node.setdefault(change.instance.node, []).append(change)
    if topology is not None:
        for group in topology.groups.values():
            changes = [c for member in group.members for c in by_node.get(member, []) if c.address not in shown]
            if changes and group.type.endswith("ComputationalLayer"):
                shown.update(c.address for c in changes)
                lines.append(f"  {group.properties.get('name') or group.name}")
                lines.extend(_tree(changes, plan))
    rest = [c for changes in by_node.values() for c in changes if c.address not in shown]
    going = [c for c in rest if c.action in REMOVALS]
    staying = [c for c in rest if c.action not in REMOVALS]
    for title, changes in (("images and others" if shown else "all", staying), ("no longer wanted", going)):
        if changes:
            lines.append(f"  {title}")
            lines.extend(_tree(changes, plan))
    lines.append("")
    lines.extend(_summary(plan))
    return "\n".join(lines)


def _summary(plan: Plan) -> list[str]:
    """Counts, and what stops while the plan is applied."""
    if plan.is_empty:
        wanted = "recorded" if plan.refresh_only else "wanted"
        if plan.unasked:
            told = _unasked(plan.unasked)
            return [f"No changes, as far as is known: {told} could not be asked, and all else is as {wanted}."]
        return [f"No changes: {'what was asked for' if plan.targets else 'everything'} is as {wanted}."]
    counts = ", ".join(f"{count} {_VERBS[action]}" for action, count in plan.counts().items())
    stopping = [downtime.text for downtime in longest(change.downtime for change in plan.changes.values())]
    more = f"; and {len(stopping) - MOST_STOPPING} more" if len(stopping) > MOST_STOPPING else ""
    stops = "; ".join(stopping[:MOST_STOPPING]) + more if stopping else "none"
    unasked = [f"Not asked, and taken to be as recorded: {_unasked(plan.unasked)}."] if plan.unasked else []
    return [f"Changes: {counts}.", *unasked, f"Downtime: {stops}."]


def _unasked(addresses: Sequence[str]) -> str:
    more = f" and {len(addresses) - MOST_STOPPING} more" if len(addresses) > MOST_STOPPING else ""
    return ", ".join(addresses[:MOST_STOPPING]) + more


def _tree(changes: Sequence[Change], plan: Plan) -> list[str]:
    lines = []
    width = max(len(c.address) for c in changes)
    for position, change in enumerate(changes):
        is_last = position == len(changes) - 1
        reasons = "; ".join(change.reasons)
        lines.append(
            f"    {'└─' if is_last else '├─'} {SYMBOLS[change.action]} {change.address:{width}}  "
            f"{change.action.value:7}  {reasons}"
        )
        former = plan.changes.get(change.former) if change.former else None
        if former is not None:
            hosts = ", ".join(former.instance.requirements.get("host", ())) or "where it was"
            how = "goes with its machines" if former.action is Action.FORGET else f"is removed from {hosts}"
            lines.append(f"    {' ' if is_last else '│'}    {'':{width}}           then the former one {how}")
    return lines


def render_substitutions(substitutions: Sequence[Substitution]) -> str:
    """What was not as in production, as one table; and that there is nothing, if so."""
    if not substitutions:
        return "Nothing is substituted: everything runs as in production."
    merged: dict[tuple[str, str, str], list[str]] = {}
    for s in substitutions:
        merged.setdefault((s.what, s.by, s.why), []).append(s.address)
    rows = [(", ".join(addresses), what, by, why) for (what, by, why), addresses in merged.items()]
    return "Substituted in this deployment (all else runs exactly as in production):\n" + table(
        ("where", "in production", "here", "why"), rows, wrap=34
    )


def render_status(name: str, statuses: Sequence[InstanceStatus]) -> str:
    """Every instance, its state, and what was found."""
    rows = [
        (
            s.record.address,
            s.record.type.rpartition(".")[2],
            s.record.lifecycle.value + (f" ({s.record.pending.action} unfinished)" if s.record.pending else ""),
            ("" if s.is_well else "! ") + s.observed.presence.value,
            s.observed.detail,
            str(s.record.attributes.get("host") or s.record.attributes.get("endpoint") or ""),
        )
        for s in statuses
    ]
    bad = sum(1 for s in statuses if not s.is_well)
    unknown = sum(1 for s in statuses if s.observed.presence is Presence.UNKNOWN)
    verdict = "All is well." if not unknown else f"{unknown} of {len(statuses)} could not be asked."
    if bad:
        verdict = f"{bad} of {len(statuses)} not as they should be: `deploy apply` mends them."
    return (
        f"{name}\n" + table(("instance", "type", "state", "found", "detail", "where"), rows, wrap=44) + f"\n{verdict}"
    )


def render_endpoints(manifest: Manifest) -> str:
    """What an operator wants to know after an apply."""
    lines = ["Endpoints"]
    for cluster in manifest.clusters:
        without = f" ({', '.join(cluster.unreachable)} unreachable)" if cluster.unreachable else ""
        lines.append(f"  {cluster.name}: {len(cluster.nodes)} nodes{without}, Kubernetes API {cluster.api_endpoint}")
        lines.append(f"    kubeconfig {cluster.kubeconfig}")
        if cluster.oscar_endpoint:
            lines.append(f"    OSCAR {cluster.oscar_endpoint}, object store {cluster.store_endpoint}")
    for component in manifest.components:
        inputs = ", ".join(f"{p.store}/{p.path}" for p in component.inputs)
        outputs = ", ".join(f"{p.store}/{p.path}" for p in component.outputs)
        state = "" if component.state == Lifecycle.STARTED.value else f"; {component.state}"
        where = f"(layer {component.layer}, on {component.cluster}{state})"
        lines.append(f"  {component.name} {where}: {inputs} → {outputs}")
    return "\n".join(lines)
