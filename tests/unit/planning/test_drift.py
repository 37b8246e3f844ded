"""What differs between what was recorded and what is found, and how it is said."""

from __future__ import annotations

import pytest

from orchestrator.planning.drift import compare, compare_attributes, drifted, in_words, parts, quantity
from orchestrator.planning.observation import Difference, Presence


def test_only_the_recorded_is_compared() -> None:
    assert compare({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 5, "x": 0}) == (
        Difference("b", 2, 5),
        Difference("c", 3, None),
    )


def test_an_attribute_that_was_not_known_is_no_drift() -> None:
    assert compare_attributes({"host": "192.0.2.1"}, {"host": "192.0.2.2", "more": 1}) == (
        Difference("host", "192.0.2.1", "192.0.2.2"),
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("512Mi", 512 * 2**20),
        ("0.5", 0.5),
        ("500m", 0.5),
        ("1Gi", 2**30),
        ("2G", 2e9),
        ("7", 7),
        ("", None),
        ("x", None),
    ],
)
def test_quantities(text: str, number: float | None) -> None:
    assert quantity(text) == number


def test_in_words() -> None:
    differences = (
        Difference("memory_mb", 256, 512),
        Difference("environment", {"MODE": "fast", "SAME": "1", "GONE": "x"}, {"MODE": "slow", "SAME": "1"}),
        Difference("image", "a:1", None),
        Difference("script", "#!" + "x" * 100, "y"),
    )
    words = in_words(differences)
    assert words.startswith(
        "memory_mb is 512 instead of 256; environment.MODE is slow instead of fast; environment.GONE is not there "
        "(was x); image is not there (was a:1); script is y instead of #!"
    )
    assert "…" in words
    assert [name for name, _, _ in parts(differences[1])] == ["environment.MODE", "environment.GONE"]


def test_lists_are_told_by_what_came_and_what_went() -> None:
    mine, all_of_them = "tcp 22 from 203.0.113.7/32", "tcp 22 from 0.0.0.0/0"
    opened = Difference("security_rules", [mine, "tcp 443 from ::/0"], ["tcp 443 from ::/0", all_of_them])
    assert list(parts(opened)) == [("security_rules", mine, None), ("security_rules", None, all_of_them)]
    assert in_words([opened]) == (
        f"security_rules has no longer {mine}; security_rules has {all_of_them}, which it had not"
    )
    assert in_words([Difference("networks", ["a", "b"], ["b", "a"])]) == "networks is in another order"
    assert in_words([Difference("ports", [1], [2])]) == "ports is [2] instead of [1]"
    assert in_words([Difference("networks", [], None)]) == "networks is not there (was [])"


def test_what_differs_is_degraded() -> None:
    assert drifted((), "running").presence is Presence.PRESENT
    seen = drifted((Difference("host", 1, 2),), "running")
    assert (seen.presence, seen.detail) == (Presence.DEGRADED, "host is 2 instead of 1")
