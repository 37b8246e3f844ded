"""Every error a person can meet, as one tree.

    DeployError                 exit 1   anything that stops a command
    ├── UsageError              exit 2   the command line asks for something impossible
    ├── InvalidInputError       exit 2   a file is wrong; carries the diagnostics
    ├── LockedError             exit 1   another process works on the deployment
    ├── StateError              exit 1   the state cannot be read or written
    │   └── StateVersionError   exit 1   written by a newer version
    ├── StalePlanError          exit 1   the state moved on since the plan was made
    ├── EngineUnavailableError  exit 1   no container engine answers
    ├── ProviderError           exit 1   an infrastructure API refused or failed
    ├── RemoteError             exit 1   a machine could not be reached or refused
    ├── OperationError          exit 1   an operation of a node failed
    ├── ApplyFailedError        exit 1   one or more changes of a plan failed
    │   └── DegradedError       exit 1   all was done that can be without what could not be reached
    └── CancelledError          exit 130 the operator pressed Ctrl-C

Subclasses live beside the code that raises them where they take domain arguments; all derive from the ones here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from orchestrator.diagnostics import Diagnostic


_CREDENTIALS = re.compile(r"(://)[^/@\s]+@")


def without_credentials(text: str) -> str:
    """What others say, without the user and password in the addresses that they name."""
    return _CREDENTIALS.sub(r"\1***@", text)


class DeployError(Exception):
    """Something stopped a command.

    Args:
        summary: Short and fixed: what went wrong, without particulars.
        detail: Full sentences: what is wrong here, and why.
        resolution: What the reader can do about it.
        doc: Path of a page under ``docs/`` that tells more.

    Attributes:
        transient: Whether it may be gone a moment later without anybody mending anything (no answer, a broken
            connection, too many requests), so that an operation is tried again. Whoever raises it sets it; what a
            repetition cannot mend is never transient.
        retry_after: Seconds that the other side asked to wait before the next attempt; 0 if it named none.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, summary: str, *, detail: str = "", resolution: str = "", doc: str = "") -> None:
        super().__init__(summary)
        self.summary = summary
        self.detail = detail
        self.resolution = resolution
        self.doc = doc
        self.transient = False
        self.retry_after = 0.0

    def passing(self, retry_after: float = 0.0) -> Self:
        """The error itself, marked as transient.

        Args:
            retry_after: Seconds that the other side asked to wait.
        """
        self.transient, self.retry_after = True, retry_after
        return self

    def __str__(self) -> str:
        return "\n".join(part for part in (self.summary, self.detail, self.resolution) if part)


class UsageError(DeployError):
    """The command line asks for something impossible."""

    exit_code = 2


class InvalidInputError(DeployError):
    """A file is wrong; ``diagnostics`` says where.

    Args:
        diagnostics: Every finding, errors and warnings, in the order of the file.
    """

    exit_code = 2

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        errors = sum(1 for d in self.diagnostics if d.is_error)
        super().__init__(f"The input has {errors} error{'s' if errors != 1 else ''}.")


class LockedError(DeployError):
    """Another process works on the deployment."""


class StateError(DeployError):
    """The state cannot be read or written."""


class StateVersionError(StateError):
    """The state was written by a newer version."""


class StalePlanError(DeployError):
    """The state moved on since the plan was made."""


class EngineUnavailableError(DeployError):
    """No container engine answers."""


class ProviderError(DeployError):
    """An infrastructure API refused or failed."""


class RemoteError(DeployError):
    """A machine could not be reached or refused."""


class OperationError(DeployError):
    """An operation of a node failed.

    Args:
        summary: As of every error, like the arguments after it.
        detail: The same.
        resolution: The same.
        log_file: Where all that the operation wrote is.
    """

    def __init__(
        self, summary: str, *, detail: str = "", resolution: str = "", doc: str = "", log_file: Path | None = None
    ) -> None:
        super().__init__(summary, detail=detail, resolution=resolution, doc=doc)
        self.log_file = log_file


class ApplyFailedError(DeployError):
    """One or more changes of a plan failed; the detail lists them all.

    Args:
        summary: As of every error, like the arguments after it.
        detail: The same.
        resolution: The same.
        failed: What each failed change failed at, by address.
        skipped: What each change that was left undone waited for in vain, by address.
        degraded: What each change that was done has to do without, by address.
        causes: Why that is away, by its address, where more is known than that it does not answer.
    """

    def __init__(
        self,
        summary: str,
        *,
        detail: str = "",
        resolution: str = "",
        failed: Mapping[str, DeployError] | None = None,
        skipped: Mapping[str, str] | None = None,
        degraded: Mapping[str, Sequence[str]] | None = None,
        causes: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(summary, detail=detail, resolution=resolution)
        self.failed = dict(failed or {})
        self.skipped = dict(skipped or {})
        self.degraded = dict(degraded or {})
        self.causes = dict(causes or {})


class DegradedError(ApplyFailedError):
    """Everything was done that can be done without what could not be reached; a later apply does the rest."""


class CancelledError(DeployError):
    """The operator pressed Ctrl-C; what was running was finished and saved."""

    exit_code = 130
