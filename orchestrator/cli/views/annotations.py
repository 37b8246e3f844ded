"""Findings in the forms that pipelines show beside the lines of a change: GitHub's and GitLab's."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from orchestrator.diagnostics import Diagnostic, Severity

_GITHUB = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}
_GITLAB = {Severity.ERROR: "major", Severity.WARNING: "minor", Severity.NOTE: "info"}


def render_github(diagnostics: Sequence[Diagnostic]) -> str:
    """One workflow command a finding.

    The form is GitHub's "Workflow commands for GitHub Actions": ``::error file=…,line=…,col=…,title=…::message``.
    """
    return "\n".join(_command(found) for found in diagnostics)


def _command(found: Diagnostic) -> str:
    properties: list[tuple[str, object]] = []
    if found.location is not None:
        place = found.location
        properties = [("file", _relative(place.file)), ("line", place.line), ("col", place.column)]
    properties.append(("title", found.summary))
    written = ",".join(f"{key}={_escape_property(str(value))}" for key, value in properties)
    return f"::{_GITHUB[found.severity]} {written}::{_escape(found.detail or found.summary)}"


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")


def render_gitlab(diagnostics: Sequence[Diagnostic]) -> str:
    """A Code Quality report: a list with description, check_name, fingerprint, severity and location.

    A fingerprint tells a finding from all others of the report, and stays the same when lines before it come or go.
    """
    seen: Counter[str] = Counter()
    report = []
    for found in diagnostics:
        path = _relative(found.location.file) if found.location else ""
        text = found.location.text.strip() if found.location else found.address
        content = json.dumps((path, found.severity.value, found.summary, found.address, found.detail, text))
        seen[content] += 1
        digest = hashlib.sha256(f"{content}\0{seen[content]}".encode()).hexdigest()
        report.append(
            {
                "description": f"{found.summary} {found.detail}".strip(),
                "check_name": found.summary.rstrip("."),
                "fingerprint": digest,
                "severity": _GITLAB[found.severity],
                "location": {"path": path, "lines": {"begin": found.location.line if found.location else 1}},
            }
        )
    return json.dumps(report, indent=2, ensure_ascii=False)


def _relative(file: str) -> str:
    """The path from the working folder, which in a pipeline is the repository's, with forward slashes."""
    return Path(os.path.relpath(file)).as_posix() if Path(file).is_absolute() else Path(file).as_posix()
