"""What can be known before anything is touched: providers and implementations are there for all that is to be done."""

from __future__ import annotations

from orchestrator.diagnostics import Diagnostic, error
from orchestrator.executors.registry import EXECUTORS
from orchestrator.planning.actions import Action
from orchestrator.planning.plan import CHANGING, Plan
from orchestrator.providers.registry import PROVIDERS


def check_plan(plan: Plan) -> tuple[Diagnostic, ...]:
    """Findings that would make the apply fail, each once a node template."""
    found: dict[str, Diagnostic] = {}
    for change in plan.changes.values():
        if change.action not in CHANGING:
            continue
        instance = change.instance
        provider = instance.provider
        if provider and provider not in PROVIDERS:
            found[instance.node] = error(
                "No such provider.",
                f"Profile {plan.profile!r} puts {instance.node} on provider {provider!r}; this version has: "
                f"{', '.join(sorted(PROVIDERS))}. Rehearse on local machines with --rehearse, or use a version that "
                "has it.",
                address=instance.node,
            )
        elif change.action in (Action.CREATE, Action.REPLACE) and not instance.operations:
            found[instance.node] = error(
                "Nothing implements this node.",
                f"Type {instance.type} of {instance.node} has no operation under profile {plan.profile!r}, so it "
                "cannot be made. Rehearse with --rehearse, where something else takes its place.",
                address=instance.node,
            )
        for operation in instance.operations.values():
            if operation.artifact_type not in EXECUTORS:
                found[instance.node] = error(
                    "Nothing can run this implementation.",
                    f"Operation {operation.name} of {instance.node} has an artifact of type "
                    f"{operation.artifact_type!r}.",
                    address=instance.node,
                )
    return tuple(found.values())
