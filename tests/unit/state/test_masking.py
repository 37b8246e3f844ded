"""Secret values are found in text in whichever form they stand there."""

from __future__ import annotations

import base64
import io
import json
import logging
import sys
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.state.masking import SecretMask, mask, without_secrets

SECRET = 'p/q+r s"ü\\t~12345678'
SECRETS = st.text(st.characters(codec="utf-8"), min_size=8, max_size=40).filter(lambda s: s.strip() == s)


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(SECRET.encode()).decode().rstrip("="),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
    ],
)
def test_every_usual_form_is_masked(form: str) -> None:
    assert mask(f"a {form} b", [SECRET]) == "a *** b"


@given(SECRETS, st.text(st.characters(codec="utf-8"), max_size=5), st.text(st.characters(codec="utf-8"), max_size=5))
def test_no_form_of_any_value_gets_through(value: str, before: str, after: str) -> None:
    for form in (value, json.dumps(value)[1:-1], quote(value, safe="")):
        assert form not in mask(before + form + after, [value]) or form in "***"


@pytest.mark.parametrize("user", ["", "a", "ab", "abc", "oscar"])
def test_the_middle_of_a_basic_authentication_header_is_masked(user: str) -> None:
    header = base64.b64encode(f"{user}:{'s3cret-value-of-some-length'}:x".encode()).decode()
    masked = mask(f"Authorization: Basic {header}", ["s3cret-value-of-some-length"])
    assert masked.startswith("Authorization: Basic ")
    left = masked.removeprefix("Authorization: Basic ").split("***")
    assert len(left) == 2
    assert sum(map(len, left)) <= len(header) - 34


def test_the_longest_goes_first() -> None:
    assert mask("abcdefgh abcd", ["abcd", "abcdefgh"]) == "*** ***"


def test_short_values_do_not_take_text_apart() -> None:
    assert mask("a cab at bay", ["a", "", "ab"]) == "a cab at bay"
    assert mask("text", []) == "text"


def test_every_line_of_a_key_is_masked_by_itself() -> None:
    key = "-----BEGIN KEY-----\nAAAABBBBCCCCDDDD\nEEEEFFFFGGGGHHHH\n-----END KEY-----\n"
    assert mask(f"log: {key}", [key]) == "log: ***"
    assert mask(f"log: {key.strip()}.", [key]) == "log: ***."
    assert mask("  AAAABBBBCCCCDDDD\n", [key]) == "  ***\n"
    assert mask(json.dumps({"key": key}), [key]) == '{"key": "***"}'


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, io.StringIO, list[str]]]:
    written = io.StringIO()
    values: list[str] = ["first-secret"]
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    handler.addFilter(SecretMask(lambda: values))
    logger = logging.getLogger("orchestrator.test_masking")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    yield logger, written, values
    logger.removeHandler(handler)


def test_log_records_are_masked(log: tuple[logging.Logger, io.StringIO, list[str]]) -> None:
    logger, written, values = log
    logger.info("connect with %s to %d", "first-secret", 3)
    values.append("second-secret")
    logger.warning("now second-secret", stack_info=True)
    assert written.getvalue().startswith("INFO connect with *** to 3\nWARNING now ***\nStack")
    assert "first-secret" not in written.getvalue()
    assert "second-secret" not in written.getvalue()


def test_exceptions_in_the_log_are_masked(log: tuple[logging.Logger, io.StringIO, list[str]]) -> None:
    logger, written, _ = log
    try:
        int("first-secret")
    except ValueError:
        logger.exception("failed")
    assert "ValueError: invalid literal for int() with base 10: '***'" in written.getvalue()
    assert "first-secret" not in written.getvalue()


def test_a_wrong_log_call_is_masked_and_breaks_nothing(log: tuple[logging.Logger, io.StringIO, list[str]]) -> None:
    logger, written, _ = log
    logger.info("only %d", "first-secret")
    assert written.getvalue() == "INFO only %d ('***',)\n"
    assert sys.exc_info() == (None, None, None)


def test_child_processes_get_no_variable_that_holds_a_secret() -> None:
    variables = {
        "PATH": "/usr/bin",
        "PASSWORD": "the-password",
        "URL": "https://oscar:the-password@192.0.2.1/",
        "ENCODED": base64.b64encode(b"user:the-password").decode(),
        "DEPLOY_SECRETS_KEY": "cdk1-whatever",
        "EMPTY": "",
    }
    assert without_secrets(variables, ["the-password"]) == {"PATH": "/usr/bin", "EMPTY": ""}
