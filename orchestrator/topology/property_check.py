"""Whether a value is what a property definition asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from orchestrator.topology.model import Value

_SIZE = re.compile(r"^[0-9]+(\.[0-9]+)?\s*(B|kB|KiB|MB|MiB|GB|GiB|TB|TiB)$", re.IGNORECASE)
_WORDS = {
    "string": "a text",
    "integer": "a whole number",
    "float": "a number",
    "boolean": "true or false",
    "list": "a list",
    "map": "a mapping",
    "scalar-unit.size": "a size such as 4 GB",
}


def type_problem(value: Value, schema: Mapping[str, Any]) -> str:
    """What is wrong with a value, as the end of a sentence; empty if nothing is.

    Args:
        value: A value without functions.
        schema: The property definition: ``type``, ``entry_schema``, ``constraints``.
    """
    kind = str(schema.get("type", "string"))
    if value is None:
        return "has no value" if schema.get("required", True) and "default" not in schema else ""
    if not _has_type(value, kind):
        return f"must be {_WORDS.get(kind, kind)}; it is {value!r}"
    entry = schema.get("entry_schema")
    if entry is not None:
        inner = entry if isinstance(entry, dict) else {"type": entry}
        items = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
        for item in items:
            problem = type_problem(item, inner)
            if problem:
                return f"holds an entry that {problem}"
    for constraint in schema.get("constraints", ()):
        for name, argument in constraint.items():
            problem = _constraint_problem(value, name, argument)
            if problem:
                return problem
    return ""


def _has_type(value: Value, kind: str) -> bool:
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "float":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "list":
        return isinstance(value, list)
    if kind == "map":
        return isinstance(value, dict)
    if kind == "scalar-unit.size":
        return isinstance(value, str) and _SIZE.match(value) is not None
    return isinstance(value, str) if kind == "string" else True


def _constraint_problem(value: Value, name: str, argument: Any) -> str:
    if name in ("max_length", "min_length") and isinstance(value, (str, list, dict)):
        if name == "max_length" and len(value) > argument:
            return f"is {len(value)} long; at most {argument} are allowed"
        if name == "min_length" and len(value) < argument:
            return f"is {len(value)} long; at least {argument} are needed"
    if name == "valid_values" and value not in argument:
        return f"must be one of {', '.join(map(str, argument))}; it is {value!r}"
    if name == "greater_or_equal" and isinstance(value, (int, float)) and value < argument:
        return f"must be at least {argument}; it is {value}"
    return ""
