"""What a deployment costs: as a table for a person, as JSON for programs."""

from __future__ import annotations

from typing import Any

from orchestrator.cli.views.table import table
from orchestrator.planning.actions import Action
from orchestrator.planning.plan import Plan
from orchestrator.topology.cost import HOURS_A_MONTH, Cost, monthly
from orchestrator.topology.types import MACHINE, TypeCatalogue

_MORE = {Action.CREATE: 1, Action.DELETE: -1}


def render_cost(cost: Cost, change: float | None = None) -> str:
    """Hourly and monthly cost per resource, per layer that has several, and in total.

    Args:
        cost: What the machines cost.
        change: What a plan adds to the hourly cost; ``None`` if that is not known or not to be told.
    """
    lines: list[str] = []
    rows: list[tuple[str, ...]] = []
    for layer in cost.layers:
        rows += [
            (layer.name, r.resource, f"{r.machines} x {_number(r.each)}", *_both(r.hourly)) for r in layer.resources
        ]
        if len(layer.resources) > 1:
            rows.append((layer.name, "all", "", *_both(layer.hourly)))
    if rows:
        rows.append(("total", "", "", *_both(cost.hourly)))
        lines.append(f"Cost in production, in the units of the file's costs; a month has {HOURS_A_MONTH} hours:")
        lines.append(table(("layer", "resource", "machines", "an hour", "a month"), rows))
    if change:
        lines.append(f"The changes make it {_number(abs(change))} an hour {'more' if change > 0 else 'less'}.")
    if cost.without_cost:
        lines.append(f"Not counted, since the file gives no cost: {', '.join(cost.without_cost)}.")
    if cost.by_use:
        lines.append(f"Not counted, since it costs what its use costs: {', '.join(cost.by_use)}.")
    return "\n".join(lines)


def cost_to_json(cost: Cost, change: float | None = None) -> dict[str, Any]:
    """The documented form: see ``docs/json-output.md``."""
    return {
        "hours_a_month": HOURS_A_MONTH,
        **_amounts(cost.hourly),
        "change_hourly": None if change is None else _rounded(change),
        "layers": [
            {
                "layer": layer.number,
                "name": layer.name,
                **_amounts(layer.hourly),
                "resources": [
                    {
                        "node": r.node,
                        "resource": r.resource,
                        "machines": r.machines,
                        "each_hourly": r.each,
                        **_amounts(r.hourly),
                    }
                    for r in layer.resources
                ],
            }
            for layer in cost.layers
        ],
        "without_cost": list(cost.without_cost),
        "by_use": list(cost.by_use),
    }


def change_of(plan: Plan, cost: Cost, catalogue: TypeCatalogue) -> float | None:
    """What a plan adds to the hourly cost; ``None`` if a machine goes or comes whose cost is not known."""
    prices = cost.of_node
    change = 0.0
    for step in plan.changes.values():
        if step.action not in _MORE or not catalogue.is_derived(step.type, MACHINE):
            continue
        if step.instance.node not in prices:
            return None
        change += _MORE[step.action] * prices[step.instance.node]
    return change


def _amounts(hourly: float) -> dict[str, float]:
    return {"hourly": _rounded(hourly), "monthly": _rounded(monthly(hourly))}


def _rounded(amount: float) -> float:
    return round(amount, 6)


def _both(hourly: float) -> tuple[str, str]:
    return _number(hourly), _number(monthly(hourly))


def _number(amount: float) -> str:
    """At most six digits behind the point, none of them a needless zero."""
    text = f"{amount:.6f}".rstrip("0").rstrip(".")
    return text or "0"
