"""Findings of very many mistakes."""

from __future__ import annotations

from orchestrator.diagnostics import Location
from orchestrator.topology.reading import MOST_FINDINGS, Findings


def test_of_very_many_findings_the_rest_is_counted_and_an_error_stays_one() -> None:
    findings = Findings()
    for number in range(MOST_FINDINGS + 5):
        findings.warning("Odd.", str(number), Location("f.yaml", number + 1, 1))
    *_, last = findings.all()
    assert (last.severity, last.summary) == ("warning", "There are too many findings.")
    assert last.detail.startswith("5 more were left out.")
    findings.error("Wrong.", "Mend it.", Location("f.yaml", 99, 1))
    *_, last = findings.all()
    assert len(findings.all()) == MOST_FINDINGS + 1
    assert (last.severity, last.location and last.location.line) == ("error", 99)
    assert "6 more were left out. One of them: Wrong. Mend it." in last.detail
