"""Changes of objects as the API is asked for them."""

from __future__ import annotations

import json
from typing import Any

from k3s_standin.kinds import ApiError


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386; directives of strategic merges are left out, lists are replaced."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def json_patch(target: Any, operations: list[dict[str, Any]]) -> Any:
    """RFC 6902 with add, replace, remove and test on mappings."""
    result = json.loads(json.dumps(target))
    for operation in operations:
        parts = [p.replace("~1", "/").replace("~0", "~") for p in operation["path"].lstrip("/").split("/")]
        place = result
        for part in parts[:-1]:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        if operation["op"] == "remove":
            place.pop(parts[-1], None)
        elif operation["op"] in {"add", "replace"}:
            place[parts[-1]] = operation["value"]
        elif place.get(parts[-1]) != operation["value"]:
            raise ApiError(422, "Invalid", "the server rejected our request due to an error in our request")
    return result
