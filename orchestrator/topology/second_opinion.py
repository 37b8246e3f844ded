"""Asks tosca-parser, an independent reader of TOSCA, whether it accepts a template; imported when it is asked."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from orchestrator.diagnostics import Diagnostic, error
from orchestrator.topology.plain_yaml import load_plain
from orchestrator.topology.types import SECTIONS
from orchestrator.topology.validate import Places, nowhere

_NAME = re.compile(r'(?:template|Groups|Policy|Node template) "([^"]+)"')
_HEAD = re.compile(r"^\s*(The pre-parsed input failed validation|The input .* failed validation)")


def ask_tosca_parser(text: str, types: Mapping[str, str], places: Places = nowhere) -> tuple[Diagnostic, ...]:
    """What tosca-parser says against a template that has passed our own checks.

    Args:
        text: The service template.
        types: Import name to the text of that file of types.
        places: Where things are in the template.
    """
    from toscaparser.common.exception import TOSCAException, ValidationError  # noqa: PLC0415 - slow to import
    from toscaparser.tosca_template import ToscaTemplate  # noqa: PLC0415 - slow to import

    template = _with_types(text, types)
    try:
        with _quiet():
            ToscaTemplate(yaml_dict_tpl=template)
    except ValidationError as problem:
        return tuple(_diagnostic(line, places) for line in _messages(str(problem)))
    except (TOSCAException, AttributeError, KeyError, TypeError, ValueError) as problem:
        return (_diagnostic(f"{type(problem).__name__}: {problem}", places),)
    return ()


def _with_types(text: str, types: Mapping[str, str]) -> dict[str, Any]:
    """The template as a dictionary with the imported types written into it, so that no file is read again."""
    template: dict[str, Any] = load_plain(text)
    template.pop("imports", None)
    for content in types.values():
        definitions = load_plain(content)
        for section in SECTIONS:
            if section in definitions:
                template[section] = {**definitions[section], **template.get(section, {})}
    return template


def _messages(report: str) -> Iterator[str]:
    for line in report.splitlines():
        if line.strip() and not _HEAD.match(line):
            yield line.strip()


def _diagnostic(message: str, places: Places) -> Diagnostic:
    name = _NAME.search(message)
    location = None
    if name:
        sections = ("node_templates", "groups", "policies")
        location = next((place for section in sections if (place := places((section, name.group(1))))), None)
    return error(
        "tosca-parser refuses the template.", message, address=name.group(1) if name else "", location=location
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep tosca-parser's remarks off the terminal."""
    logger = logging.getLogger("tosca")
    before = logger.propagate, logger.level
    handler = logging.NullHandler()
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate, level = before
        logger.setLevel(level)
        logger.removeHandler(handler)
