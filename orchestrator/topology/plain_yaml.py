"""Reads YAML that needs no places, such as shipped files: always by a safe loader, the fast one if it is there."""

from __future__ import annotations

from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_plain(text: str) -> Any:
    """The values in a YAML text.

    Raises:
        yaml.YAMLError: If it is no YAML.
    """
    return yaml.load(text, Loader=_LOADER)  # noqa: S506 - the loader is a safe one
