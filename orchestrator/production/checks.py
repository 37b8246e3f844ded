"""Checks the model of a production deployment as a whole, before anything is touched.

Each check is a function of its own; all of them run, so that all findings are reported at once.
"""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.diagnostics import Diagnostic
from orchestrator.production import checks_dag, checks_names, checks_placement, checks_resources
from orchestrator.production.checks_network import check_network
from orchestrator.production.checks_security import check_security
from orchestrator.production.model import Production
from orchestrator.topology.reading import Findings

CHECKS: tuple[Callable[[Production, Findings], None], ...] = (
    checks_names.check_name,
    checks_names.check_domains,
    checks_names.check_layers,
    checks_names.check_resource_names,
    checks_names.check_node_names,
    checks_names.check_component_names,
    checks_resources.check_image_ids,
    checks_resources.check_placeholders,
    checks_resources.check_architectures,
    checks_placement.check_placement,
    checks_placement.check_fit,
    checks_placement.check_capacity,
    checks_placement.check_graphics,
    checks_placement.check_device_constraints,
    checks_placement.check_image_architecture,
    check_security,
    checks_dag.check_components,
    checks_dag.check_cycles,
    checks_dag.check_probabilities,
    checks_dag.check_constraints,
    check_network,
    checks_resources.check_physical,
    checks_resources.check_unused,
)


def check_production(model: Production) -> tuple[Diagnostic, ...]:
    """Every finding about the model, errors and warnings, in the order of the checks."""
    findings = Findings()
    for check in CHECKS:
        check(model, findings)
    return findings.all()
