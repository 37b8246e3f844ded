"""What would make a cloud refuse machines, as findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from orchestrator.diagnostics import Diagnostic, error
from orchestrator.errors import ProviderError


def finding(problem: ProviderError, address: str) -> Diagnostic:
    """What would stop ``create``, told before it is tried."""
    return error(problem.summary, " ".join(filter(None, (problem.detail, problem.resolution))), address=address)


def found_by(checks: Iterable[Callable[[], object]], address: str = "") -> Iterator[Diagnostic]:
    """Do all checks of a machine (or of no particular one), and tell which of them failed."""
    for check in checks:
        try:
            check()
        except ProviderError as problem:
            yield finding(problem, address)
