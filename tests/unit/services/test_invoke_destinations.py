"""Where the results of an invocation go."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.services.invoke import _destinations


def test_one_result_goes_to_the_file_that_was_named(tmp_path: Path) -> None:
    assert _destinations([("c", "people-masks.png")], tmp_path / "out.png") == [tmp_path / "out.png"]


def test_results_of_different_kinds_go_beside_each_other(tmp_path: Path) -> None:
    names = [("c", "people-masks.json"), ("c", "people-masks.png")]
    assert _destinations(names, tmp_path / "out.png") == [tmp_path / "out.json", tmp_path / "out.png"]


def test_results_of_one_kind_go_to_a_folder_and_equal_names_are_told_apart(tmp_path: Path) -> None:
    names = [("a", "result.png"), ("b", "result.png"), ("b", "other.png")]
    folder = tmp_path / "out"
    assert _destinations(names, folder) == [folder / "a-result.png", folder / "b-result.png", folder / "other.png"]


def test_a_folder_that_is_there_is_used(tmp_path: Path) -> None:
    assert _destinations([("c", "r.png")], tmp_path) == [tmp_path / "r.png"]


def test_a_file_cannot_hold_several(tmp_path: Path) -> None:
    file = tmp_path / "out.png"
    file.touch()
    with pytest.raises(UsageError, match="folder"):
        _destinations([("a", "1.png"), ("b", "2.png")], file)
