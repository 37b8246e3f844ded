"""Waits until a cloud has done what it was asked for; every wait has an end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import TypeVar

from orchestrator.errors import ProviderError

Found = TypeVar("Found")

Pause = Callable[[float], None]
"""Waits that many seconds."""

STATE_PAUSES: Sequence[float] = (1.0, 1.0, 2.0, 2.0, *repeat(4.0, 73))
"""Seconds between two looks at a machine that changes its state: five minutes in all."""

REMOVAL_PAUSES: Sequence[float] = (1.0, 2.0, 4.0, *repeat(5.0, 23))
"""Seconds between two attempts to remove what others still hold: two minutes in all."""

TAG_PAUSES: Sequence[float] = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between two looks for what was made a moment ago and is not in the cloud's lists yet."""


def wait_for(
    look: Callable[[], Found | None], what: str, pause: Pause, pauses: Sequence[float] = STATE_PAUSES
) -> Found:
    """What ``look`` gives once it gives something.

    An error that may be gone a moment later does not end the wait.

    Args:
        look: Looks once; ``None`` for "not yet".
        what: What is waited for, as a sentence ends: ``"the machine edge[0] to run"``.
        pause: Waits.
        pauses: Seconds between two looks.

    Raises:
        ProviderError: If it was not so in the end.
    """
    trouble: ProviderError | None = None
    for seconds in (0.0, *pauses):
        if seconds:
            pause(seconds)
        try:
            found = look()
        except ProviderError as error:
            if not error.transient:
                raise
            trouble = error
            continue
        trouble = None
        if found is not None:
            return found
    if trouble is not None:
        raise trouble
    raise ProviderError(
        "The cloud takes too long.",
        detail=f"{sum(pauses):.0f} s were waited for {what}.",
        resolution="Look in the console of the cloud what it is at, then apply again, which goes on from here.",
    )
