"""Findings about input files, each with its place and the offending line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a text file; ``line`` and ``column`` count from 1, ``text`` is the whole line without its end."""

    file: str
    line: int
    column: int
    text: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding.

    Attributes:
        severity: Error (stops), warning (goes on; something was made of input that is not as it should be) or note
            (nothing is wrong; what was assumed or chosen where the input leaves it open).
        summary: Short, fixed sentence that names the kind of finding.
        detail: Full sentences: what is wrong, why, and what to do.
        address: What it is about, in the words of the file (``Components.component1``) or of the topology.
        location: Where it is; ``None`` only if no file is concerned.
    """

    severity: Severity
    summary: str
    detail: str = ""
    address: str = ""
    location: Location | None = None

    @property
    def is_error(self) -> bool:
        """Whether this finding stops the command."""
        return self.severity is Severity.ERROR


def error(summary: str, detail: str = "", *, address: str = "", location: Location | None = None) -> Diagnostic:
    """An error finding."""
    return Diagnostic(Severity.ERROR, summary, detail, address, location)


def warning(summary: str, detail: str = "", *, address: str = "", location: Location | None = None) -> Diagnostic:
    """A warning finding."""
    return Diagnostic(Severity.WARNING, summary, detail, address, location)


def note(summary: str, detail: str = "", *, address: str = "", location: Location | None = None) -> Diagnostic:
    """A note."""
    return Diagnostic(Severity.NOTE, summary, detail, address, location)


def in_order(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Each finding once, by file in the order in which files were first met, then by line and column.

    Findings without a place come last; where two have one place, the more severe one comes first.
    """
    found = tuple(dict.fromkeys(diagnostics))
    files: dict[str, int] = {}
    for one in found:
        if one.location:
            files.setdefault(one.location.file, len(files))
    weight = list(Severity)

    def key(one: Diagnostic) -> tuple[int, int, int, int]:
        place = one.location
        if place is None:
            return (len(files), 0, 0, weight.index(one.severity))
        return (files[place.file], place.line, place.column, weight.index(one.severity))

    return tuple(sorted(found, key=key))


def as_errors(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """The findings with every warning turned into an error."""
    return tuple(replace(d, severity=Severity.ERROR) if d.severity is Severity.WARNING else d for d in diagnostics)


def has_errors(diagnostics: Iterable[Diagnostic]) -> bool:
    """Whether any of the findings is an error."""
    return any(d.is_error for d in diagnostics)
