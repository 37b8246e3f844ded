"""What exports write as YAML reads back as it was."""

from __future__ import annotations

import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.production.dialects.text import render_documents, render_yaml

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)


@given(DOCUMENTS)
def test_a_document_reads_back(value: object) -> None:
    assert yaml.safe_load(render_yaml(value)) == value


def test_values_that_yaml_takes_for_something_else_are_quoted() -> None:
    texts = [
        "1",
        "1.0",
        "yes",
        "no",
        "null",
        "~",
        "",
        " x",
        "x ",
        "a: b",
        "a #b",
        "- a",
        "1e5",
        "22.04",
        "key:",
        "@x",
        "0x1",
    ]
    assert yaml.safe_load(render_yaml(texts)) == texts
    assert render_yaml("https://minio.x.example.org:9000/a") == "https://minio.x.example.org:9000/a\n"
    assert render_yaml("secret:im-a-b") == "secret:im-a-b\n"


def test_keys_are_sorted_and_nothing_is_an_alias() -> None:
    shared = {"b": 1, "a": [{"y": 1, "x": []}]}
    assert render_yaml({"two": shared, "one": shared}) == (
        'one:\n  a:\n  - x: []\n    "y": 1\n  b: 1\ntwo:\n  a:\n  - x: []\n    "y": 1\n  b: 1\n'
    )


def test_several_documents() -> None:
    assert list(yaml.safe_load_all(render_documents([{"a": 1}, {"b": 2}]))) == [{"a": 1}, {"b": 2}]


def test_a_number_that_is_no_float_is_written() -> None:
    assert render_yaml({"count": 10**400}) == f"count: {10**400}\n"


def test_a_long_key_reads_back() -> None:
    value = {"k" * 1100: {"a": [1]}, "l" * 1100: [1, {"b": 2}], "m" * 1100: 3, "n" * 3: 4}
    assert yaml.safe_load(render_yaml(value)) == value
