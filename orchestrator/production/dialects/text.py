"""Writes exported documents: sorted keys, no aliases, the same bytes for the same input."""

from __future__ import annotations

from typing import Any

import yaml

_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_DUMPER):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - of the base class
        """Write a value that occurs twice two times."""
        return True


def render_yaml(value: Any) -> str:
    """A document as YAML text."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=True, width=120, allow_unicode=True))


def render_documents(values: list[Any]) -> str:
    """Several documents as one YAML text."""
    return "".join(f"---\n{render_yaml(value)}" for value in values)
