"""Errors of a cloud's API, as far as all clouds are alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.clients import transience
from orchestrator.errors import ProviderError

PASSING_STATUSES = transience.PASSING_STATUSES | {509}
"""What HTTP says of what may be gone a moment later; 509 is a limit of bandwidth, of which some clouds tell so."""


class CloudApiError(ProviderError):
    """A cloud's API refused or failed, or could not be reached.

    Args:
        summary: As of every error, like the arguments after it.
        detail: The same.
        resolution: The same.
    """

    def __init__(self, summary: str, *, detail: str = "", resolution: str = "") -> None:
        super().__init__(summary, detail=detail, resolution=resolution, doc="docs/clouds.md")

    @property
    def is_absent(self) -> bool:
        """Whether what was named is not there."""
        return False


@contextmanager
def gone_is_fine() -> Iterator[None]:
    """For what removes or takes away: that it is not there any longer is no error."""
    try:
        yield
    except CloudApiError as error:
        if not error.is_absent:
            raise
