"""Order in graphs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.planning.graph import DependencyCycleError, topological_order


def test_what_is_needed_comes_first_and_ties_keep_their_order() -> None:
    assert topological_order({"service": ["cluster"], "cluster": ["b", "a"], "a": [], "b": []}) == (
        "b",
        "a",
        "cluster",
        "service",
    )


def test_targets_outside_the_graph_are_ignored() -> None:
    assert topological_order({"a": ["elsewhere"]}) == ("a",)


def test_a_circle_is_an_error_that_names_its_members_only() -> None:
    with pytest.raises(DependencyCycleError) as caught:
        topological_order({"start": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]})
    assert set(caught.value.cycle) == {"a", "b", "c"}
    assert "→" in caught.value.detail


@given(st.dictionaries(st.integers(0, 30), st.lists(st.integers(0, 30), max_size=5), max_size=30))
def test_every_order_respects_every_edge(raw: dict[int, list[int]]) -> None:
    edges = {str(k): [str(v) for v in targets if v < k] for k, targets in raw.items()}
    order = topological_order(edges)
    assert sorted(order) == sorted(edges)
    position = {address: i for i, address in enumerate(order)}
    assert all(position[t] < position[a] for a, targets in edges.items() for t in targets if t in edges)


def test_a_chain_of_thousands_needs_no_recursion() -> None:
    edges = {str(i): [str(i - 1)] for i in range(5000)}
    assert topological_order(edges)[0] == "0"
