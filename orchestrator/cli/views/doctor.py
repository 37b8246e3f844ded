"""An examination before an apply, for a person and for a program."""

from __future__ import annotations

import io
import json
import shutil
import sys
import textwrap
from collections.abc import Sequence

from orchestrator.cli.console import Console
from orchestrator.cli.views.table import table
from orchestrator.cli.views.words import one_line
from orchestrator.services.doctor_findings import Examination, Finding, MachineReport, Severity

FORMAT_VERSION = 1
"""Version of the JSON form; see ``docs/json-output.md``."""

_HEADER = ("machine", "login", "part", "model", "system", "arch", "memory", "disk free", "K3s", "verdict")
_DROPPED = ("K3s", "arch", "system", "disk free", "memory", "model", "part")
"""Columns that a narrow terminal does without, the least important one first; ``--json`` has them all."""

_GAP = 3
_SIGNS = {Severity.ERROR: "✗", Severity.WARNING: "!", Severity.NOTE: "·"}
_COLOURS = {Severity.ERROR: 31, Severity.WARNING: 33, Severity.NOTE: 2}
_STYLES = {Severity.ERROR: "red", Severity.WARNING: "yellow"}
_LINE = 110
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def render(found: Examination, console: Console) -> str:
    """A table of the machines, then every finding with what to do, then the verdict."""
    on_terminal = sys.stdout.isatty()
    parts = [found.deployment]
    if found.machines:
        rows = [_row(report) for report in found.machines]
        parts.append(_drawn(found.machines, rows, colour=console.colour) if on_terminal else table(_HEADER, rows))
    parts += [f"  {line}" for note in found.notes for line in textwrap.wrap(note, _LINE)]
    for number, finding in enumerate(found.findings):
        parts += [""] if number == 0 else []
        parts.append(_told(finding, colour=on_terminal and console.colour))
    return "\n".join([*parts, "", _verdict(found)])


def render_json(found: Examination) -> str:
    """The documented form."""
    content = {
        "format_version": FORMAT_VERSION,
        "deployment": found.deployment,
        "rehearsal": found.rehearsal,
        "fit": found.is_fit,
        "machines": [_machine_to_json(report) for report in found.machines],
        "findings": [
            {"severity": f.severity.value, "check": f.check, "where": f.where, "text": f.text, "fix": f.fix}
            for f in found.findings
        ],
        "notes": list(found.notes),
    }
    return json.dumps(content, indent=2)


def _machine_to_json(report: MachineReport) -> dict[str, object]:
    subject = report.subject
    return {
        "address": subject.address,
        "login": subject.target.login,
        "through": [hop.login for hop in subject.target.hops],
        "host_key": subject.target.host_key or None,
        "cluster": subject.cluster or None,
        "role": subject.role or None,
        "reached": report.reached,
        # What the probe makes of the facts is among the findings.
        "board": {name: value for name, value in report.board.items() if name != "findings"} or None,
    }


def _row(report: MachineReport) -> tuple[str, ...]:
    subject, board = report.subject, report.board
    distribution = board.get("distribution") or {}
    k3s = board.get("k3s") or {}
    disk = (board.get("disk_free_mb") or {}).get(board.get("data_folder"))
    kernel = str(board.get("kernel_architecture") or "")
    cells = (
        subject.address,
        subject.target.login,
        subject.role,
        str(board.get("model") or ""),
        f"{distribution.get('id') or ''} {distribution.get('version') or ''}",
        _ARCHITECTURES.get(kernel, kernel),
        _size(board.get("memory_mb")),
        _size(disk),
        str(k3s.get("version") or ("none" if board else "")),
        _word(report),
    )
    # What a machine says of itself must not steer the terminal.
    return tuple(one_line(cell) for cell in cells)


def _size(megabytes: object) -> str:
    if not isinstance(megabytes, (int, float)):
        return ""
    return f"{megabytes / 1024:.1f} GB" if megabytes >= 1024 else f"{megabytes:.0f} MB"


def _word(report: MachineReport) -> str:
    counts = [
        (sum(1 for f in report.findings if f.severity is severity), severity.value)
        for severity in (Severity.ERROR, Severity.WARNING)
    ]
    words = [f"{count} {word}{'s' if count != 1 else ''}" for count, word in counts if count]
    if not report.reached:
        return "not reached"
    return ", ".join(words) or "fit"


def _columns(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """The columns that are shown: those that hold anything, without the less important ones where it is narrow."""
    kept = [number for number in range(len(_HEADER)) if any(row[number].strip() for row in rows)]
    for title in _DROPPED:
        taken = [max(len(line[number]) for line in (_HEADER, *rows)) for number in kept]
        if sum(taken) + _GAP * len(taken) <= width:
            break
        kept = [number for number in kept if _HEADER[number] != title]
    return kept


def _drawn(reports: Sequence[MachineReport], rows: Sequence[Sequence[str]], *, colour: bool) -> str:
    """The table as drawn on a terminal."""
    from rich import box  # noqa: PLC0415 - takes time to load, and only a terminal needs it
    from rich.console import Console as Canvas  # noqa: PLC0415 - the same
    from rich.table import Table  # noqa: PLC0415 - the same
    from rich.text import Text  # noqa: PLC0415 - the same

    drawing = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    width = shutil.get_terminal_size().columns
    kept = _columns(rows, width)
    for number in kept:
        drawing.add_column(_HEADER[number], overflow="fold", justify="right" if number in {6, 7} else "left")
    for report, row in zip(reports, rows, strict=True):
        worst = {finding.severity for finding in report.findings}
        style = next((_STYLES[s] for s in (Severity.ERROR, Severity.WARNING) if s in worst), "green")
        cells = [Text(row[number]) for number in kept[:-1]]
        drawing.add_row(*cells, Text(row[-1], style=style))
    text = io.StringIO()
    canvas = Canvas(
        file=text,
        width=width,
        force_terminal=True,
        no_color=not colour,
        color_system="standard" if colour else None,
        legacy_windows=False,
    )
    canvas.print(drawing)
    return text.getvalue().rstrip("\n")


def _told(finding: Finding, *, colour: bool) -> str:
    width = min(_LINE, shutil.get_terminal_size().columns - 4) if sys.stdout.isatty() else _LINE
    sign = _SIGNS[finding.severity]
    if colour:
        sign = f"\x1b[{_COLOURS[finding.severity]}m{sign}\x1b[0m"
    lines = [f"  {sign} {finding.where}: {finding.check}"]
    lines += _wrapped(finding.text, "      ", width)
    if finding.fix:
        lines += _wrapped(finding.fix, "    → ", width)
    return "\n".join(lines)


def _wrapped(text: str, indent: str, width: int) -> list[str]:
    # Names of keys and of files are not to be torn apart.
    return textwrap.wrap(
        one_line(text),
        width,
        initial_indent=indent,
        subsequent_indent=" " * 6,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _verdict(found: Examination) -> str:
    errors = sum(1 for finding in found.findings if finding.severity is Severity.ERROR)
    warnings = sum(1 for finding in found.findings if finding.severity is Severity.WARNING)
    told = f"{warnings} warning{'s' if warnings != 1 else ''}"
    if errors:
        return f"An apply would be stopped: {errors} error{'s' if errors != 1 else ''}, {told}."
    return f"Nothing would stop an apply: {told}." if warnings else "Nothing would stop an apply."
