"""The tables of the bench of the K3s plays, and what it takes for met."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.bench_k3s import Figures, Run, further_cost, playbook_of, render


def figures(nodes: int, first: float, second: float = 5.0, changed: int = 0) -> Figures:
    return Figures(nodes, Run(first, 9), Run(second, changed))


def test_what_a_further_node_costs_is_taken_between_the_extremes() -> None:
    assert further_cost([figures(1, 10.0), figures(3, 12.0), figures(5, 18.0)]) == (10.0, 2.0)


def test_targets_that_are_met_and_missed() -> None:
    met = render([figures(1, 10.0), figures(3, 12.0)], figures(3, 30.0, 20.0, 11))
    assert met.count("yes") == 3
    assert "NO" not in met
    missed = render([figures(1, 10.0), figures(3, 40.0, 9.0)], figures(3, 30.0, 20.0, 11))
    assert missed.count("NO") == 3
    assert "0 changed: NO" in render([figures(3, 12.0, 5.0, changed=1)], None)


def test_a_folder_without_a_playbook_is_no_copy_of_k3s_ansible(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"has no site\.yml"):
        playbook_of(tmp_path)
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "site.yml").touch()
    assert playbook_of(tmp_path) == Path("playbooks/site.yml")
