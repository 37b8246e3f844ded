"""Forms of values in the JSON Schemas of input files: what is written as documented, and what is read besides."""

from __future__ import annotations

import re
from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]


def text(description: str, *examples: str) -> Schema:
    """A text; numbers and booleans are read as written."""
    found: Schema = {"type": ["string", "number", "boolean", "null"], "description": description}
    return found | ({"examples": list(examples)} if examples else {})


def number(description: str, unit: str = "", **limits: float) -> Schema:
    """A number, in quotes too."""
    plain: Schema = {"type": ["number", "null"], **limits}
    said = f"{description} ({unit})" if unit else description
    return {"description": said, "anyOf": [plain, {"type": "string", "deprecated": True}]}


def flag(description: str) -> Schema:
    """A boolean; words that forms leave behind are read as false."""
    words = {"type": "string", "pattern": "^\\s*([Tt]rue|[Ff]alse|[Ss]tring|[Nn]one|)\\s*$", "deprecated": True}
    return {"description": description, "anyOf": [{"type": ["boolean", "null"]}, words]}


def listing(description: str, items: Schema | None = None) -> Schema:
    """A list; one entry may stand without it."""
    inner = items or {"type": ["string", "number", "null"]}
    return {"description": description, "anyOf": [{"type": ["array", "null"], "items": inner}, inner]}


def mapping(
    description: str,
    properties: Schema,
    required: tuple[str, ...] = (),
    variants: dict[str, str] | None = None,
) -> Schema:
    """A mapping; ``variants`` are other spellings of its keys, which are read with a warning."""
    known = dict(properties)
    for other, key in (variants or {}).items():
        known[other] = properties[key] | {"deprecated": True, "description": f"Write {key}."}
    made: Schema = {
        "type": ["object", "null"],
        "description": description,
        "properties": known,
        "additionalProperties": False,
    }
    needs = [
        {"anyOf": [{"required": [name]} for name in (key, *(o for o, k in (variants or {}).items() if k == key))]}
        for key in required
    ]
    return made | ({"allOf": needs} if needs else {})


def each(description: str, inner: Schema) -> Schema:
    """A mapping whose keys are free; a list is read too, with a warning."""
    wrapped = {"type": ["array", "null"], "items": {"type": ["object", "null"]}, "deprecated": True}
    return {"description": description, "anyOf": [{"type": ["object", "null"], "additionalProperties": inner}, wrapped]}


def system(description: str, properties: Schema, variants: dict[str, str] | None = None) -> Schema:
    """A file with everything about the application under ``System``."""
    return mapping(
        description,
        {"System": mapping("The application.", properties, variants=variants)},
        ("System",),
        {"system": "System"},
    )


def with_definitions(schema: Schema) -> Schema:
    """The schema with every mapping inside it as a definition, written once wherever it is used.

    Args:
        schema: Its parts may be used in several places; nothing in it contains itself.
    """
    definitions: dict[str, Schema] = {}
    made: dict[int, Any] = {}

    def share(part: Any) -> Any:
        if isinstance(part, list):
            return [share(inner) for inner in part]
        if not isinstance(part, dict):
            return part
        if id(part) not in made:
            inner = {key: share(value) for key, value in part.items()}
            made[id(part)] = _reference(inner, definitions) if "properties" in inner else inner
        return made[id(part)]

    root = {key: share(value) for key, value in schema.items()}
    return root | ({"$defs": definitions} if definitions else {})


def _reference(part: Schema, definitions: dict[str, Schema]) -> Schema:
    base = re.sub(r"[^a-z]+", "-", str(part.get("description", "part")).lower()).strip("-")
    name, number = base, 2
    while definitions.setdefault(name, part) != part:
        name, number = f"{base}-{number}", number + 1
    return {"$ref": f"#/$defs/{name}"}
