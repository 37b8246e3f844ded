"""What can be known before anything is touched: providers and implementations are there for all that is to be done."""

from __future__ import annotations

from orchestrator.diagnostics import Diagnostic, error
from orchestrator.executors.existing import missing_access, unused_credentials
from orchestrator.executors.machine_request import volumes_of
from orchestrator.executors.places import missing_place, unused_hosts
from orchestrator.executors.registry import EXECUTORS
from orchestrator.planning.actions import RENEWALS
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.plan import CHANGING, Plan
from orchestrator.providers.registry import PROVIDERS, has_volumes, is_provider
from orchestrator.state.secret_references import SecretResolver
from orchestrator.state.secrets import SecretStore, references


def check_plan(plan: Plan, secrets: SecretStore) -> tuple[Diagnostic, ...]:
    """Findings that would make the apply fail, each once a node template.

    Args:
        plan: The plan.
        secrets: The deployment's secrets; nothing is added to them.
    """
    found: dict[str, Diagnostic] = _missing_secrets(plan, secrets)
    for change in plan.changes.values():
        if change.action not in CHANGING:
            continue
        instance = change.instance
        provider = instance.provider
        if provider and not is_provider(provider):
            found[instance.node] = error(
                "No such provider.",
                f"Profile {plan.profile!r} puts {instance.node} on provider {provider!r}; this version has: "
                f"{', '.join(sorted(PROVIDERS))}. Rehearse on local machines with --rehearse, or use a version that "
                "has it.",
                address=instance.node,
            )
        elif change.action in RENEWALS and not instance.operations:
            found[instance.node] = error(
                "Nothing implements this node.",
                f"Type {instance.type} of {instance.node} has no operation under profile {plan.profile!r}, so it "
                "cannot be made. Rehearse with --rehearse, where something else takes its place.",
                address=instance.node,
            )
        elif change.action in RENEWALS and (finding := _about_volumes(instance, plan.profile)):
            found[instance.node] = finding
        elif change.action in RENEWALS and (reason := missing_place(instance) or missing_access(instance)):
            detail = f"{instance.address}: {reason}. Say so in physical_nodes.yaml or, of machines, in an inventory."
            found.setdefault(instance.node, error("Nothing says where it is.", detail, address=instance.node))
        for operation in instance.operations.values():
            if operation.artifact_type not in EXECUTORS:
                found[instance.node] = error(
                    "Nothing can run this implementation.",
                    f"Operation {operation.name} of {instance.node} has an artifact of type "
                    f"{operation.artifact_type!r}.",
                    address=instance.node,
                )
    return tuple(found.values())


def _about_volumes(instance: DesiredInstance, profile: str) -> Diagnostic | None:
    """What is wrong with the data volumes that a machine is to have."""
    sizes = volumes_of(instance)
    words = " and ".join(f"{size} GB" for size in sizes)
    if any(size < 1 for size in sizes):
        return error(
            "A data volume has no size.",
            f"{instance.address} is to have data volumes of {words}. Name whole numbers above 0 (data_volumes), or "
            "leave them out.",
            address=instance.node,
        )
    if sizes and not has_volumes(instance.provider):
        return error(
            "The provider makes no data volumes.",
            f"{instance.address} is to have a data volume ({words}), and provider {instance.provider!r} of profile "
            f"{profile!r} cannot make one. Leave it out (data_volumes in the template, --data-volume), or have the "
            "machine made where there are volumes.",
            address=instance.node,
        )
    return None


def _missing_secrets(plan: Plan, secrets: SecretStore) -> dict[str, Diagnostic]:
    """What references in properties and inputs stand for and is not there: variables, files."""
    found: dict[str, Diagnostic] = {}
    for change in plan.changes.values():
        instance = change.instance
        if change.action not in CHANGING:
            continue
        resolver = SecretResolver(secrets, instance.secret_versions)
        unused = unused_hosts(instance) | unused_credentials(instance)
        places = [(f"property {n!r}", value) for n, value in instance.properties.items() if n not in unused]
        for operation in instance.operations.values():
            places += [(f"input {name!r} of {operation.name}", value) for name, value in operation.inputs.items()]
        for place, value in places:
            for reference in references(value):
                missing = resolver.check(reference, f"{instance.node}: {place}")
                if missing is not None:
                    detail = f"{missing.detail} {missing.resolution}"
                    found.setdefault(instance.node, error(missing.summary, detail, address=instance.node))
    return found
