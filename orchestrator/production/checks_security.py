"""Checks that what has to be shielded can be, on the processors that there are.

The rules here follow from the processors alone. What SCONE demands besides (which flags need each other, sessions,
attestation, images made for it) belongs to ``SHIELD_RULES`` as further functions, once its images can be built.
"""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.production.model import Annotations, Production, SecurityNeeds
from orchestrator.production.placement import Placed, place_components
from orchestrator.production.ways import annotations_by_component
from orchestrator.topology.reading import Findings


def check_security(model: Production, findings: Findings) -> None:
    """Every rule for every component."""
    annotated = annotations_by_component(model)
    for name, placed in place_components(model).items():
        for rule in SHIELD_RULES:
            rule(placed, annotated.get(name), findings)


def check_enclave(placed: Placed, _annotations: Annotations | None, findings: Findings) -> None:
    """Trusted execution needs a processor with SGX: it is refused where there is none, since nothing would be shielded.

    Whoever asks for it relies on it; a component that runs unshielded is worse than one that does not run.
    """
    container, resource = placed.component.container, placed.resource
    if not container.trusted_execution:
        return
    name, place = placed.component.name, container.place_of("trustedExecution")
    if placed.runs_in_cloud_functions:
        detail = f"Component {name!r} has trustedExecution, and cloud functions ({resource.name!r}) have no enclaves."
    elif resource.architecture != "amd64":
        detail = (
            f"Component {name!r} has trustedExecution, which takes SGX enclaves; processors for "
            f"{resource.architecture} ({resource.name!r}) have none."
        )
    elif not resource.sgx:
        detail = (
            f"Component {name!r} has trustedExecution, and no processor of {resource.name!r} has SGXFlag. Choose "
            "another resource, or set the flag if the processor offers SGX."
        )
    else:
        return
    findings.error("There is no enclave to run in.", detail, place, name)


def check_annotated_security(placed: Placed, annotations: Annotations | None, findings: Findings) -> None:
    """What a component's code asks for is deployed; a warning, since the production file decides."""
    if annotations is None or annotations.security is None:
        return
    container, name = placed.component.container, placed.component.name
    given = {
        "trustedExecution": container.trusted_execution,
        "networkProtection": container.network_protection,
        "fileSystemProtection": container.file_system_protection,
    }
    for flag, asked in _flags(annotations.security).items():
        if asked and not given[flag]:
            detail = (
                f"The code of {name!r} is annotated with {', '.join(asked)}, and its container is deployed without "
                f"{flag}. Set {flag}: true, or remove the annotation."
            )
            findings.warning("An annotation asks for more.", detail, container.place_of(flag), name)


def _flags(needs: SecurityNeeds) -> dict[str, list[str]]:
    """Flag of a container to the arguments of the annotation that need it."""
    wanted = {
        "trustedExecution": {
            "trustedExecution": needs.trusted_execution,
            "confProc": needs.confidentiality_of_processing,
            "integrityProc": needs.integrity_of_processing,
        },
        "networkProtection": {"networkShield": needs.network_shield},
        "fileSystemProtection": {
            "filesystemShield": needs.file_system_shield,
            "confRest": needs.confidentiality_at_rest,
        },
    }
    return {flag: [name for name, is_asked in names.items() if is_asked] for flag, names in wanted.items()}


SHIELD_RULES: tuple[Callable[[Placed, Annotations | None, Findings], None], ...] = (
    check_enclave,
    check_annotated_security,
)
"""Each gets a component where it runs and what its code is annotated with; rules of SCONE go here."""
