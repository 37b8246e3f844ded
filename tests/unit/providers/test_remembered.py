"""What is asked once for several, and when it is asked anew."""

from __future__ import annotations

import pytest

from orchestrator.providers.remembered import Remembered


def test_an_answer_serves_until_it_is_forgotten() -> None:
    remembered: Remembered[list[int]] = Remembered()
    assert remembered.get(lambda: [1]) == [1]
    assert remembered.get(lambda: [2]) == [1]
    remembered.forget()
    assert remembered.get(list) == []
    assert remembered.get(lambda: [3]) == [], "that there is nothing is an answer too"


def test_what_is_forgotten_while_it_is_asked_for_is_not_kept() -> None:
    remembered: Remembered[int] = Remembered()

    def ask() -> int:
        remembered.forget()
        return 1

    assert remembered.get(ask) == 1
    assert remembered.get(lambda: 2) == 2


def test_an_error_is_no_answer() -> None:
    remembered: Remembered[int] = Remembered()
    with pytest.raises(OSError, match="away"):
        remembered.get(lambda: (_ for _ in ()).throw(OSError("away")))
    assert remembered.get(lambda: 2) == 2
