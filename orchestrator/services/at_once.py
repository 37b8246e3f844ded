"""Asks several at the same time, and waits for none of them without bound."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

Answer = TypeVar("Answer")


def all_at_once(asks: Mapping[str, Callable[[], Answer]], seconds: float) -> dict[str, Answer | BaseException | None]:
    """What each answers or raises; ``None`` for one that takes too long, which is left to itself.

    Args:
        asks: What to ask, by name.
        seconds: Bound on all of them together.
    """
    ended: SimpleQueue[tuple[str, Answer | BaseException]] = SimpleQueue()

    def work(name: str, ask: Callable[[], Answer]) -> None:
        try:
            ended.put((name, ask()))
        except BaseException as cause:  # noqa: BLE001 - told or raised again by whoever asked
            ended.put((name, cause))

    for name, ask in asks.items():
        Thread(target=work, args=(name, ask), name=f"asking {name}", daemon=True).start()
    found: dict[str, Answer | BaseException | None] = dict.fromkeys(asks)
    end = time.monotonic() + seconds
    for _ in asks:
        try:
            name, answer = ended.get(timeout=max(0.0, end - time.monotonic()))
        except Empty:
            break
        found[name] = answer
    return found
