"""YAML text becomes a tree with places, or diagnostics with places; nothing else, whatever it holds."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.topology.located import (
    MAX_BYTES,
    Mapping,
    Scalar,
    load_document,
    parse_bytes,
    parse_document,
    plain_value,
)
from orchestrator.topology.reading import did_you_mean, nearest

MERGED = "a: &x {p: 1, q: [2, 3]}\nb:\n  <<: *x\n  p: 9\n"


def test_values_know_their_line_and_column() -> None:
    root = parse_document("a:\n  - b: 22.04\n", "f.yaml").root
    assert isinstance(root, Mapping)
    inner = root.entries["a"].items[0].entries["b"]  # type: ignore[union-attr]
    assert (inner.location.line, inner.location.column, inner.location.text) == (2, 8, "  - b: 22.04")
    assert (inner.text, inner.value) == ("22.04", 22.04)


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb: [1.5, true, ~, 'x', \"y\", 0x1f, 1e3, 1.0e+3, no, 2001-01-01x]\n",
        "- {a: b, c: [d]}\n- |\n  text\n  more\n- >\n  folded\n  line\n",
        "a: &x [1]\nb: *x\n",
        MERGED,
        "\N{BYTE ORDER MARK}a: ä\r\nb: 'ü'\r\n".removeprefix("\N{BYTE ORDER MARK}"),
        '"1": a\n2: b\n',
    ],
)
def test_values_are_what_an_independent_reader_finds(text: str) -> None:
    document = parse_document(text, "f.yaml")
    assert document.diagnostics == ()
    assert document.root is not None
    expected = yaml.safe_load(text)
    if isinstance(expected, dict):
        expected = {str(key): value for key, value in expected.items()}
    assert plain_value(document.root) == expected


@pytest.mark.parametrize(
    ("text", "summary", "line"),
    [
        ("", "The file is empty.", 1),
        ("# only a comment\n", "The file is empty.", 1),
        ("---\n", "The file is empty.", 1),
        ("a: 1\nb: [1\n", "The file is not valid YAML.", 3),
        ("a:\n\tb: 1\n", "The file is not valid YAML.", 2),
        ("a: 1\nb: 2\na: 3\n", "A key is given twice.", 3),
        ("a: 1\n---\nb: 2\n", "The file holds more than one document.", 2),
        ("a: \x00\n", "The file holds a character that YAML does not allow.", 1),
        ("a: 1\nb: \x07\n", "The file holds a character that YAML does not allow.", 2),
        ("a: *nothing\n", "An alias points to nothing.", 1),
        ("a: &x\n  b: *x\n", "An alias contains itself.", 2),
        ("? [a]\n: b\n", "A key is not a simple text.", 1),
        ("a: !!python/object/apply:os.system [id]\n", "A tag is not understood.", 1),
        ("a: !secret x\n", "A tag is not understood.", 1),
        ("a:\n  <<: 5\n", "Nothing to merge.", 2),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, summary: str, line: int) -> None:
    found = parse_document(text, "f.yaml").diagnostics
    places = [(d.summary, d.location.line) for d in found if d.location]
    assert (summary, line) in places


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_other_encodings_are_refused_with_the_place(encoding: str) -> None:
    document = parse_bytes("a: 1\nb: ä\n".encode(encoding), "f.yaml")
    assert [d.summary for d in document.diagnostics] == ["The file is not UTF-8."]
    assert document.diagnostics[0].location is not None


def test_byte_order_mark_of_utf8_is_left_out() -> None:
    document = parse_bytes(b"\xef\xbb\xbfa: 1\n", "f.yaml")
    assert document.root is not None
    assert plain_value(document.root) == {"a": 1}


def test_aliases_that_expand_beyond_measure_are_refused_in_no_time() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    started = time.monotonic()
    found = parse_document("\n".join(lines), "f.yaml").diagnostics
    assert [d.summary for d in found] == ["The file holds too much."]
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "text", ["- " * 5000 + "x", "[" * 5000, "{a: " * 5000, "a: &a [[[[[1]]]]]\nb: " + "[" * 97 + "*a" + "]" * 97]
)
def test_deep_nesting_is_refused(text: str) -> None:
    assert [d.summary for d in parse_document(text, "f.yaml").diagnostics] == ["The file is nested too deeply."]


def test_files_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    big = tmp_path / "big.yaml"
    with big.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert load_document(tmp_path / "none.yaml").diagnostics[0].summary == "The file does not exist."
    assert load_document(tmp_path).diagnostics[0].summary == "The file cannot be read."
    assert load_document(big).diagnostics[0].summary == "The file is too large."
    assert load_document(Path("a\0b")).diagnostics[0].is_error


@given(st.text(alphabet="abc:-[]{}&*!|>'\"#%@`,?\n \t\r\0~<", max_size=60))
def test_any_text_gives_a_tree_or_a_diagnostic(text: str) -> None:
    document = parse_document(text, "f.yaml")
    assert document.root is not None or document.diagnostics
    assert all(d.location for d in document.diagnostics)


@given(st.binary(max_size=60))
def test_any_bytes_give_a_tree_or_a_diagnostic(content: bytes) -> None:
    document = parse_bytes(content, "f.yaml")
    assert document.root is not None or document.diagnostics


def test_quoted_text_is_no_number() -> None:
    root = parse_document("a: '1'\nb: !!int '2'\nc: !!str 3\nd: 99999999999999999999\n", "f.yaml").root
    assert isinstance(root, Mapping)
    assert plain_value(root) == {"a": "1", "b": 2, "c": "3", "d": 99999999999999999999}
    assert isinstance(root.entries["a"], Scalar)


def test_a_lone_dash_as_value_is_taken_for_nothing_and_said_so() -> None:
    text = "a:\r\n  image: -   # none yet\r\n  size: 5\r\nlist:\r\n- x\r\n"
    document = parse_document(text, "f.yaml")
    assert document.root is not None
    assert plain_value(document.root) == {"a": {"image": None, "size": 5}, "list": ["x"]}
    [found] = document.diagnostics
    assert (found.severity, found.summary) == ("warning", "A value is written differently.")
    assert found.location is not None
    assert (found.location.line, found.location.column, found.location.text) == (2, 10, "  image: -   # none yet")


def test_lone_dashes_hide_no_other_mistake() -> None:
    document = parse_document("a: -\nb: [1\n", "f.yaml")
    assert document.root is None
    assert [(d.summary, d.location and d.location.line) for d in document.diagnostics] == [
        ("A value is written differently.", 1),
        ("The file is not valid YAML.", 3),
    ]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("minio_secret_key: hidden", "minio_secret_key: ********"),
        ("password: 'hid # den'  # the old one", "password: ********  # the old one"),
        ("m: {endpoint: https://x, access_key: hidden, name: a}", "m: {endpoint: https://x, access_key: ********, name: a}"),  # noqa: E501
        ('"token" : "hidden"', '"token" : ********'),
        ("Password: hidden words", "Password: ********"),
        ("password: secret:layer1-oscar-password", "password: secret:layer1-oscar-password"),
        ("password:", "password:"),
        ("name: tokenizer", "name: tokenizer"),
    ],
)  # fmt: skip
def test_a_line_is_shown_without_its_secrets(line: str, shown: str) -> None:
    document = parse_document(f"other: 1\n{line}\nlast: 1\nlast: 2\n", "f.yaml")
    assert isinstance(document.root, Mapping)
    assert [node.location.text for node in document.root.keys.values()] == ["other: 1", shown, "last: 1"]


def test_very_many_words_are_not_all_compared_nor_named() -> None:
    names = [f"component{number:04}" for number in range(5000)]
    assert nearest("componnet0042", names) == "component0042"
    assert did_you_mean("zebra", names).endswith("component0019 and 4980 more.")
    assert did_you_mean("zebra", ["b", "a"]) == " There is: a, b."
